"""Frames in, answers out. No ROS here: the nodes, the tools and the tests are thin shells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.answers import FrameActions, Recognition, Segmentation
from fourd_perception.checkpoint import Checkpoint
from fourd_perception.closer_look import Carried, CloserLook, Seen, carry
from fourd_perception.errors import InputError
from fourd_perception.image_pipeline import ImageScores
from fourd_perception.models import VideoModel
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.fusion import SOURCES, ScoreFusion
from fourd_perception.pipeline_config import FrameActionConfig, PipelineConfig, SegmentationConfig
from fourd_perception.preprocess import PreprocessConfig, fill_nearest, preprocess
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame
from fourd_perception.stream.window import Clip, ClipConfig, SlidingWindow
from fourd_perception.vocabulary import Vocabulary, own_vocabulary

__all__ = [
    "ActionPipeline",
    "FrameActionConfig",
    "FrameActionPipeline",
    "FrameActions",
    "ModelOnStream",
    "PipelineConfig",
    "Recognition",
    "Segmentation",
    "SegmentationConfig",
    "SegmentationPipeline",
]


@dataclass(frozen=True, eq=False)
class _SampledFrame(Frame):
    """What a window keeps of a frame: the points that the model is given.

    sample: (P, 3) float32, model units; None where no point was in view. points: the same, metres.
    """

    sample: NDArray[np.float32] | None = None


Config = TypeVar("Config", bound=PipelineConfig)
Answer = TypeVar("Answer")


class ModelOnStream(Generic[Config, Answer]):
    """A sliding window and a model.

    `push` does everything. A node splits it: `offer`, which is cheap (it samples a frame that the
    window takes), belongs to the thread that receives; the pipeline's verb to the one that infers.
    Each is to be called from one thread only.
    """

    _keeps_clouds = False
    """Whether all points of the window's frames are needed; else it holds the sampled ones alone,
    and a long window of large clouds costs next to nothing."""

    def __init__(self, checkpoint: Checkpoint, config: Config) -> None:
        if not isinstance(checkpoint.model, VideoModel):
            raise InputError(
                f"{checkpoint.card.name} sees {checkpoint.model.modality}, and here are points: "
                "take a model of point-cloud video"
            )
        self.config = config
        self.card = checkpoint.card
        self._preprocess = self._preprocess_config()
        keep = None if self._keeps_clouds else self._thin
        self.window = SlidingWindow(self._clip_config(), config.stride, keep)
        self._model = checkpoint.model
        self._model.check_input(self.window.clip.frames, self._preprocess.points)
        self._device = next(checkpoint.model.parameters()).device
        self._stream = self._model.stream(self.window.clip.frames)
        self._given: dict[Frame, Tensor | None] = {}
        self.sampling_ms = 0.0
        """What the sampling of all frames has taken so far, in `offer` or in the verb."""

    def _clip_config(self) -> ClipConfig:
        trained = self.card.clip
        return replace(
            trained,
            frames=self.config.clip_frames or trained.frames,
            frame_step=self.config.frame_step or trained.frame_step,
        )

    def _preprocess_config(self) -> PreprocessConfig:
        return self.card.preprocess

    def offer(self, frame: Frame) -> Clip | None:
        """Put a frame into the window. A clip comes back if it completes one."""
        return self.window.push(frame)

    def push(self, frame: Frame) -> Answer | None:
        """None while the window fills, or when this frame completes no stride."""
        clip = self.offer(frame)
        return None if clip is None else self._run(clip)

    def _run(self, clip: Clip) -> Answer:
        """The pipeline's verb."""
        raise NotImplementedError

    def warm_up(self) -> float:
        """Run the model once on random points (compiles the kernels); milliseconds it took."""
        clip = self.window.clip
        points = np.random.default_rng(0).random(
            (clip.frames, self._preprocess.points, 3), np.float32
        )
        frames = tuple(Frame(stamp, "", one) for stamp, one in enumerate(points))
        started = time.perf_counter()
        self._run(Clip(frames))
        self._stream.reset()
        return (time.perf_counter() - started) * 1e3

    def forget(self) -> None:
        """Drop what was kept of windows for those to come; their answers stay the same."""
        self._stream.reset()
        self._given = {}

    def _logits(self, clip: Sequence[Tensor]) -> Tensor:
        """What the model says of a clip's samples. Raises ValueError where that is no number."""
        return self._finite(self._model.classify(self._stream.window(clip))[0].float())

    def _finite(self, logits: Tensor) -> Tensor:
        if not torch.isfinite(logits).all():
            raise ValueError(f"{self.card.name}: scores that are not finite numbers")
        return logits

    def _sample(self, clip: Clip) -> list[Tensor] | None:
        """(P, 3) float32, model units, for each frame; the same tensor for as long as it is seen.

        A frame without points takes the sample of the nearest frame that has some; None if no frame
        has.
        """
        self._given = {
            frame: self._given[frame] if frame in self._given else self._tensor(frame)
            for frame in clip.frames
        }
        return fill_nearest([self._given[frame] for frame in clip.frames])

    def _tensor(self, frame: Frame) -> Tensor | None:
        points = frame.sample if isinstance(frame, _SampledFrame) else self._points(frame)
        return None if points is None else torch.from_numpy(points).to(self._device)

    def _points(self, frame: Frame) -> NDArray[np.float32] | None:
        """A frame's stamp seeds its sampling, so a replay gives the same answer."""
        started = time.perf_counter()
        random = np.random.default_rng(abs(frame.stamp))
        points = preprocess(frame.visible, self._preprocess, random)
        self.sampling_ms += (time.perf_counter() - started) * 1e3
        return points

    def _thin(self, frame: Frame) -> Frame:
        sample, scale = self._points(frame), np.float32(self._preprocess.unit_scale)
        points = np.empty((0, 3), np.float32) if sample is None else sample / scale
        return _SampledFrame(frame.stamp, frame.frame_id, points, sample=sample)


