"""What a recognizer should answer to a bag: which windows there are, and what they show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.evaluation.session import Answer
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import read_messages
from fourd_perception.recordings.recording import Interval
from fourd_perception.recordings.truth import FILE_NAME, read_truth
from fourd_perception.stream.frame import Frame
from fourd_perception.stream.window import ClipConfig, SlidingWindow


@dataclass(frozen=True)
class Schedule:
    """clouds: the stamps of a bag's clouds; windows: how many answers they make."""

    clip: ClipConfig
    clouds: tuple[int, ...]
    truth: tuple[Interval, ...]
    windows: int

    def answer(
        self, stamp: int, top: tuple[tuple[str, float], ...], latency_ms: float | None
    ) -> Answer:
        """The answer with this stamp, with the start and the truth of its window.

        The window is taken to begin at the cloud nearest to where it should, so that this holds
        for a recognizer that did not hear the first clouds too.
        """
        oldest = stamp - (self.clip.frames - 1) * self.clip.period
        start = min(self.clouds, key=lambda one: abs(one - oldest))
        return Answer(stamp, start, top, latency_ms, window_truth(start, stamp, self.truth))

    def frame_answer(
        self, stamp: int, top: tuple[tuple[str, float], ...], latency_ms: float | None
    ) -> Answer:
        """The answer that speaks of the frame with this stamp alone, with what is done in it."""
        return Answer(stamp, stamp, top, latency_ms, window_truth(stamp, stamp, self.truth))


def read_schedule(bag: str | Path, clip: ClipConfig, stride: int) -> Schedule:
    """The schedule of a bag with its truth. stride: as in PipelineConfig.

    Raises BagError, or TruthError, where bag or truth cannot be read.
    """
    stamps = tuple(one.stamp for one in read_messages(bag, camera.POINTS))
    window = SlidingWindow(clip, stride)
    nothing = np.empty((0, 3), np.float32)
    clips = [window.push(Frame(stamp, "", nothing)) for stamp in stamps]
    truth = read_truth(Path(bag) / FILE_NAME)
    return Schedule(clip, stamps, truth, sum(clip is not None for clip in clips))
