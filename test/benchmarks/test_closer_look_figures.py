from __future__ import annotations

import json
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco")
from benchmarks import closer_look
from fourd_perception.recordings import studio_seeds
from fourd_perception.stream.frame import UNLABELLED


def test_frames_have_a_truth_where_there_is_a_return():
    (one, truth), (other, _) = closer_look.frames(studio_seeds.TEST, 3, 2)
    assert one.points.shape == (640 * 480, 3) and one.rows == 480
    assert np.array_equal(truth == UNLABELLED, ~np.isfinite(one.points).all(1))
    assert 7 < len(np.unique(truth)) <= 11
    assert other.stamp - one.stamp == pytest.approx(1e9 / 7.5, abs=1)


def test_two_looks_see_more_than_one(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    line = ["closer_look.py", "--recordings", "1", "--frames", "4", "--results", str(path)]
    monkeypatch.setattr(sys, "argv", line)
    assert closer_look.main() == 0
    figures = json.loads(path.read_text())["figures"]
    assert figures["frames"] == 2
    assert figures["two_looks_miou"] > figures["one_look_miou"] + 10
