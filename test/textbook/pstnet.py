"""PSTNet, PSTNet++ and im-PSTNet (VG4D, equation 8), as they are written.

Features are (B, L, C, N), as the convolutions of PyTorch want them. Parameters have the names and
shapes of the public code, where there is one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from textbook.point_operations import maximum
from textbook.point_tubes import PointTube, TubeShape, point_tubes
from torch import Tensor, nn


class Layer(NamedTuple):
    """One row of the papers' tables."""

    mid: int
    out: int
    radius: float
    k: int
    spatial_stride: int = 1
    temporal_kernel: int = 1
    temporal_stride: int = 1
    temporal_padding: tuple[int, int] = (0, 0)

    @property
    def tube(self) -> TubeShape:
        """Its point tube."""
        return TubeShape(*self[2:])


class PSTConv(nn.Module):
    """PSTNet's convolution: space, maximum, normalisation, ReLU, then time.

    With centre_feature and normalise_displacement, equation 8 of VG4D in the same order.
    """

    def __init__(
        self,
        in_channels: int,
        layer: Layer,
        *,
        padding_mode: str = "zeros",
        aggregation: str = "addition",
        pooling: str = "max",
        normalise_displacement: bool = False,
        centre_feature: bool = False,
        compat: bool = False,
    ) -> None:
        super().__init__()
        if aggregation not in ("addition", "multiplication"):
            raise ValueError(
                f'aggregation: expected "addition" or "multiplication", got "{aggregation}"'
            )
        self.layer = layer
        self.padding_mode, self.compat = padding_mode, compat
        self.aggregation, self.pooling = aggregation, pooling
        self.normalise_displacement = normalise_displacement
        self.centre_feature = centre_feature and in_channels > 0
        if in_channels > 0:
            self.spatial_conv_f = nn.Conv2d(in_channels, layer.mid, 1, bias=False)
        if self.centre_feature:
            self.spatial_conv_c = nn.Conv2d(in_channels, layer.mid, 1, bias=False)
        self.spatial_conv_d = nn.Conv2d(3, layer.mid, 1, bias=False)
        width = layer.temporal_kernel * layer.mid
        self.batch_norm = nn.BatchNorm1d(width)
        self.temporal = nn.Conv1d(width, layer.out, 1, bias=False)

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3); features: (B, L, C, N), None for the first layer.

        Returns the anchors (B, L', M, 3) and their features (B, L', out, M), without a ReLU.
        """
        anchors, outputs = [], []
        for tube in point_tubes(points, features, self.layer.tube, self.padding_mode, self.compat):
            spatial = torch.relu(self.batch_norm(torch.cat(self._spatial(tube), dim=1)))
            anchors.append(tube.anchors)
            outputs.append(self.temporal(spatial))
        return torch.stack(anchors, dim=1), torch.stack(outputs, dim=1)

    def _spatial(self, tube: PointTube) -> list[Tensor]:
        """(B, mid, M) for each frame of the tube."""
        pooled = []
        for _, displacement, features in tube.slices:
            if self.normalise_displacement:
                displacement = displacement / self.layer.radius
            value = self.spatial_conv_d(displacement)
            if features is not None:
                near = self.spatial_conv_f(features)
                value = value + near if self.aggregation == "addition" else value * near
            if self.centre_feature and tube.features is not None:
                value = value + self.spatial_conv_c(tube.features[..., None])
            pooled.append(pool(value, self.pooling))
        return pooled


class PSTOp(nn.Module):
    """PSTNet++'s convolution: a shared MLP, maximum, then an MLP for each frame, summed.

    With centre_feature and normalise_displacement, equation 8 of VG4D in the same order.
    """

    def __init__(
        self,
        in_channels: int,
        layer: Layer,
        *,
        padding_mode: str = "zeros",
        temporal_norm: bool = True,
        normalise_displacement: bool = False,
        centre_feature: bool = False,
        compat: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.padding_mode, self.compat = padding_mode, compat
        self.normalise_displacement = normalise_displacement
        self.centre_feature = centre_feature and in_channels > 0
        width = 3 + in_channels * (2 if self.centre_feature else 1)
        self.spatial_mlp = nn.Sequential(
            nn.Conv2d(width, layer.mid, 1, bias=False), nn.BatchNorm2d(layer.mid), nn.ReLU()
        )
        for number in range(layer.temporal_kernel):
            mlp: list[nn.Module] = [nn.Conv1d(layer.mid, layer.out, 1, bias=False)]
            if temporal_norm:
                mlp += [nn.BatchNorm1d(layer.out), nn.ReLU()]
            self.add_module(f"temporal_mlp_{number}", nn.Sequential(*mlp))

    def forward(self, points: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3); features: (B, L, C, N), None for the first layer.

        Returns the anchors (B, L', M, 3) and their features (B, L', out, M).
        """
        anchors, outputs = [], []
        for tube in point_tubes(points, features, self.layer.tube, self.padding_mode, self.compat):
            anchors.append(tube.anchors)
            outputs.append(self._convolve(tube))
        return torch.stack(anchors, dim=1), torch.stack(outputs, dim=1)

    def _convolve(self, tube: PointTube) -> Tensor:
        """(B, out, M): the tube's feature."""
        outputs = []
        for number, (_, displacement, features) in enumerate(tube.slices):
            if self.normalise_displacement:
                displacement = displacement / self.layer.radius
            parts = [displacement]
            if features is not None:
                parts.append(features)
            if self.centre_feature and tube.features is not None:
                parts.append(tube.features[..., None].expand(-1, -1, -1, self.layer.k))
            spatial = pool(self.spatial_mlp(torch.cat(parts, dim=1)), "max")
            outputs.append(self.get_submodule(f"temporal_mlp_{number}")(spatial))
        return torch.stack(outputs).sum(dim=0)


