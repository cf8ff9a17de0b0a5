"""The judge of a soak sees what it is there to see."""

from __future__ import annotations

import importlib.util
from collections import Counter
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="needs ROS")


@pytest.fixture
def judge():
    """Of a model whose windows are of 4 frames, each of every 4th of the camera's."""
    from benchmarks.soak import Judge

    period = 133_333_333
    window = SimpleNamespace(clip=SimpleNamespace(period=period, frames=4))
    pipeline = SimpleNamespace(window=window)
    node = SimpleNamespace(answers=[], _lanes=[SimpleNamespace(pipeline=pipeline)])
    one = Judge(SimpleNamespace(node=node, put=0))
    one.truth = {number * period: b"%d" % number for number in range(100)}

    def answer(number: int, scores: bytes | None = None) -> None:
        one.soak.put += 4
        one.soak.node.answers.append((number * period, scores or b"%d" % number))
        one.look()

    one.answer = answer
    return one


def fault(lasting: bool):
    from benchmarks.soak_faults import Fault

    return Fault("1 to 3 frames lost", "", lambda *_: 0, lambda counted: bool(counted), lasting)


def test_right_answers_are_right(judge):
    for number in range(10):
        judge.answer(number)
    assert (judge.right, judge.wrong, judge.missing) == (10, 0, 0)


def test_another_answer_and_one_that_is_missing_are_seen(judge):
    judge.answer(0)
    judge.answer(1, b"another")
    judge.answer(4)
    assert (judge.right, judge.wrong, judge.missing) == (2, 1, 2)


def test_after_a_lasting_fault_windows_that_saw_it_may_differ_and_no_others(judge):
    judge.answer(0)
    judge.begin(fault(True))
    judge.end(fault(True), Counter(seen=1))
    for number in (7, 8):
        judge.answer(number, b"saw it")
    judge.answer(9)
    judge.answer(10, b"did not")
    record = judge.records["1 to 3 frames lost"]
    assert (record.injected, record.told, record.recovered) == (1, 1, [12 / 30])
    assert (judge.right, judge.wrong, judge.missing) == (2, 1, 0)


def test_a_fault_that_is_never_recovered_from_is_seen(judge):
    judge.begin(fault(True))
    judge.end(fault(True), Counter())
    for number in range(20):
        judge.answer(number, b"wrong for ever")
    record = judge.records["1 to 3 frames lost"]
    assert (record.told, record.recovered) == (0, [])
    assert judge.wrong == 14  # the window's 4, its grid's 1 and what an image's wait may add aside


def test_a_passing_fault_excuses_nothing(judge):
    judge.answer(0)
    judge.begin(fault(False))
    judge.answer(1, b"other")
    judge.end(fault(False), Counter(seen=1))
    assert (judge.wrong, judge.records["1 to 3 frames lost"].recovered) == (1, [0.0])
