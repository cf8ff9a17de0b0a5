from __future__ import annotations

import pytest
import small_model

from fourd_perception.nodes.health import Health, Level, rate_advice
from fourd_perception.stream.window import ClipConfig


@pytest.mark.parametrize(
    "clip, rate, advice",
    [
        (ClipConfig(24, 2, 30.0), 30.0, None),
        (ClipConfig(24, 2, 30.0), 14.0, None),  # within a tenth of the 15 Hz that are wanted
        (
            ClipConfig(24, 2, 30.0), 5.0,
            "small wants 24 frames at 15 Hz; /points runs at 5 Hz: raise the camera's rate, or "
            "set frame_step to 6 (a window then lasts 3 times as long)",
        ),
        # 30 / 13 rounds to the step that there is: only the camera can help.
        (
            ClipConfig(24, 2, 30.0), 13.0,
            "small wants 24 frames at 15 Hz; /points runs at 13 Hz: raise the camera's rate",
        ),
    ],
)  # fmt: skip
def test_rate_advice(clip, rate, advice):
    assert rate_advice(small_model.card(), clip, rate, "/points") == advice


def test_worries_are_those_since_the_last_report():
    health = Health()
    assert health.worries() == []
    assert health.reject("row_step too small")
    assert not health.reject("row_step too small")
    assert health.worries() == [(Level.WARN, "2 messages rejected")]
    assert health.worries() == []
    health.fail(RuntimeError("a"))
    assert [level for level, _ in health.worries()] == [Level.ERROR]


def test_skipping_more_than_a_tenth_is_a_worry():
    health = Health()
    for skipped, worries in ((1, []), (2, ["raise stride"]), (1, [])):
        for _ in range(skipped):
            health.skip()
        for _ in range(9):
            health.answer(1.0, 1.0, 1.0)
        assert [text.rpartition(": ")[2] for _, text in health.worries()] == worries


def test_a_latency_between_two_clocks_is_not_reported():
    health = Health()
    # A bag of last year on the wall clock, and a stamp from the future.
    health.answer(latency_ms=3e10, processing_ms=2.0, wait_ms=3.0)
    health.answer(latency_ms=-5.0, processing_ms=2.0, wait_ms=3.0)
    values = health.values()
    assert values["latency median [ms]"] == "not known"
    assert values["processing median [ms]"] == "2.0"
    assert values["arrival to answer median [ms]"] == "3.0"
    health.answer(latency_ms=40.0, processing_ms=2.0, wait_ms=3.0)
    assert health.values()["latency median [ms]"] == "40.0"