def pool(values: Tensor, pooling: str) -> Tensor:
    """values: (B, C, M, k); over the k neighbours. Returns (B, C, M)."""
    if pooling == "max":
        return maximum(values, 3)
    if pooling == "sum":
        return values.sum(dim=3)
    if pooling == "avg":
        return values.mean(dim=3)
    raise ValueError(f'pooling: expected "max", "sum" or "avg", got "{pooling}"')


class PSTNet(nn.Module):
    """PSTConv layers with ReLU between them; mean over points, maximum over time, linear.

    points (B, L, N, 3) -> logits (B, classes). Layers are named conv1, conv2a and so on, after the
    keys of the table; `options` are PSTConv's.
    """

    def __init__(self, layers: dict[str, Layer], classes: int, **options: Any) -> None:
        super().__init__()
        self.names = [f"conv{key}" for key in layers]
        channels = 0
        for name, layer in zip(self.names, layers.values()):
            self.add_module(name, PSTConv(channels, layer, **options))
            channels = layer.out
        self.fc = nn.Linear(channels, classes)

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3). Returns the video's feature (B, C) and the frames' (B, L', C)."""
        first, *others = self.names
        points, features = self.get_submodule(first)(points, None)
        for name in others:
            points, features = self.get_submodule(name)(points, torch.relu(features))
        return over_points_and_time(features)

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3). Returns logits (B, classes)."""
        return self.fc(self.encode(points)[0])


class PSTNetPlusPlus(nn.Module):
    """PSTOp layers; mean over points, maximum over time, linear.

    points (B, L, N, 3) -> logits (B, classes). Layers are named encoder1, encoder2a and so on,
    after the keys of the table; `options` are PSTOp's.
    """

    def __init__(self, layers: dict[str, Layer], classes: int, **options: Any) -> None:
        super().__init__()
        self.names = [f"encoder{key}" for key in layers]
        channels = 0
        for name, layer in zip(self.names, layers.values()):
            self.add_module(name, PSTOp(channels, layer, **options))
            channels = layer.out
        self.fc = nn.Linear(channels, classes)

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """points: (B, L, N, 3). Returns the video's feature (B, C) and the frames' (B, L', C)."""
        first, *others = self.names
        points, features = self.get_submodule(first)(points, None)
        for name in others:
            points, features = self.get_submodule(name)(points, features)
        return over_points_and_time(features)

    def forward(self, points: Tensor) -> Tensor:
        """points: (B, L, N, 3). Returns logits (B, classes)."""
        return self.fc(self.encode(points)[0])


def over_points_and_time(features: Tensor) -> tuple[Tensor, Tensor]:
    """features: (B, L, C, N). Returns the video's feature (B, C) and the frames' (B, L, C)."""
    frames = features.mean(dim=3)
    return maximum(frames, 1), frames


def pst_layers(radius: float, *, padded: bool) -> dict[str, Layer]:
    """The table that the three networks share; `padded` in time for MSR-Action3D's short clips."""
    start, both = ((1, 0), (1, 1)) if padded else ((0, 0), (0, 0))
    return {
        "1": Layer(45, 64, radius, 9, 2),
        "2a": Layer(96, 128, 2 * radius, 9, 2, 3, 2, start),
        "2b": Layer(192, 256, 2 * radius, 9, 1, 3, 1, both),
        "3a": Layer(384, 512, 4 * radius, 9, 2, 3, 2, start),
        "3b": Layer(768, 1024, 4 * radius, 9, 1, 3, 1, both),
        "4": Layer(1536, 2048, 4 * radius, 9, 2),
    }


def pstnet_ntu(classes: int = 60, radius: float = 0.1) -> PSTNet:
    """PSTNet on NTU RGB+D: clips of 23 frames of 2048 points."""
    return PSTNet(pst_layers(radius, padded=False), classes)


def pstnet_msr(classes: int = 20, radius: float = 0.5) -> PSTNet:
    """PSTNet on MSR-Action3D, clips of 16 frames of 2048 points; 284 is what the public code has.

    The radius is that of the training script; the model's own default there is 1.5.
    """
    layers = pst_layers(radius, padded=True)
    layers["3a"] = layers["3a"]._replace(mid=284)
    return PSTNet(layers, classes, aggregation="multiplication", pooling="sum")


def pstnetpp_ntu(classes: int = 60, radius: float = 0.1) -> PSTNetPlusPlus:
    """PSTNet++ on NTU RGB+D: clips of 23 frames of 2048 points."""
    return PSTNetPlusPlus(pst_layers(radius, padded=False), classes)


def pstnetpp_msr(classes: int = 20, radius: float = 0.5) -> PSTNetPlusPlus:
    """PSTNet++ on MSR-Action3D."""
    return PSTNetPlusPlus(
        pst_layers(radius, padded=True), classes, padding_mode="replicate", temporal_norm=False
    )


def im_pstnet_ntu(
    classes: int = 60,
    radius: float = 0.1,
    *,
    norm: str = "after_max",
    normalise_displacement: bool = True,
    centre_feature: bool = True,
) -> PSTNet | PSTNetPlusPlus:
    """im-PSTNet on NTU RGB+D, with equation 8 read in PSTNet's order or in PSTNet++'s.

    norm: "after_max" or "inside". The switches take back the paper's two changes to equation 7.
    """
    kinds: dict[str, type[PSTNet] | type[PSTNetPlusPlus]] = {
        "after_max": PSTNet,
        "inside": PSTNetPlusPlus,
    }
    if norm not in kinds:
        raise ValueError(f'norm: expected "after_max" or "inside", got "{norm}"')
    return kinds[norm](
        pst_layers(radius, padded=False),
        classes,
        normalise_displacement=normalise_displacement,
        centre_feature=centre_feature,
    )
