"""What should be answered to a bag: counted from its stamps, with the truth of each window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fourd_perception.evaluation.pictures import read_pictures
from fourd_perception.evaluation.schedule import Schedule, read_schedule
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_writer import BagContent, write_bag
from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.window import ClipConfig

PERIOD = SECOND // 10
START = 1_764_000_000 * SECOND


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Three seconds at 10 Hz: a bend of two seconds, then a kick. Somebody stands at 2 m."""

    def frames() -> Iterator[RecordedFrame]:
        for index in range(30):
            depth = np.zeros((48, 64), np.float32)
            depth[10:40, 30:36] = 2.0
            colour = np.full((48, 64, 3), index, np.uint8)
            yield RecordedFrame(index * PERIOD, depth, depth > 0, colour)

    truth = (Interval(0, 20 * PERIOD, "bend"), Interval(20 * PERIOD, 30 * PERIOD, "kick"))
    pinhole = Intrinsics(64, 48, 50.0, 50.0, 32.0, 24.0)
    recording = Recording("test", 10.0, pinhole, ("bend", "kick"), truth, 30, frames)
    write_bag(tmp_path / "bag", recording, start=START, content=BagContent(image_step=5))
    return tmp_path / "bag"


def test_windows_are_counted_as_the_recognizer_will(bag: Path) -> None:
    # Windows of 5 frames at 5 Hz: moments 0, 2, 4, ... 28 of the camera. The first window is full
    # at moment 8; then every second moment, 12, 16, 20, 24, 28, completes another.
    schedule = read_schedule(bag, ClipConfig(frames=5, frame_step=2, rate=10.0), stride=2)
    assert schedule.windows == 6
    assert schedule.clouds == tuple(START + index * PERIOD for index in range(30))


@pytest.mark.parametrize(
    "newest, start, truth", [(12, 4, "bend"), (20, 12, None), (27, 19, None), (28, 20, "kick")]
)
def test_an_answer_gets_the_truth_of_its_window(bag: Path, newest, start, truth) -> None:
    schedule = read_schedule(bag, ClipConfig(frames=5, frame_step=2, rate=10.0), stride=2)
    answer = schedule.answer(START + newest * PERIOD, (("bend", 0.9),), 12.5)
    assert (answer.start - START) / PERIOD == start
    assert (answer.truth, answer.label, answer.latency_ms) == (truth, "bend", 12.5)


def test_the_start_is_a_cloud_that_was_sent() -> None:
    stamps = tuple(START + round(index * SECOND / 30) for index in range(60))
    schedule = Schedule(ClipConfig(frames=12, frame_step=4, rate=30.0), stamps, (), 1)
    assert schedule.answer(stamps[44], (), None).start == stamps[0]
    assert schedule.answer(stamps[10], (), None).start == stamps[0]


def test_pictures_are_read_where_there_are_images(bag: Path) -> None:
    stamps = [START + index * PERIOD for index in (5, 6, 10)]
    pictures = read_pictures(bag, camera.COLOR, stamps)
    assert [one.stamp for one in pictures] == [stamps[0], stamps[2]], "no image with frame 6"
    assert pictures[1].image.shape == (48, 64, 3) and (pictures[1].image == 10).all()
    assert pictures[1].points.shape == (30 * 6, 3)


def test_a_depth_picture_shows_what_is_there(bag: Path) -> None:
    (picture,) = read_pictures(bag, camera.DEPTH, [START])
    height, width, _ = picture.image.shape
    assert width / height == pytest.approx(4 / 3, rel=0.1)
    assert height < 40, "cut to the person, who is 30 pixels high"
    assert (picture.image.max(axis=2) > 50).sum() == 30 * 6, "and shows all of them"
