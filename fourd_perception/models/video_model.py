"""What every model of video is, and every one of point-cloud video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.stream import EncoderStream
from fourd_perception.ops.farthest_point import farthest_point_sample


@dataclass(frozen=True)
class Features:
    """What an encoder has to say of a clip, before the classifier.

    video: (B, C) float32, of the whole clip. frames: (B, L', C), of each of the L' frames that the
    temporal strides leave. points: (B, L, N, C'), of each point, from the models that label points.
    """

    video: Tensor
    frames: Tensor
    points: Tensor | None = None


class ClipModel(nn.Module):
    """A clip in, logits out: what training, evaluation and checkpoints ask of a model."""

    task = "action_recognition"
    """What it labels: action_recognition a clip, action_segmentation frames, semantic_segmentation
    points."""
    modality = "points"
    """What its clips are of: points (B, L, N, 3) float32 in model units, or images
    (B, L, 3, H, W) float32 in 0 to 1."""
    feature_channels: int

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""


class VideoModel(ClipModel):
    """(B, L, N, 3) points, float32, in model units -> logits.

    A model is a chain of `layers`, each of which looks at a few frames, then `summarise`, which may
    look at all of them, then `classify`. So whatever the chain computes for a frame of a stream can
    be kept until the frame leaves the window; `stream` does that.
    """

    layers: nn.ModuleList
    has_memory = False
    """Whether it can take in features of frames outside of the clip (PPTr's long-term memory)."""

    def sample(self, points: Tensor) -> Level:
        """points: (F, N, 3) float32, model units: frames of any clips. What the first layer takes.

        Each frame is treated alone.
        """
        raise NotImplementedError

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """The features of `batch` clips, from the last layer's output.

        memory: (B, T, P, C) float32, for models that have one; see `PPTr.remember`.
        """
        raise NotImplementedError

    def classify(self, features: Features) -> Tensor:
        """Logits: (B, K) of a video, (B, L, K) of frames, (B, L, N, K) of points, by the task."""
        raise NotImplementedError

    def encode(self, points: Tensor, memory: Tensor | None = None) -> Features:
        """points: (B, L, N, 3) float32, model units, finite. memory: see `summarise`.

        Raises ValueError if the shape or the type does not fit, InputError if the clip is too small
        or the model has no use for a memory.
        """
        if memory is not None and not self.has_memory:
            raise InputError(f"{type(self).__name__} has no long-term memory; PPTr can have one")
        return self.summarise(self.run_layers(points), len(points), memory)

    def run_layers(self, points: Tensor) -> Level:
        """The last layer's output, B * L' frames, for points (B, L, N, 3); raises as `encode`."""
        if points.dim() != 4 or points.shape[3] != 3 or points.dtype != torch.float32:
            raise ValueError(
                "points: expected (B, L, N, 3) float32, "
                f"got {tuple(points.shape)} {str(points.dtype).removeprefix('torch.')}"
            )
        batch, length, count, _ = points.shape
        if batch == 0:
            raise ValueError("points: expected 1 clip or more, got none")
        self.check_input(length, count)
        level = self.sample(points.flatten(0, 1))
        clips = torch.arange(batch)[:, None, None]
        for layer in self.chain:
            frames = layer.reach.frames(length)
            everywhere = torch.where(frames < 0, -1, frames + length * clips).flatten(0, 1)
            level = layer(level, everywhere.to(points.device, non_blocking=True))
            length = len(frames)
        return level

    def forward(self, points: Tensor, memory: Tensor | None = None) -> Tensor:
        """points: (B, L, N, 3) float32, model units, finite. Returns the logits of `classify`."""
        return self.classify(self.encode(points, memory))

    def stream(self, frames: int) -> EncoderStream:
        """The model on a window of `frames` frames (N, 3) that slides over a stream.

        Raises ValueError if the model is in training mode.
        """
        return EncoderStream(self, frames)

    @property
    def chain(self) -> list[FrameLayer]:
        """The layers, first to last."""
        return [cast(FrameLayer, layer) for layer in self.layers]

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""
        length, count = frames, points
        for number, one in enumerate(self.layers, start=1):
            layer = cast(FrameLayer, one)
            had = f"{length} x {count}"
            length, count = layer.reach.anchor_frames(length), layer.output_points(count)
            if length < 1 or count < 1:
                raise InputError(
                    f"a clip of {frames} frames x {points} points is too small for this model: "
                    f"its layer {number} gets {had}; give longer clips or more points"
                )


def sampled(points: Tensor, stride: int, *, compat: bool) -> Level:
    """points: (F, N, 3) float32, with N // stride of them in sampling order, for a first layer."""
    order = farthest_point_sample(points, points.shape[1] // stride, compat=compat)
    return Level(points, order=order)
