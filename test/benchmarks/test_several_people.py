from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fourd_perception import checkpoint

ROOT = Path(__file__).parents[2]
several_people = pytest.importorskip("benchmarks.several_people", reason="no MuJoCo")


def test_percentages_are_of_what_was_answered_and_of_what_was_there():
    counts = Counter(windows=8, answered=4, right=3, frames=10, followed=9, switches=2, strangers=1)
    assert several_people.Tally(counts).figures("two") == {
        "two_right": 75.0, "two_answered": 50.0, "two_windows": 8, "two_frames_followed": 90.0,
        "two_switches": 2, "two_strangers": 1,
    }  # fmt: skip


def test_two_people_are_each_judged_by_what_they_do(monkeypatch):
    """Of a seed that the benchmark does not have; whoever were taken for the other, would fail."""
    perform = several_people.studio.perform
    monkeypatch.setattr(
        several_people.studio, "perform",
        lambda seed, _, config: perform(seed, ["wave_hand", "kick", "clap"], config),
    )  # fmt: skip
    model = checkpoint.load(ROOT / "models" / "studio.safetensors")
    tally = several_people.Tally()
    several_people.judge(several_people.film(900_004, 1), model, 2, tally)
    n = tally.counts
    assert n["windows"] == n["answered"] > 15 and n["right"] > 0.8 * n["answered"]
    assert n["switches"] == n["strangers"] == 0 and n["followed"] > 0.9 * n["frames"]
    one = several_people.Tally()
    several_people.judge(several_people.film(900_004, 0), model, 2, one)
    assert one.counts["windows"] < n["windows"] and one.counts["strangers"] == 0
