"""PPTr, the point primitive transformer, for the action of a video or of each of its frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.p4_transformer import ACTION_TASKS, keeps_every_frame
from fourd_perception.models.p4d_conv import P4DConv, P4DConvConfig
from fourd_perception.models.primitives import (
    IntraPrimitive,
    PrimitivesConfig,
    masked_maximum,
    with_memory,
)
from fourd_perception.models.token_parts import TIMES, TimeEmbedding, mlp_head
from fourd_perception.models.transformer import Transformer, TransformerConfig
from fourd_perception.models.video_model import Features, VideoModel, sampled
from fourd_perception.parameters import param


@dataclass(frozen=True)
class PPTrConfig:
    """The architecture; the published ones are config/models/pptr_*.yaml."""

    task: str = param("action_recognition", "a label for the video or for each frame",
                      choices=ACTION_TASKS)  # fmt: skip
    tube: P4DConvConfig = param(P4DConvConfig(channels=(2048,)), "the tube embedding")
    primitives: PrimitivesConfig = param(PrimitivesConfig(), "what a primitive is")
    position: str = param(
        "place_then_time",
        "how tokens know where and when they are: not at all, both before the intra-primitive "
        "transformer (the HOI4D challenge), or the place before it and the time after it",
        choices=("none", "place_and_time", "place_then_time"),
    )
    intra: TransformerConfig = param(TransformerConfig(), "inside each primitive")
    inter: TransformerConfig = param(TransformerConfig(), "over the primitives")
    time: str = param("linear", "as in P4TransformerConfig", choices=TIMES)
    head_channels: int = param(1024, "channels inside the classifier", at_least=1, at_most=65536)
    head_dropout: float = param(0.0, "dropout in the classifier", at_least=0.0, at_most=0.95)
    compat: bool = param(False, "sample as the public CUDA code does: no points near the origin")

    def __post_init__(self) -> None:
        if self.task == "action_segmentation" and not keeps_every_frame(self.tube):
            raise ValueError("tube: labels for frames want a stride of 1 and padding for it")


class PPTr(VideoModel):
    """PPTr (ECCV 2022): a point 4D convolution, a transformer inside each primitive of a frame, one
    token for each primitive, and a transformer over the tokens of the clip and of a memory.

    (B, L, N, 3) points in model units -> (B, classes) logits; or, as the HOI4D challenge has it for
    action segmentation, one token for each frame -> (B, L, classes).

    All of a frame's tokens have one time, so it tells a primitive's points nothing about each
    other. With `place_then_time` it is added where frames meet, after the primitives: the same
    weights, and what a frame's primitives came to can be kept while the window slides on.
    """

    has_memory = True

    def __init__(self, config: PPTrConfig, classes: int) -> None:
        super().__init__()
        self.config, self.task = config, config.task
        channels = config.tube.channels[-1]
        self.feature_channels = channels
        tube = P4DConv(0, config.tube, embed_place=config.position != "none")
        self.intra = IntraPrimitive(channels, config.primitives, config.intra)
        self.inter = Transformer(channels, config.inter)
        self.time = None if config.position == "none" else TimeEmbedding(channels, config.time)
        self.head = mlp_head(channels, config.head_channels, classes, config.head_dropout)
        self.layers = nn.ModuleList([tube])

    @property
    def chain(self) -> list[FrameLayer]:
        """The convolution, and the primitives' inside if the clip's time does not go into it."""
        timeless = self.config.position != "place_and_time"
        return [*super().chain, self.intra] if timeless else super().chain

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""
        super().check_input(frames, points)
        anchors, primitives = points // self.config.tube.spatial_stride, self.config.primitives
        uneven = primitives.kind == "fps_groups" and anchors % primitives.count
        if anchors < primitives.count or uneven:
            raise InputError(
                f"{points} points leave {anchors} anchors in a frame, which cannot be shared out "
                f"among {primitives.count} primitives; give a multiple of "
                f"{primitives.count * self.config.tube.spatial_stride} points"
            )

    def sample(self, points: Tensor) -> Level:
        """See VideoModel. Fits the primitives too, where they are planes."""
        level = sampled(points, self.config.tube.spatial_stride, compat=self.config.compat)
        return replace(level, primitives=self.config.primitives.labels(points))

    def remember(self, points: Tensor) -> Tensor:
        """The primitives' features (F, P, C) of frames (F, N, 3) float32, each taken alone.

        What a memory is made of (section 4.1): a memory (B, T, P, C) holds T of them, from anywhere
        in the video, computed once, by this model or another of its sizes.
        """
        kernel = self.config.tube.temporal_kernel
        frozen = points[:, None].expand(-1, kernel, -1, -1)
        level = self._primitives(self.run_layers(frozen), len(points))
        assert level.features is not None
        return level.features.unflatten(0, (len(points), -1))[:, 0]

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """The inter-primitive transformer's tokens of the clip; a frame's are pooled by maximum."""
        length = len(level) // batch
        level = self._primitives(level, batch)
        assert level.features is not None and level.primitives is not None
        tokens = level.features.unflatten(0, (batch, length))  # (B, L', P, C)
        heeded = (level.primitives >= 0).unflatten(0, (batch, length))
        if self.config.task == "action_segmentation":
            tokens = masked_maximum(tokens, heeded)[:, :, None]
            heeded = heeded.any(2, keepdim=True)
        if self.time is not None and self.config.position == "place_then_time":
            tokens = tokens + self.time(length)[:, None]
        out = with_memory(self.inter, tokens, heeded, memory)
        frames = masked_maximum(out, heeded)
        return Features(masked_maximum(frames, heeded.any(2)), frames)

    def classify(self, features: Features) -> Tensor:
        """Logits (B, classes), or (B, L, classes) where the task is action segmentation."""
        recognises = self.config.task == "action_recognition"
        return self.head(features.video if recognises else features.frames)

    def _primitives(self, level: Level, batch: int) -> Level:
        """The primitives' tokens; made here where the time goes into them first."""
        if self.config.position != "place_and_time":
            return level
        assert level.features is not None and self.time is not None
        features = level.features + self.time(len(level) // batch).repeat(batch, 1)[:, None]
        everything = torch.arange(len(level), device=features.device)[:, None]
        return self.intra(replace(level, features=features), everything)
