"""A bag through the very pipelines that the nodes run, in bag time, losing nothing."""

from __future__ import annotations

import time
import weakref
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.checkpoint import Checkpoint, ModelCard
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_frames import BagFrame, BagFrames, Tap
from fourd_perception.evaluation.bag_images import BagImages
from fourd_perception.evaluation.bag_result import BagResult, LabelledFrame, Stages
from fourd_perception.evaluation.bag_source import BagSource, find_source
from fourd_perception.evaluation.live_difference import labels_digest
from fourd_perception.evaluation.metrics import label_confusion
from fourd_perception.evaluation.session import Answer, Session
from fourd_perception.image_pipeline import VlmConfig
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look, Sight
from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.parameters import from_mapping
from fourd_perception.pipeline import (
    ActionPipeline,
    FrameActionConfig,
    FrameActionPipeline,
    FrameActions,
    PipelineConfig,
    Recognition,
    Segmentation,
    SegmentationConfig,
    SegmentationPipeline,
)
from fourd_perception.recordings.bag_reader import open_bag
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame
from fourd_perception.stream.window import Clip

Pipeline = ActionPipeline | FrameActionPipeline | SegmentationPipeline
Result = Recognition | FrameActions | Segmentation

_IGNORED = (255, UNLABELLED, -1)
"""Labels of points that are no class, as data sets and PCL write them."""


_PIPELINES: dict[str, tuple[Callable[[Checkpoint, Any], Pipeline], type[PipelineConfig]]] = {
    "action_recognition": (ActionPipeline, PipelineConfig),
    "action_segmentation": (FrameActionPipeline, FrameActionConfig),
    "semantic_segmentation": (SegmentationPipeline, SegmentationConfig),
}


def settings_of(card: ModelCard) -> type[PipelineConfig]:
    """The settings of the pipeline that runs a model. Raises InputError where none does."""
    if card.task not in _PIPELINES:
        raise InputError(f"{card.name}: nothing here runs a model for the task '{card.task}'")
    return _PIPELINES[card.task][1]


def make_pipeline(
    checkpoint: Checkpoint,
    settings: Mapping[str, Any] | None = None,
    vlm: VlmConfig | None = None,
) -> Pipeline:
    """The pipeline of the checkpoint's task, as its node has it. settings: other values of its
    parameters, by their names. vlm: of one that BagImages are to be for.

    Raises InputError on a model of another task, and on settings that it does not have.
    """
    card = checkpoint.card
    config = from_mapping(settings_of(card), settings or {}, f"{card.name} ({card.task})")
    if vlm is None:
        return _PIPELINES[card.task][0](checkpoint, config)
    if card.task != "action_recognition":
        raise InputError(
            f"video_text_model: {card.name} is a model for {card.task}, in which images and texts "
            "have no part; leave it out"
        )
    return ActionPipeline(checkpoint, config, image_max_age=vlm.image_max_age)


def classes_of(pipeline: Pipeline) -> tuple[str, ...]:
    """What a pipeline's scores are of: its model's classes, or the prompts in their place."""
    if isinstance(pipeline, ActionPipeline):
        return pipeline.vocabulary.classes
    return pipeline.card.classes


