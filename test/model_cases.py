"""Every architecture, with every switch, at sizes that cost nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fourd_perception import models

CLASSES = 5


@dataclass(frozen=True)
class Case:
    """A model's configuration and a clip that suits it."""

    name: str
    architecture: str
    config: dict[str, Any]
    frames: int = 9
    points: int = 64
    order_counts: bool = False
    """Whether the points' order does: sums over repeated neighbours, groups of the first points
    within reach, planes through points drawn by their index."""
    output: tuple[int, ...] = field(default=())

    def build(self, seed: int = 0) -> models.VideoModel:
        """A model whose norms are not the identity that they start as."""
        torch.manual_seed(seed)
        model = models.build(self.architecture, self.config, CLASSES)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                torch.nn.init.uniform_(module.weight, -1.0, 1.5)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model.eval()

    def clip(self, batch: int = 2, seed: int = 0) -> torch.Tensor:
        """(batch, frames, points, 3) float32."""
        random = torch.Generator().manual_seed(seed)
        return torch.rand(batch, self.frames, self.points, 3, generator=random)

    def with_all_neighbours(self) -> models.VideoModel:
        """The model with balls that are never full, so that no neighbour is left out."""
        model = self.build()
        for layer in model.layers:
            if hasattr(layer, "config") and hasattr(layer.config, "neighbours"):
                object.__setattr__(layer.config, "neighbours", self.points)
        return model


def row(mid: int, out: int, radius: float, **more: Any) -> dict[str, Any]:
    return {"mid_channels": mid, "out_channels": out, "radius": radius, "neighbours": 5, **more}


def pst(padding: tuple[int, int], **switches: Any) -> dict[str, Any]:
    time = {"temporal_kernel": 3, "temporal_padding": list(padding)}
    return {
        "layers": [
            row(6, 8, 0.3, spatial_stride=2),
            row(12, 16, 0.6, spatial_stride=2, temporal_stride=2, **time),
            row(20, 24, 0.6, **time),
            row(20, 12, 0.8, spatial_stride=2),
        ],
        **switches,
    }


TUBE = {
    "channels": [24], "radius": 0.4, "neighbours": 6, "spatial_stride": 4,
    "temporal_kernel": 3, "temporal_stride": 2, "temporal_padding": [1, 0],
}  # fmt: skip
EVERY_FRAME = TUBE | {"temporal_stride": 1, "temporal_padding": [1, 1]}
NORMALISED = EVERY_FRAME | {"centre_place": True, "normalise_output": True}
BLOCKS = {"depth": 2, "heads": 2, "head_channels": 8, "mlp_channels": 20}
DOWN = [
    {
        "channels": [8, 12], "normalise": True, "radius": 0.4, "neighbours": 6,
        "spatial_stride": 2, "temporal_kernel": 1, "temporal_pooling": "sum",
    },
    {
        "channels": [12, 16], "normalise": True, "radius": 0.8, "neighbours": 6,
        "spatial_stride": 4, "temporal_kernel": 3, "temporal_padding": [1, 1],
        "temporal_pooling": "sum",
    },
]  # fmt: skip
PLANES = {"kind": "planes", "count": 3, "plane_distance": 0.1}
GROUPS = {"kind": "fps_groups", "count": 4}
SEGMENTS = {"down": DOWN, "up": [[14, 14], [10, 16]]}
PPTR = {"intra": BLOCKS, "inter": BLOCKS, "head_channels": 16}

