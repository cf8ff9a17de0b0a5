"""benchmarks/evaluate_bag_640x480.py on a short bag of few pixels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import evaluate_bag_640x480 as benchmark


def test_it_measures_a_bag_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "WIDTH", 40)
    monkeypatch.setattr(benchmark, "HEIGHT", 30)
    results = tmp_path / "results.json"
    monkeypatch.setattr(
        sys, "argv",
        ["evaluate_bag_640x480.py", "--seconds", "4", "--streams", "depth",
         "--scratch", str(tmp_path), "--results", str(results)],
    )  # fmt: skip
    assert benchmark.main() == 0
    figures = json.loads(results.read_text())["figures"]
    assert set(figures) == {
        f"depth_4s_{name}" for name in ("times_real_time", "rss_mb", "read_ms", "model_ms")
    }
    assert all(value > 0 for value in figures.values())
    assert "depth_4s_times_real_time" in capsys.readouterr().out
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"], "bags are removed"