def evaluate(
    path: str | Path,
    pipeline: Pipeline,
    asked: BagSource | None = None,
    *,
    look: LookConfig | None = None,
    images: BagImages | None = None,
    progress: Callable[[float], None] | None = None,
    tap: Tap | None = None,
    on_result: Callable[[Result, int], None] | None = None,
) -> BagResult:
    """Run a pipeline over a bag. The same bag and pipeline give the same answers, bit for bit.

    What is kept does not grow with the clouds' size, only with their number: stamps and scores.
    look: which points the model is shown, as the node's parameters say it; None: all. Frames that
    this leaves out have no answers, and a note says how many. images: of the pipeline's model, what
    images and texts say. progress: called with the seconds of bag time that have passed. tap: as
    BagFrames has it. on_result: called with every result as it is made, and when its cloud was
    recorded.
    Raises BagError where the bag cannot be opened, and InputError as `find_source` and
    `BagImages.check_source`, and where it has no frame, or too few for one window.
    """
    path = Path(path)
    if look is not None and look.people > 1:
        raise InputError(
            f"people: a bag's answers are of one person; got {look.people}: leave people at 1, or "
            "run the recognizer on the bag and listen to ~/people"
        )
    with open_bag(path) as bag:
        source = find_source(bag, asked)
        said = images.check_source(path, source) if images else []
        transforms = TransformBuffer()
        looks = look is not None and look.looks
        run = _Run(pipeline, on_result, Look(look, transforms) if look and looks else None, images)
        pipeline.warm_up()
        if images:
            images.warm_up()
        frames = BagFrames(
            bag, source, tap, pairing=images.pairing if images and source.colour else None,
            transforms=transforms if looks else None,
        )  # fmt: skip
        started = time.perf_counter()
        for one in frames:
            run.take(one, frames.messages)
            if progress:
                progress((one.recorded - bag.start_time) / SECOND)
        run.finish()
        wall = time.perf_counter() - started
        said += [*frames.said(), *run.left_out(path), *_windows_said(path, pipeline)]
        notes = said + (images.said(path) if images else [])
        if not run.stamps:
            raise InputError(
                f"{path}: no frame in its {frames.messages} messages of {source.frames}"
                + "".join(f"; {note}" for note in notes)
            )
    if not run.windows:
        clip = pipeline.window.clip
        rate = pipeline.window.camera_rate
        raise InputError(
            f"{path}: {len(run.stamps)} clouds"
            + (f" at {rate:.3g} Hz" if rate else "")
            + f" are too few for one window of {clip.frames} frames at {SECOND / clip.period:g} Hz"
            + "".join(f"; {note}" for note in notes)
        )
    return run.result(path, source, wall, notes)


def _windows_said(path: Path, pipeline: Pipeline) -> list[str]:
    window = pipeline.window
    lines = []
    if window.ignored:
        lines.append(f"{path}: {window.ignored} clouds came late, out of order, and were left out")
    if window.resets:
        lines.append(
            f"{path}: the window was emptied {window.resets} times; last: {window.reset_reason}"
        )
    return lines


