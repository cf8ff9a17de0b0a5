"""Every fault of the soak, once: the node says so, and answers again."""

from __future__ import annotations

import random

import pytest

from benchmarks.soak_faults import FAULTS
from benchmarks.soak_node import RATE, Soak

WINDOW = 3 * RATE
"""Frames in which a window of the model fills, and some."""


@pytest.fixture(scope="module")
def soak(ros):
    made = Soak()
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.name)
def test_a_fault_is_told_and_recovered_from(soak, fault, monkeypatch):
    monkeypatch.setattr("fourd_perception.nodes.inputs._GRAPH_SETTLES", 0.5)
    soak.restart()
    begin = 10 * RATE
    for index in range(begin - WINDOW, begin):
        soak.frame(index)
    before, answers = soak.node.counters(), len(soak.node.answers)
    assert answers
    goes_on = fault.inject(soak, begin, random.Random(0))
    soak.frame(goes_on)
    assert fault.told(soak.node.counters() - before)
    for index in range(goes_on + 1, goes_on + WINDOW):
        soak.frame(index)
    newest = soak.clouds[goes_on + WINDOW - 5].header.stamp
    stamp, _ = soak.node.answers[-1]
    assert len(soak.node.answers) > answers
    assert stamp >= newest.sec * 10**9 + newest.nanosec
    soak.node.answers.clear()
