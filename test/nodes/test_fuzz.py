"""Damaged messages through the callbacks of live nodes; benchmarks/fuzz_node.py does more."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz_node

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("cloud", "colour", "depth", "info", "compressed_depth", "compressed_colour")


@pytest.fixture(scope="module")
def streams(ros):
    found = fuzz_node.streams()
    yield {one.kind: one for one in found}
    for node in {id(one.node): one.node for one in found}.values():
        node.close(30.0)
        node.destroy_node()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_damaged_message_is_taken_or_counted(streams, kind, chance):
    stream = streams[kind]
    node = stream.node
    message = stream.next(random.Random(chance.getrandbits(32)))
    fuzz_node.mutate(message, chance)  # hypothesis makes the damage as small as it can
    settled = node.settled()
    stream.callback(message)
    if kind in ("cloud", "depth", "compressed_depth"):
        assert node.settled() == settled + 1
    if kind == "info":  # judged with the next image
        node._input._on_camera_info(fuzz_node.info(chance))
    unexpected = {
        name: value for name, value in node._health.values().items()
        if name.startswith("exception: ") and name != "exception: ValueError"
    }  # fmt: skip
    assert not unexpected


def test_thousands_in_turns_leave_nodes_that_answer(tmp_path):
    out = tmp_path / "fuzz_node.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "fuzz_node.py"), "--messages", "2000",
         "--seed", "3", "--out", str(out)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    assert figures["other_exceptions"] == 0 < figures["windows_answered"]
    assert all(figures[kind] > 100 for kind in KINDS)


class Careless(fuzz_node.Fuzzed):
    """One that loses messages."""

    def settled(self) -> int:
        return 0


def test_a_message_that_is_lost_is_noticed(ros, monkeypatch):
    made = []
    monkeypatch.setattr(
        fuzz_node, "Fuzzed", lambda **given: made.append(Careless(**given)) or made[-1]
    )
    with pytest.raises(RuntimeError, match="neither taken nor counted"):
        fuzz_node.fuzz(200, 0)
    for node in made:
        node.close(30.0)
        node.destroy_node()