class ActionPipeline(ModelOnStream[PipelineConfig, Recognition]):
    """A sliding window and an action model. Its verb is `recognise`.

    The scores of a model that was aligned with texts (VG4D) are the cloud's two, the classifier's
    and those of the cloud against the classes' texts, and the two of the images that were last
    put into `images`, if they are not too old; fused as the checkpoint says.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: PipelineConfig | None = None,
        *,
        image_max_age: float = 1.0,
    ) -> None:
        """image_max_age: seconds by which the images' scores may be older than a window.

        Raises InputError if the clip is too short for the model, or the model sees images.
        """
        super().__init__(checkpoint, config or PipelineConfig())
        self.images: ImageScores | None = None
        """What an ImagePipeline has said last. May be set from another thread."""
        self.vocabulary = own_vocabulary(self.card)
        """What the scores are of, as `OpenVocabulary` makes it. May be replaced from another
        thread: a window's answer is of one or of the other, and the images' scores of the one
        before are left out."""
        self._image_max_age = round(image_max_age * SECOND)

    @property
    def sources(self) -> tuple[str, ...]:
        """Of a model that fuses several scores, their names; empty of any other."""
        return SOURCES if isinstance(self._model, AlignedModel) else ()

    def recognise(self, clip: Clip) -> Recognition:
        """Run the model on a clip. Raises ValueError if its scores are not finite numbers.

        What the model computed for a frame is kept for the windows to come; the scores are the
        same, bit for bit, whichever windows came before.
        """
        started = time.perf_counter()
        points = self._sample(clip)
        vocabulary = self.vocabulary
        scores: NDArray[np.float32] = np.zeros(len(vocabulary.classes), np.float32)
        by_source: dict[str, NDArray[np.float32]] = {}
        if points is not None:
            with torch.inference_mode():
                scores, by_source = self._scores(points, clip.newest.stamp, vocabulary)
        return Recognition(
            stamp=clip.newest.stamp,
            frame_id=clip.newest.frame_id,
            start=clip.frames[0].stamp,
            scores=scores,
            processing_ms=(time.perf_counter() - started) * 1e3,
            by_source=by_source,
            classes=vocabulary.classes,
        )

    def _scores(
        self, points: Sequence[Tensor], stamp: int, vocabulary: Vocabulary
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Of a clip's samples, and each source's by itself, where there are several."""
        model = self._model
        if not isinstance(model, AlignedModel):
            return torch.softmax(self._logits(points), dim=-1).cpu().numpy(), {}
        features = self._stream.window(points)
        if vocabulary.texts is None:
            said = model.cloud_logits(features)
        else:
            said = {"pc_text": model.text_logits(features, vocabulary.texts)}
        logits = {name: self._finite(one[0].float()) for name, one in said.items()}
        images = self.images
        if (
            images is not None
            and images.vocabulary == vocabulary
            and abs(stamp - images.stamp) <= self._image_max_age
        ):
            logits |= images.logits
        fusion = ScoreFusion(model.config.fusion)
        apart = {name: one.cpu().numpy() for name, one in fusion.scores(logits).items()}
        return fusion.fuse(logits).cpu().numpy(), apart

    _run = recognise


