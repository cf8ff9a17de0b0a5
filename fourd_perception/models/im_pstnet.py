"""im-PSTNet, the 4D encoder of VG4D."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.models.pst_conv import PSTConv, PSTConvConfig
from fourd_perception.models.video_model import VideoModel
from fourd_perception.ops.farthest_point import farthest_point_sample
from fourd_perception.parameters import param

_MOST_LAYERS = 64


@dataclass(frozen=True)
class ImPSTNetConfig:
    """The architecture's table; the published one is config/models/im_pstnet_ntu.yaml."""

    layers: tuple[PSTConvConfig, ...] = param((), "the convolutions, first to last")
    normalise_displacement: bool = param(True, "divide displacements by the radius (VG4D, eq. 8)")
    centre_feature: bool = param(True, "give the anchor's own feature to zeta (VG4D, eq. 8)")
    head_norm: bool = param(
        False, "normalise the video feature before the classifier; not in the papers"
    )
    dropout: float = param(0.0, "dropout before the classifier", at_least=0.0, at_most=0.95)

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= _MOST_LAYERS:
            raise ValueError(f"layers: expected 1 to {_MOST_LAYERS}, got {len(self.layers)}")
        if self.layers[0].temporal_kernel != 1:
            raise ValueError("layers[0]: the spatial extractor has a temporal_kernel of 1")


class ImPSTNet(VideoModel):
    """im-PSTNet (VG4D, section III-C): a spatial extractor, then im-PST convolutions.

    (B, L, N, 3) points in model units -> (B, classes) logits. A frame's feature is the mean over
    its anchors; the video's is the maximum over frames, as in PSTNet.
    """

    def __init__(self, config: ImPSTNetConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()
        channels = 0
        for row in config.layers:
            self.layers.append(
                PSTConv(
                    channels,
                    row,
                    normalise_displacement=config.normalise_displacement,
                    centre_feature=config.centre_feature,
                )
            )
            channels = row.out_channels
        self.feature_channels = channels
        self.norm = nn.BatchNorm1d(channels) if config.head_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(channels, classes)

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError if clips of `frames` frames of `points` points are too small."""
        length, count = frames, points
        for number, row in enumerate(self.config.layers, start=1):
            had = f"{length} x {count}"
            length, count = row.anchor_frames(length), count // row.spatial_stride
            if length < 1 or count < 1:
                raise InputError(
                    f"a clip of {frames} frames x {points} points is too small for this model: "
                    f"its layer {number} gets {had}; give longer clips or more points"
                )

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3) float32, model units, finite.

        Returns the video feature (B, C) and the frame features (B, L', C). C is the last layer's
        width, 2048 in the paper; L' the frames that the temporal strides leave.
        """
        first = self.config.layers[0]
        batch, frames, count, _ = points.shape
        flat = points.flatten(0, 1)
        chosen = farthest_point_sample(flat, count // first.spatial_stride)
        sampled = flat.gather(1, chosen[:, :, None].expand(-1, -1, 3)).unflatten(0, (batch, frames))
        features: Tensor | None = None
        for number, layer in enumerate(self.layers):
            points, features = layer(points, features, sampled if number == 0 else None)
            if number < len(self.layers) - 1:  # none after the last, as in PSTNet
                features = torch.relu(features)
        assert features is not None
        frame_features = features.mean(dim=2)
        return frame_features.amax(dim=1), frame_features

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3) float32, model units, finite. Returns logits (B, classes)."""
        return self.head(self.dropout(self.norm(self.encode(points)[0])))
