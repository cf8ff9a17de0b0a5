"""PSTNet, PSTNet++ and im-PSTNet, the 4D encoder of VG4D: one network, three sets of switches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fourd_perception.models.batch_norm import normalise
from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level
from fourd_perception.models.linear import Linear
from fourd_perception.models.pst_conv import (
    Projection,
    PSTConv,
    PSTConvConfig,
    PSTConvOptions,
)
from fourd_perception.models.video_model import Features, VideoModel, sampled
from fourd_perception.parameters import param

_MOST_LAYERS = 64


@dataclass(frozen=True)
class PSTNetConfig(PSTConvOptions):
    """The architecture's table and switches; PSTNet's is config/models/pstnet_ntu.yaml."""

    layers: tuple[PSTConvConfig, ...] = param((), "the convolutions, first to last")
    head_norm: bool = param(
        False, "normalise the video feature before the classifier; not in the papers"
    )
    dropout: float = param(0.0, "dropout before the classifier", at_least=0.0, at_most=0.95)
    compat: bool = param(False, "sample as the public CUDA code does: no points near the origin")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.layers) <= _MOST_LAYERS:
            raise ValueError(f"layers: expected 1 to {_MOST_LAYERS}, got {len(self.layers)}")
        if self.layers[0].temporal_kernel != 1:
            raise ValueError("layers[0]: the spatial extractor has a temporal_kernel of 1")


@dataclass(frozen=True)
class PSTNetPlusPlusConfig(PSTNetConfig):
    """PSTNet++: normalised inside of the maximum; config/models/pstnetpp_ntu.yaml."""

    norm: str = param("inside", "as in PSTNetConfig", choices=("after_max", "inside"))


@dataclass(frozen=True)
class ImPSTNetConfig(PSTNetConfig):
    """im-PSTNet: both terms that VG4D's equation 8 adds; config/models/im_pstnet_ntu.yaml."""

    normalise_displacement: bool = param(True, "divide displacements by the radius (VG4D, eq. 8)")
    centre_feature: bool = param(True, "give the anchor's own feature to zeta (VG4D, eq. 8)")


class PSTNet(VideoModel):
    """Point spatio-temporal convolutions, then the mean over anchors and the maximum over frames.

    (B, L, N, 3) points in model units -> (B, classes) logits. PSTNet (ICLR 2021), PSTNet++ (PAMI
    2021) and im-PSTNet (VG4D, section III-C), by the configuration.
    """

    def __init__(self, config: PSTNetConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList()
        channels = 0
        for number, row in enumerate(config.layers, start=1):
            last = number == len(config.layers)
            # PSTNet rectifies between its convolutions, PSTNet++ inside of them.
            rectify = config.norm == "after_max" and not last
            self.layers.append(PSTConv(channels, row, config, rectify=rectify, mean=last))
            channels = row.out_channels
        self.feature_channels = channels
        self.norm = nn.BatchNorm1d(channels) if config.head_norm else None
        self.dropout = nn.Dropout(config.dropout)
        self.head = Linear(channels, classes)

    @property
    def chain(self) -> list[FrameLayer]:
        """The convolutions; before each that adds features, what it makes of the points alone."""
        chain: list[FrameLayer] = []
        for layer in super().chain:
            if isinstance(layer, PSTConv) and layer.neighbour is not None and not layer.multiplies:
                chain.append(Projection(layer))
            chain.append(layer)
        return chain

    def sample(self, points: Tensor) -> Level:
        """See VideoModel."""
        return sampled(points, self.config.layers[0].spatial_stride, compat=self.config.compat)

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """The video's feature is the maximum over its frames."""
        assert level.features is not None
        frames = level.features[:, 0].unflatten(0, (batch, -1))
        return Features(frames.amax(dim=1), frames)

    def classify(self, features: Features) -> Tensor:
        """Logits (B, classes)."""
        video = features.video if self.norm is None else normalise(self.norm, features.video)
        return self.head(self.dropout(video))