class FrameActionPipeline(ModelOnStream[FrameActionConfig, FrameActions | None]):
    """A sliding window and a model that labels each of its frames. Its verb is `recognise`.

    Every frame of the windows is spoken of once, in order: with the first window that has
    `latency_frames` frames after it. So the first window speaks of many frames, and one that comes
    after others were skipped makes up for them.
    """

    def __init__(self, checkpoint: Checkpoint, config: FrameActionConfig | None = None) -> None:
        """Raises InputError as `ActionPipeline`, and if latency_frames is longer than the clip."""
        super().__init__(checkpoint, config or FrameActionConfig())
        _check_latency(self.config.latency_frames, self.window.clip.frames)
        self._said: Frame | None = None

    def recognise(self, clip: Clip) -> FrameActions | None:
        """Run the model on a clip. None where all its frames have been spoken of.

        Raises ValueError as `ActionPipeline.recognise`.
        """
        started, ahead = time.perf_counter(), self.config.latency_frames
        said = self._said
        if said is not None and said.stamp >= clip.frames[0].stamp and said not in clip.frames:
            said = None  # time has jumped back: the frames of these stamps are others
        places = {
            frame: place
            for place, frame in enumerate(clip.frames[: len(clip.frames) - ahead])
            if said is None or frame.stamp > said.stamp
        }  # a frame that stands at several moments: the last of them
        if not places:
            return None
        points = self._sample(clip)
        scores = np.zeros((len(clip.frames), len(self.card.classes)), np.float32)
        if points is not None:
            with torch.inference_mode():
                scores = torch.softmax(self._logits(points), dim=-1).cpu().numpy()
        took = (time.perf_counter() - started) * 1e3
        start = clip.frames[0].stamp
        answers = tuple(
            Recognition(frame.stamp, frame.frame_id, start, scores[place], took)
            for frame, place in places.items()
        )
        self._said = list(places)[-1]
        return FrameActions(answers, list(places)[-1], took)

    def warm_up(self) -> float:
        """As the others'; nothing has been said after it."""
        took, self._said = super().warm_up(), None
        return took

    _run = recognise


class SegmentationPipeline(ModelOnStream[SegmentationConfig, Segmentation]):
    """A sliding window and a model that labels points. Its verb is `segment`."""

    _keeps_clouds = True

    def __init__(self, checkpoint: Checkpoint, config: SegmentationConfig | None = None) -> None:
        """Raises InputError as `ActionPipeline`, if latency_frames is longer than the clip, and as
        `CloserLook`.
        """
        super().__init__(checkpoint, config or SegmentationConfig())
        frames = self.window.clip.frames
        _check_latency(self.config.latency_frames, frames)
        self._closer = CloserLook(checkpoint, frames) if self.config.closer_look else None

    def _preprocess_config(self) -> PreprocessConfig:
        own = self.card.preprocess
        return replace(own, points=self.config.sample_points or own.points)

    def warm_up(self) -> float:
        """As the others', the closer look's kernels too."""
        if self._closer is not None:
            self._closer.warm_up()
        return super().warm_up()

    def segment(self, clip: Clip) -> Segmentation:
        """Label the points of a clip's frame. Raises ValueError as `ActionPipeline.recognise`.

        The logits of the sampled points are carried to all others by three-nearest interpolation,
        as far as `max_distance`.
        """
        started = time.perf_counter()
        place = len(clip.frames) - 1 - self.config.latency_frames
        frame = clip.frames[place]
        labels = np.full(len(frame.points), UNLABELLED, np.uint32)
        confidence = np.zeros(len(frame.points), np.float32)
        there = _there(frame)
        samples = self._sample(clip)
        if samples is not None and self._given[frame] is not None and there.size:
            with torch.inference_mode():
                carried = self._carried(clip, samples, place, there)
                near = carried.distance <= self.config.max_distance * float(self._scale)
                labels[there] = torch.where(near, carried.labels, UNLABELLED).cpu().numpy()
                confidence[there] = (carried.confidence * near).cpu().numpy()
        return Segmentation(frame, labels, confidence, (time.perf_counter() - started) * 1e3)

    def _carried(
        self, clip: Clip, samples: Sequence[Tensor], place: int, there: NDArray[np.int64]
    ) -> Carried:
        """What one look, or two, say of the points that are `there` in the frame at a place."""
        logits, points = self._logits(samples), clip.frames[place].points[there]
        if self._closer is None:
            return carry(logits[place], samples[place], points, self._scale)
        seen = [
            Seen(
                points if at == place else one.points[_there(one)],
                samples[at], logits[at], abs(one.stamp),
            )
            for at, one in enumerate(clip.frames)
        ]  # fmt: skip
        return self._closer.labels(seen, (place,))[place]

    @property
    def _scale(self) -> np.float32:
        return np.float32(self._preprocess.unit_scale)

    _run = segment


def _there(frame: Frame) -> NDArray[np.int64]:
    """The numbers of the points that returned and are shown to models."""
    finite = np.isfinite(frame.points).all(axis=1)
    return np.flatnonzero(finite if frame.shown is None else finite & frame.shown)


def _check_latency(latency: int, frames: int) -> None:
    if latency >= frames:
        raise InputError(
            f"latency_frames: {latency} frames after the labelled one do not fit into a window of "
            f"{frames}: set {frames - 1} or less"
        )
