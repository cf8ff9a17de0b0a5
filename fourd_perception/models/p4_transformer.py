"""P4Transformer, and PST-Transformer, for the action of a video or of each of its frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.p4d_conv import P4DConv, P4DConvConfig
from fourd_perception.models.token_parts import TIMES, TimeEmbedding, mlp_head
from fourd_perception.models.transformer import Transformer, TransformerConfig
from fourd_perception.models.video_model import Features, VideoModel, sampled
from fourd_perception.parameters import param

ACTION_TASKS = ("action_recognition", "action_segmentation")


def keeps_every_frame(config: P4DConvConfig) -> bool:
    """Whether a convolution gives as many frames as it gets, as labels for frames need it."""
    padded = sum(config.temporal_padding) == config.temporal_kernel - 1
    return config.temporal_stride == 1 and padded


@dataclass(frozen=True)
class P4TransformerConfig:
    """The architecture; the published ones are config/models/p4_transformer_*.yaml."""

    task: str = param("action_recognition", "a label for the video or for each frame",
                      choices=ACTION_TASKS)  # fmt: skip
    tube: P4DConvConfig = param(P4DConvConfig(), "the tube embedding")
    position: str = param(
        "embedding", "how tokens know where they are; displacement is PST-Transformer's",
        choices=("embedding", "displacement"),
    )  # fmt: skip
    rectify: bool = param(False, "ReLU between embedding and transformer")
    transformer: TransformerConfig = param(TransformerConfig(), "over the tokens")
    time: str = param(
        "linear",
        "how tokens know when they are: by a map that is linear in the frame's number (the papers) "
        "or in sines and cosines of it, with which nearby frames of long clips find each other",
        choices=TIMES,
    )
    head_channels: int = param(2048, "channels inside the classifier", at_least=1, at_most=65536)
    head_dropout: float = param(0.0, "dropout in the classifier", at_least=0.0, at_most=0.95)
    compat: bool = param(False, "sample as the public CUDA code does: no points near the origin")

    def __post_init__(self) -> None:
        if self.task == "action_segmentation":
            if not keeps_every_frame(self.tube):
                raise ValueError("tube: labels for frames want a stride of 1 and padding for it")
            if self.position == "displacement":
                raise ValueError("position: displacement wants task action_recognition")


@dataclass(frozen=True)
class PSTTransformerConfig(P4TransformerConfig):
    """PST-Transformer: attention over displacements; config/models/pst_transformer_*.yaml."""

    position: str = param("displacement", "as in P4TransformerConfig",
                          choices=("embedding", "displacement"))  # fmt: skip


class FrameMax(FrameLayer):
    """A frame's token: the maximum over its anchors."""

    def output_points(self, points: int) -> int:
        """One."""
        return min(points, 1)

    def forward(self, level: Level, frames: Tensor) -> Level:
        """See FrameLayer. Returns one point a frame, features (G, 1, C)."""
        level = level.at(frames[:, 0])
        assert level.features is not None
        return Level(level.points[:, :1], level.features.amax(1, keepdim=True))


class P4Transformer(VideoModel):
    """P4Transformer (CVPR 2021): a point 4D convolution, then a transformer over its anchors.

    (B, L, N, 3) points in model units -> (B, classes) logits; or, as the HOI4D challenge has it for
    action segmentation, a transformer over frames -> (B, L, classes).
    """

    def __init__(self, config: P4TransformerConfig, classes: int) -> None:
        super().__init__()
        self.config, self.task = config, config.task
        channels = config.tube.channels[-1]
        self.feature_channels = channels
        displacement = config.position == "displacement"
        self.layers = nn.ModuleList([P4DConv(0, config.tube, embed_place=not displacement)])
        if config.task == "action_segmentation":
            # What a frame's time adds is the same for all its anchors: it can come after.
            self.layers.append(FrameMax())
        self.time = None if displacement else TimeEmbedding(channels, config.time)
        self.transformer = Transformer(channels, config.transformer, displacement=displacement)
        self.head = mlp_head(channels, config.head_channels, classes, config.head_dropout)

    def sample(self, points: Tensor) -> Level:
        """See VideoModel."""
        return sampled(points, self.config.tube.spatial_stride, compat=self.config.compat)

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """The transformer's tokens; a frame's feature is their maximum over its anchors."""
        assert level.features is not None
        tokens = level.features.unflatten(0, (batch, -1))  # (B, L', M, C)
        places = level.points.unflatten(0, (batch, -1))
        length = tokens.shape[1]
        if self.time is not None:
            tokens = tokens + self.time(length)[:, None]
        if self.config.rectify:
            tokens = torch.relu(tokens)
        out = self.transformer(tokens.flatten(1, 2), places.flatten(1, 2))
        frames = out.unflatten(1, (length, -1)).amax(2)
        return Features(frames.amax(1), frames)

    def classify(self, features: Features) -> Tensor:
        """Logits (B, classes), or (B, L, classes) where the task is action segmentation."""
        recognises = self.config.task == "action_recognition"
        return self.head(features.video if recognises else features.frames)
