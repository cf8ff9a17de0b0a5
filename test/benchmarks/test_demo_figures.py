"""Pooling the figures of several runs of the demo."""

from __future__ import annotations

import pytest

from benchmarks.demo import pooled


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
