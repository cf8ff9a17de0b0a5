"""Frames of several people in, an answer for each of them out. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.answers import PeopleActions, PersonAction, Recognition
from fourd_perception.checkpoint import Checkpoint
from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.pipeline import ModelOnStream, PipelineConfig
from fourd_perception.preprocess import fill_nearest
from fourd_perception.stream.frame import Frame, Person
from fourd_perception.stream.window import Clip
from fourd_perception.vocabulary import own_vocabulary

_NO_POINTS: NDArray[np.float32] = np.empty((0, 3), np.float32)
_NO_MASK: NDArray[np.bool_] = np.empty(0, np.bool_)


@dataclass(frozen=True, eq=False)
class _FrameOfPeople(Frame):
    """What the window keeps of a frame: `people` without their points, and by their numbers a frame
    with the sampled points of each."""

    samples: Mapping[int, Frame] = field(default_factory=dict)


class PeoplePipeline(ModelOnStream[PipelineConfig, PeopleActions]):
    """A sliding window, an action model, and several people. Its verb is `recognise`.

    All people share the moments of one window, and each has samples of their own there: somebody is
    answered for with the first window in all of whose frames they were followed, and no window is
    of two people. All windows of a moment go through the model at once. So where the model is too
    slow, what is skipped is skipped for all of them alike.
    """

    sources: tuple[str, ...] = ()
    """As of an ActionPipeline; a model that fuses several scores is refused."""

    def __init__(
        self, checkpoint: Checkpoint, config: PipelineConfig | None = None, *, people: int = 2
    ) -> None:
        """people: how many there are at most, to warm up with.

        Raises InputError as `ActionPipeline`, and of a model that was aligned with images.
        """
        if isinstance(checkpoint.model, AlignedModel):
            raise InputError(
                f"people: {checkpoint.card.name} was aligned with images, which are of all people "
                "at once: set people to 1, or take a model of points alone"
            )
        super().__init__(checkpoint, config or PipelineConfig())
        self.vocabulary = own_vocabulary(self.card)
        self._people = people

    def recognise(self, clip: Clip, *, lead_alone: bool = False) -> PeopleActions:
        """Run the model for each who is in all frames of a clip, or for who leads alone.

        Raises ValueError if a score is not a finite number. The scores are those of an
        `ActionPipeline` that is shown one of them alone, but for the last bits.
        """
        started = time.perf_counter()
        frames = [frame for frame in clip.frames if isinstance(frame, _FrameOfPeople)]
        followed = clip.newest.people or ()
        whole = [
            one for one in followed
            if (one.leads or not lead_alone) and all(one.number in each.samples for each in frames)
        ]  # fmt: skip
        clips = [Clip(tuple(each.samples[one.number] for each in frames)) for one in whole]
        scores = self._scores(clips)
        took = (time.perf_counter() - started) * 1e3
        answers = tuple(
            PersonAction(one, self._answer(clip, row, took)) for one, row in zip(whole, scores)
        )
        lead = next((one.recognition for one in answers if one.person.leads), None)
        if not followed:
            lead = self._answer(clip, np.zeros(len(self.card.classes), np.float32), took)
        return PeopleActions(clip.newest.stamp, clip.newest.frame_id, answers, lead, took)

    def warm_up(self) -> float:
        """Run the model once on as many people as there may be; milliseconds it took."""
        shape = self.window.clip.frames, self._preprocess.points, 3
        random = np.random.default_rng(0).random(shape, np.float32)
        everything, corner = np.ones(shape[1], np.bool_), np.zeros(3)
        people = tuple(Person(n, everything, corner, corner) for n in range(self._people))
        frames = (Frame(stamp, "", one, people=people) for stamp, one in enumerate(random))
        took = self.recognise(Clip(tuple(map(self._thin, frames)))).processing_ms
        self.forget()
        return took

    def _scores(self, clips: Sequence[Clip]) -> list[NDArray[np.float32]]:
        """Of each clip (K,) float32, softmax; all zero where no point is in it."""
        self._given = {
            frame: self._given[frame] if frame in self._given else self._tensor(frame)
            for clip in clips
            for frame in clip.frames
        }
        samples: dict[int, list[Tensor]] = {}
        for place, clip in enumerate(clips):
            filled = fill_nearest([self._given[frame] for frame in clip.frames])
            if filled is not None:
                samples[place] = filled
        scores: list[NDArray[np.float32]]
        scores = [np.zeros(len(self.card.classes), np.float32) for _ in clips]
        if samples:
            with torch.inference_mode():
                features = self._stream.windows(list(samples.values()))
                logits = self._finite(self._model.classify(features).float())
                for place, row in zip(samples, torch.softmax(logits, dim=-1).cpu().numpy()):
                    scores[place] = row
        return scores

    def _answer(self, clip: Clip, scores: NDArray[np.float32], took: float) -> Recognition:
        return Recognition(
            clip.newest.stamp, clip.newest.frame_id, clip.frames[0].stamp, scores, took,
            classes=self.vocabulary.classes,
        )  # fmt: skip

    def _thin(self, frame: Frame) -> _FrameOfPeople:
        people = frame.people or ()
        return _FrameOfPeople(
            frame.stamp, frame.frame_id, _NO_POINTS,
            people=tuple(replace(one, shown=_NO_MASK) for one in people),
            samples={one.number: super(PeoplePipeline, self)._thin(replace(frame, shown=one.shown))
                     for one in people},
        )  # fmt: skip

    _run = recognise
