from __future__ import annotations

import json
import sys

import numpy as np

from benchmarks import segmenter_640x480


def test_the_wall_is_an_organised_cloud_that_moves():
    one, other = segmenter_640x480.cloud(0.0), segmenter_640x480.cloud(0.2)
    assert one.shape == (640 * 480, 3) and one.dtype == np.float32
    rows = one.reshape(480, 640, 3)
    assert (np.diff(rows[240, :, 0]) > 0).mean() > 0.9
    assert not np.allclose(one, other)


def test_a_frame_takes_at_least_what_its_parts_take(tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    monkeypatch.setattr(
        sys, "argv",
        ["segmenter_640x480.py", "--models", "p4_segmenter_small", "--points", "256",
         "--frames", "3", "--results", str(path)],
    )  # fmt: skip
    assert segmenter_640x480.main() == 0
    figures = json.loads(path.read_text())["figures"]
    name = "p4_segmenter_small"
    assert 0 < figures[f"{name}_frame_p50_ms"] <= figures[f"{name}_frame_p99_ms"]
    assert 0 < figures[f"{name}_frames_per_second"] < 1e3 / figures[f"{name}_frame_p50_ms"]
