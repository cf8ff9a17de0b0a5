"""The textbook's models beside ours, with the same weights.

The textbook's weights have the names and shapes of the public code, so they stand for its files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import model_cases
import torch
from model_cases import BLOCKS, pst
from textbook import p4transformer, pptr, pstnet
from textbook.point_tubes import TubeShape
from textbook.transformer import TransformerSize
from torch import nn

from fourd_perception import models
from fourd_perception.models import upstream

CLASSES = model_cases.CLASSES


def table(padding: tuple[int, int]) -> dict[str, pstnet.Layer]:
    rows = pst(padding)["layers"]
    return {
        key: pstnet.Layer(
            one["mid_channels"], one["out_channels"], one["radius"], one["neighbours"],
            one.get("spatial_stride", 1), one.get("temporal_kernel", 1),
            one.get("temporal_stride", 1), tuple(one.get("temporal_padding", (0, 0))),
        )
        for key, one in zip(("1", "2a", "2b", "3a"), rows)
    }  # fmt: skip


TUBE = TubeShape(0.4, 6, 4, 3, 2, (1, 0))
EVERY_FRAME = TubeShape(0.4, 6, 4, 3, 1, (1, 1))
SIZE = TransformerSize(24, 2, 2, 8, 20)
UNET = {
    "down": ((8, 12), (10, 16), (12, 20), (12, 24)),
    "up": ((14, 14), (12, 12), (10, 10), (9, 11)),
}


def unet() -> dict[str, Any]:
    def conv(channels: tuple[int, ...], radius: float, stride: int, **time: Any) -> dict[str, Any]:
        return {
            "channels": channels, "normalise": True, "radius": radius, "neighbours": 6,
            "spatial_stride": stride, "temporal_kernel": 1, "temporal_pooling": "sum", **time,
        }  # fmt: skip

    time = {"temporal_kernel": 3, "temporal_padding": [1, 1]}
    one, two, three, four = UNET["down"]
    return {
        "down": [
            conv(one, 0.2, 4),
            conv(two, 0.4, 4),
            conv(three, 0.8, 4, **time),
            conv(four, 1.6, 2),
        ],
        "up": UNET["up"],
    }


P4 = {"tube": model_cases.TUBE, "transformer": BLOCKS, "head_channels": 20}
PPTR = {"intra": BLOCKS, "inter": BLOCKS, "head_channels": 20}
GROUPS = {"kind": "fps_groups", "count": 4}
MSR = {"aggregation": "multiplication", "pooling": "sum"}


@dataclass(frozen=True)
class Pair:
    """The same model twice: the textbook's and ours."""

    name: str
    theirs: Callable[[], nn.Module]
    architecture: str
    config: dict[str, Any]
    frames: int = 9
    points: int = 64
    spread: float = 1.2


def pst_pair(name: str, architecture: str, padding: tuple[int, int], theirs: type, **options: Any):
    """A network of PSTNet's family; `options` are the textbook's."""
    config = pst(padding, **({"padding_mode": "zeros"} | options))
    return Pair(name, lambda: theirs(table(padding), CLASSES, **options), architecture, config)


P = pstnet.PSTNet
PP = pstnet.PSTNetPlusPlus
PAIRS = [
    pst_pair("pstnet_ntu", "pstnet", (0, 0), P),
    pst_pair("pstnet_zeros", "pstnet", (1, 1), P),
    pst_pair("pstnet_replicate", "pstnet", (1, 0), P, padding_mode="replicate"),
    pst_pair("pstnet_msr", "pstnet", (1, 0), P, **MSR),
    pst_pair("pstnet_avg", "pstnet", (1, 1), P, pooling="avg"),
    replace(pst_pair("pstnet_compat", "pstnet", (1, 1), P, compat=True), spread=0.15),
    pst_pair("pstnetpp_ntu", "pstnetpp", (0, 0), PP, temporal_norm=True),
    pst_pair("pstnetpp_zeros", "pstnetpp", (1, 1), PP, temporal_norm=True),
    pst_pair("pstnetpp_msr", "pstnetpp", (1, 0), PP, temporal_norm=False, padding_mode="replicate"),
    Pair("p4_msr", lambda: p4transformer.P4Transformer(TUBE, SIZE, CLASSES), "p4_transformer", P4),
    Pair(
        "p4_ntu_with_dropout",
        lambda: p4transformer.P4Transformer(
            TUBE, SIZE, CLASSES, emb_relu=True, ffn_dropout=0.1, head_dropout=0.5
        ),
        "p4_transformer",
        {**P4, "rectify": True, "head_dropout": 0.5},
    ),
    Pair(
        "p4_hoi4d_actions",
        lambda: p4transformer.P4TransformerActions(EVERY_FRAME, SIZE, CLASSES),
        "p4_transformer",
        {**P4, "task": "action_segmentation", "tube": model_cases.EVERY_FRAME, "rectify": True},
    ),
    Pair(
        "pst_transformer",
        lambda: p4transformer.PSTTransformer(TUBE, SIZE, CLASSES),
        "pst_transformer",
        P4,
    ),
    Pair(
        "p4_hoi4d_semantic",
        lambda: p4transformer.P4TransformerSegmenter(
            0.2, 6, UNET["down"], UNET["up"], TransformerSize(24, 2, 2, 8, 20), CLASSES
        ),
        "p4_segmenter",
        {**unet(), "transformer": BLOCKS},
        3,
        256,
    ),
    Pair(
        "pptr_msr",
        lambda: pptr.PPTr(TUBE, SIZE, CLASSES, groups=4),
        "pptr",
        {"tube": model_cases.TUBE, "primitives": GROUPS, "position": "none", **PPTR},
    ),
    Pair(
        "pptr_hoi4d_actions",
        lambda: pptr.PPTrActions(EVERY_FRAME, SIZE, CLASSES, groups=4),
        "pptr",
        {
            "task": "action_segmentation", "tube": model_cases.EVERY_FRAME, "primitives": GROUPS,
            "position": "place_and_time", **PPTR,
        },
    ),
    Pair(
        "pptr_hoi4d_semantic",
        lambda: pptr.PPTrSegmenter(
            0.2, 6, UNET["down"], UNET["up"], TransformerSize(11, 2, 2, 8, 20), (13, 7), CLASSES,
            anchors=16, group_radius=0.3, group_size=7,
        ),
        "pptr_segmenter",
        {
            **unet(), "primitives": {"kind": "fps_groups", "count": 16}, "group_radius": 0.3,
            "group_points": 7, "intra": BLOCKS, "inter": BLOCKS, "fusion": [13, 7],
            "rectify_fusion": False,
        },
        3,
        256,
    ),
]  # fmt: skip


def textbook(pair: Pair) -> nn.Module:
    """Theirs, float64, with norms that are not the identity."""
    torch.manual_seed(1)
    model = pair.theirs().double().eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, -1.0, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def converted(pair: Pair, theirs: nn.Module) -> models.VideoModel:
    ours = models.build(pair.architecture, pair.config, CLASSES).eval()
    weights = {f"module.{name}": one.float() for name, one in theirs.state_dict().items()}
    ours.load_state_dict(upstream.convert(pair.architecture, weights, ours.state_dict()))
    return ours


def clip(pair: Pair, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return (torch.rand(2, pair.frames, pair.points, 3, generator=random) - 0.1) * pair.spread


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * scale)