CASES = [
    Case("pstnet", "pstnet", pst((0, 0))),
    Case("pstnet_zeros", "pstnet", pst((1, 1), padding_mode="zeros")),
    Case("pstnet_zeros_before", "pstnet", pst((1, 0), padding_mode="zeros"), frames=8),
    Case(
        "pstnet_msr",
        "pstnet",
        pst((1, 0), padding_mode="zeros", aggregation="multiplication", pooling="sum"),
        order_counts=True,
    ),
    Case("pstnet_average", "pstnet", pst((1, 1), pooling="avg"), order_counts=True),
    Case("pstnetpp_ntu", "pstnetpp", pst((0, 0), temporal_norm=True)),
    Case("pstnetpp_msr", "pstnetpp", pst((1, 0))),
    Case("im_pstnet", "im_pstnet", pst((1, 1))),
    Case("im_pstnet_head_norm", "im_pstnet", pst((0, 0), head_norm=True, dropout=0.5)),
    Case("im_pstnet_inside", "im_pstnet", pst((1, 1), norm="inside")),
    Case("im_pstnet_no_centre", "im_pstnet", pst((1, 1), centre_feature=False)),
    Case("im_pstnet_metres", "im_pstnet", pst((1, 1), normalise_displacement=False)),
    Case("p4_transformer", "p4_transformer", {"tube": TUBE, "transformer": BLOCKS}),
    Case("pst_transformer", "pst_transformer", {"tube": TUBE, "transformer": BLOCKS}),
    Case(
        "p4_transformer_frames",
        "p4_transformer",
        {
            "task": "action_segmentation", "tube": EVERY_FRAME, "rectify": True,
            "transformer": BLOCKS,
        },
        output=(9,),
    ),
    Case("pptr", "pptr", {"tube": TUBE, "primitives": GROUPS, "position": "none", **PPTR}),
    Case("pptr_planes", "pptr", {"tube": TUBE, "primitives": PLANES, **PPTR}, order_counts=True),
    Case(
        "pptr_frames",
        "pptr",
        {"task": "action_segmentation", "tube": EVERY_FRAME, "primitives": GROUPS, **PPTR},
        output=(9,),
    ),
    Case(
        "p4_transformer_frames_normalised",
        "p4_transformer",
        {
            "task": "action_segmentation", "tube": NORMALISED, "time": "sinusoids",
            "transformer": BLOCKS,
        },
        output=(9,),
    ),
    Case(
        "pptr_frames_normalised",
        "pptr",
        {
            "task": "action_segmentation", "tube": NORMALISED, "time": "sinusoids",
            "primitives": GROUPS, **PPTR,
        },
        output=(9,),
    ),
    Case(
        "pptr_frames_challenge",
        "pptr",
        {
            "task": "action_segmentation", "tube": EVERY_FRAME, "primitives": GROUPS,
            "position": "place_and_time", **PPTR,
        },
        output=(9,),
    ),
    Case("p4_segmenter", "p4_segmenter", {**SEGMENTS, "transformer": BLOCKS}, 3, output=(3, 64)),
    Case(
        "pptr_segmenter",
        "pptr_segmenter",
        {
            **SEGMENTS, "primitives": GROUPS, "group_radius": 0.5, "group_points": 7,
            "intra": BLOCKS, "inter": BLOCKS, "fusion": [12, 8], "rectify_fusion": False,
        },
        3,
        order_counts=True,
        output=(3, 64),
    ),
    Case(
        "pptr_segmenter_planes",
        "pptr_segmenter",
        {
            **SEGMENTS, "primitives": PLANES, "intra": BLOCKS, "inter": BLOCKS, "fusion": [12, 8],
        },
        4,
        order_counts=True,
        output=(4, 64),
    ),
]  # fmt: skip

PUBLISHED = Path(__file__).resolve().parents[1] / "config" / "models"
CLIPS = {
    "im_pstnet_ntu": (23, 2048),
    "im_pstnet_small": (24, 512),
    "im_pstnet_small_inside": (24, 512),
    "p4_segmenter_hoi4d": (3, 8192),
    "p4_segmenter_small": (3, 1024),
    "p4_transformer_hoi4d": (150, 2048),
    "p4_transformer_msr": (24, 2048),
    "p4_transformer_ntu": (24, 2048),
    "p4_transformer_small_actions": (150, 512),
    "pptr_hoi4d": (150, 2048),
    "pptr_msr": (24, 2048),
    "pptr_segmenter_hoi4d": (3, 8192),
    "pptr_segmenter_small": (3, 1024),
    "pptr_small": (24, 512),
    "pptr_small_actions": (150, 512),
    "pst_transformer_msr_small": (24, 2048),
    "pst_transformer_ntu": (24, 2048),
    "pstnet_msr": (24, 2048),
    "pstnet_ntu": (23, 2048),
    "pstnet_small": (24, 512),
    "pstnetpp_msr": (24, 2048),
    "pstnetpp_ntu": (23, 2048),
    "pstnetpp_small": (24, 512),
    "pstnetpp_small_displacement": (24, 512),
}