@dataclass
class _Run:
    """What is gathered while a bag goes by."""

    pipeline: Pipeline
    on_result: Callable[[Result, int], None] | None
    look: Look | None = None
    images: BagImages | None = None
    windows: int = 0
    messages: int = 0
    stamps: array[int] = field(default_factory=lambda: array("q"))
    recorded: array[int] = field(default_factory=lambda: array("q"))
    due: array[int] = field(default_factory=lambda: array("q"))
    answers: list[Answer] = field(default_factory=list)
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    by_source: list[Mapping[str, NDArray[np.float32]]] = field(default_factory=list)
    frames: list[LabelledFrame] = field(default_factory=list)
    points: NDArray[np.int64] | None = None
    read_ms: array[float] = field(default_factory=lambda: array("f"))
    preprocess_ms: array[float] = field(default_factory=lambda: array("f"))
    model_ms: array[float] = field(default_factory=lambda: array("f"))
    strange_labels: int = 0

    def __post_init__(self) -> None:
        # A point's truth is kept for as long as the window holds its frame, and no longer.
        self._truth: weakref.WeakKeyDictionary[Frame, NDArray[np.int64]]
        self._truth = weakref.WeakKeyDictionary()
        self._when: dict[int, int] = {}
        self._sampled_ms = self.pipeline.sampling_ms

    def take(self, read: BagFrame, number: int) -> None:
        """A frame through the pipeline. number: of its message."""
        self.messages = number
        self.stamps.append(read.frame.stamp)
        self.read_ms.append(read.read_ms)
        self._when[read.frame.stamp] = read.recorded
        if read.labels is not None:
            self._truth[read.frame] = read.labels
        if self.look is None:
            self._offer(read.frame)
        else:
            self._see(self.look.push(read.frame))

    def finish(self) -> None:
        """Frames that waited for a transform until the end."""
        if self.look is not None:
            self._see(self.look.poll(last=True))

    def left_out(self, path: Path) -> list[str]:
        """A line on each reason for which frames were not shown to the model."""
        return [f"{path}: {line}" for line in self.look.said()] if self.look else []

    def _see(self, sights: Sequence[Sight]) -> None:
        for sight in sights:
            if sight.of in self._truth:
                self._truth[sight.frame] = self._truth[sight.of]
            self._offer(sight.frame)

    def _offer(self, frame: Frame) -> None:
        clip = self.pipeline.offer(frame)
        if clip is not None:
            self._window(clip)
        if self.images is not None:
            self.images.take(frame)

    def _window(self, clip: Clip) -> None:
        self.windows += 1
        before = self.pipeline.sampling_ms
        result = self._infer(clip)
        after = self.pipeline.sampling_ms
        if result is None:
            return
        self.preprocess_ms.append(after - self._sampled_ms)  # of all frames since the last window
        self.model_ms.append(result.processing_ms - (after - before))
        self._sampled_ms = after
        if isinstance(result, Segmentation):
            recorded = self._label(result)
        else:
            for one in result.frames if isinstance(result, FrameActions) else (result,):
                recorded = self._answer(one)
        self.due.extend([self.messages] * (len(self.recorded) - len(self.due)))
        if self.on_result:
            self.on_result(result, recorded)

    def result(self, path: Path, source: BagSource, wall: float, notes: Sequence[str]) -> BagResult:
        """All of it together."""
        card = self.pipeline.card
        if self.strange_labels:
            notes = [
                *notes,
                f"{path}: {self.strange_labels} points have a label that is none of the model's "
                f"{len(card.classes)} classes; they are not judged",
            ]
        return BagResult(
            path=path,
            task=card.task,
            source=source,
            session=Session(
                title=path.name,
                command="",
                classes=classes_of(self.pipeline),
                truth=(),
                clouds=tuple(self.stamps),
                windows_expected=len(self.answers) or self.windows,
                answers=tuple(self.answers),
                facts={},
            ),
            scores=np.array(self.scores, np.float32).reshape(-1, len(classes_of(self.pipeline))),
            recorded=np.array(self.recorded, np.int64),
            due=np.array(self.due, np.int64),
            frames=tuple(self.frames),
            points=self.points,
            stages=Stages(
                np.array(self.read_ms, np.float32),
                np.array(self.preprocess_ms, np.float32),
                np.array(self.model_ms, np.float32),
                wall,
            ),
            notes=tuple(notes),
            by_source=self._by_source(),
        )

    def _by_source(self) -> dict[str, NDArray[np.float32]]:
        missing = np.full(len(classes_of(self.pipeline)), np.nan, np.float32)
        names = dict.fromkeys(name for said in self.by_source for name in said)
        return {name: np.array([said.get(name, missing) for said in self.by_source])
                for name in names}  # fmt: skip

    def _infer(self, clip: Clip) -> Result | None:
        if isinstance(self.pipeline, SegmentationPipeline):
            return self.pipeline.segment(clip)
        return self.pipeline.recognise(clip)

    def _answer(self, said: Recognition) -> int:
        classes = classes_of(self.pipeline)
        top = tuple((classes[index], score) for index, score in said.top(5, 0.0))
        recorded = self._when[said.stamp]
        of_frame = isinstance(self.pipeline, FrameActionPipeline)
        start = said.stamp if of_frame else said.start  # it speaks of that frame alone
        self.answers.append(Answer(said.stamp, start, top, said.processing_ms, None))
        self.scores.append(said.scores)
        self.by_source.append(said.by_source)
        self.recorded.append(recorded)
        return recorded

    def _label(self, said: Segmentation) -> int:
        classes = len(self.pipeline.card.classes)
        recorded, truth = self._when[said.stamp], self._truth.get(said.frame)
        right = judged = 0
        by_class: tuple[tuple[int, int, int], ...] = ()
        if truth is not None:
            strange = ((truth < 0) | (truth >= classes)) & ~np.isin(truth, _IGNORED)
            self.strange_labels += int(strange.sum())
            counts = label_confusion(
                truth=np.where(strange, -1, truth), answers=said.labels, classes=classes,
                ignore=_IGNORED,
            )  # fmt: skip
            right, judged = int(np.trace(counts)), int(counts.sum())
            hits, are, said_to_be = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
            by_class = tuple(zip(hits.tolist(), are.tolist(), said_to_be.tolist()))
            self.points = counts if self.points is None else self.points + counts
        counted = np.bincount(np.minimum(said.labels, classes), minlength=classes + 1)
        self.frames.append(
            LabelledFrame(
                said.stamp,
                recorded,
                tuple(counted.tolist()),
                right,
                judged,
                labels_digest(said.labels),
                by_class,
            )
        )
        self.recorded.append(recorded)
        return recorded
