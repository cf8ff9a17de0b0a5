"""Pooling the figures of several runs of the demo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import demo
from benchmarks.demo import pooled

LATENCIES = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_max_ms")


def run(windows: int, right: float | None, actions: int, p99: float) -> dict:
    counts = dict.fromkeys(
        ("clouds_sent", "windows_expected", "windows_answered", "windows_dropped"), 10
    )
    latencies = dict.fromkeys(("latency_p50_ms", "latency_p95_ms", "latency_max_ms"), 5.0)
    judged = {"windows_judged": windows, "window_accuracy": right, "actions_judged": actions}
    return counts | latencies | judged | {"action_accuracy": 50.0, "latency_p99_ms": p99}


def test_accuracies_are_weighted_and_latencies_the_worst() -> None:
    # 30 windows with 90 % and 10 with 50 %: 27 + 5 of 40.
    figures = pooled([run(30, 90.0, 4, 30.0), run(10, 50.0, 2, 80.0)])
    assert figures["window_accuracy"] == 80.0
    assert figures["window_accuracy_by_seed"] == [90.0, 50.0]
    assert figures["latency_p99_ms"] == 80.0
    assert (figures["windows_judged"], figures["clouds_sent"]) == (40, 20)
    assert figures["action_accuracy"] == pytest.approx(50.0)


def test_nothing_judged_is_no_figure() -> None:
    nothing = run(0, None, 0, 1.0) | dict.fromkeys((*LATENCIES, "action_accuracy"))
    figures = pooled([nothing])
    assert figures["window_accuracy"] is figures["action_accuracy"] is None
    assert all(figures[name] is None for name in LATENCIES)
    assert pooled([nothing, run(10, 50.0, 2, 80.0)])["latency_p99_ms"] == 80.0


def test_the_command_says_all_that_changes_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = {"figures": run(30, 90.0, 4, 30.0), "facts": {"recording": "people"}}
    monkeypatch.setattr(demo, "_run", lambda seed, arguments: summary)
    given = ["--seeds", "4", "5", "--seconds", "20.5", "--data", "/home/me/msr", "--model", "a b"]
    out = tmp_path / "demo.json"
    monkeypatch.setattr("sys.argv", ["demo.py", *given, "--results", str(out)])
    assert demo.main() == 0
    assert json.loads(out.read_text())["command"] == (
        "python benchmarks/demo.py --seeds 4 5 --seconds 20.5 --data <MSR-Action3D> --model 'a b'"
    )


def test_it_runs_as_a_script(tmp_path: Path) -> None:
    script = Path(demo.__file__).resolve()
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
