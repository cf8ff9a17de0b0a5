"""Frames in, recognitions out. No ROS here: the node, the tools and the tests are thin shells."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.checkpoint import Checkpoint
from fourd_perception.errors import InputError
from fourd_perception.models import VideoModel
from fourd_perception.parameters import param
from fourd_perception.preprocess import fill_nearest, preprocess
from fourd_perception.stream.frame import Frame
from fourd_perception.stream.window import Clip, ClipConfig, SlidingWindow


@dataclass(frozen=True)
class PipelineConfig:
    """How the pipeline runs a model; what the model is, its checkpoint says."""

    clip_frames: int = param(0, "frames in a window; 0: the model's own", at_least=0, at_most=512)
    frame_step: int = param(
        0, "take every n-th frame, counted at the model's rate; 0: the model's own",
        at_least=0, at_most=64,
    )  # fmt: skip
    stride: int = param(
        2, "frames of the window from one answer to the next", at_least=1, at_most=512
    )
    min_score: float = param(
        0.0, "classes that score less are left out of an answer",
        at_least=0.0, at_most=1.0, changeable=True,
    )  # fmt: skip
    top_k: int = param(
        5, "classes in an answer, best first; 0: all", at_least=0, at_most=10_000, changeable=True
    )


@dataclass(frozen=True)
class Recognition:
    """What one window shows.

    stamp, frame_id: the window's newest frame. start: the stamp of its oldest. scores: (K,)
    float32, softmax over the model's classes; all zero where no point was in view.
    """

    stamp: int
    frame_id: str
    start: int
    scores: NDArray[np.float32]
    processing_ms: float

    def top(self, k: int, min_score: float) -> list[tuple[int, float]]:
        """(class index, score) of the best k classes (0: all) that score `min_score` or more."""
        order = np.argsort(-self.scores, kind="stable")[: k or None]
        best = [(int(index), float(self.scores[index])) for index in order]
        return [(index, score) for index, score in best if score > 0 and score >= min_score]


class ActionPipeline:
    """A sliding window and an action model.

    `push` does everything. A node splits it: `offer`, which is cheap, belongs to the thread that
    receives; `recognise` to the one that infers. Each is to be called from one thread only.
    """

    def __init__(self, checkpoint: Checkpoint, config: PipelineConfig | None = None) -> None:
        """Raises InputError if the clip is too short for the model, or the model sees images."""
        if not isinstance(checkpoint.model, VideoModel):
            raise InputError(
                f"{checkpoint.card.name} sees {checkpoint.model.modality}, and here are points: "
                "take a model of point-cloud video"
            )
        self.config = config or PipelineConfig()
        self.card = checkpoint.card
        self.window = SlidingWindow(self._clip_config(), self.config.stride)
        self._model = checkpoint.model
        self._model.check_input(self.window.clip.frames, self.card.preprocess.points)
        self._device = next(checkpoint.model.parameters()).device
        self._stream = self._model.stream(self.window.clip.frames)
        self._sampled: dict[Frame, Tensor | None] = {}

    def _clip_config(self) -> ClipConfig:
        trained = self.card.clip
        return replace(
            trained,
            frames=self.config.clip_frames or trained.frames,
            frame_step=self.config.frame_step or trained.frame_step,
        )

    def push(self, frame: Frame) -> Recognition | None:
        """None while the window fills, or when this frame completes no stride."""
        clip = self.offer(frame)
        return None if clip is None else self.recognise(clip)

    def offer(self, frame: Frame) -> Clip | None:
        """Put a frame into the window; a clip comes back if it completes one."""
        return self.window.push(frame)

    def recognise(self, clip: Clip) -> Recognition:
        """Run the model on a clip. Raises ValueError if its scores are not finite numbers.

        What the model computed for a frame is kept for the windows to come; the scores are the
        same, bit for bit, whichever windows came before.
        """
        started = time.perf_counter()
        points = self._sample(clip)
        if points is None:
            scores = np.zeros(len(self.card.classes), np.float32)
        else:
            with torch.inference_mode():
                logits = self._model.classify(self._stream.window(points))
                scores = torch.softmax(logits[0].float(), dim=-1).cpu().numpy()
            if not np.isfinite(scores).all():
                raise ValueError(f"{self.card.name}: scores that are not finite: {scores}")
        return Recognition(
            stamp=clip.newest.stamp,
            frame_id=clip.newest.frame_id,
            start=clip.frames[0].stamp,
            scores=scores,
            processing_ms=(time.perf_counter() - started) * 1e3,
        )

    def warm_up(self) -> float:
        """Run the model once on random points (compiles the kernels); milliseconds it took."""
        clip = self.window.clip
        points = np.random.default_rng(0).random(
            (clip.frames, self.card.preprocess.points, 3), np.float32
        )
        frames = tuple(Frame(stamp, "", one) for stamp, one in enumerate(points))
        took = self.recognise(Clip(frames)).processing_ms
        self._stream.reset()
        return took

    def _sample(self, clip: Clip) -> list[Tensor] | None:
        """(P, 3) float32, model units, for each frame, sampled once, when it is first seen.

        A frame's stamp seeds its sampling, so a replay gives the same answer. A frame without
        points takes the sample of the nearest frame that has some; None if no frame has.
        """
        self._sampled = {
            frame: self._sampled[frame] if frame in self._sampled else self._sample_frame(frame)
            for frame in clip.frames
        }
        return fill_nearest([self._sampled[frame] for frame in clip.frames])

    def _sample_frame(self, frame: Frame) -> Tensor | None:
        random = np.random.default_rng(abs(frame.stamp))
        points = preprocess(frame.points, self.card.preprocess, random)
        return None if points is None else torch.from_numpy(points).to(self._device)
