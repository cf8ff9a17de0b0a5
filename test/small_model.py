"""A checkpoint that costs nothing: for tests that need some model, whatever it says."""

from __future__ import annotations

from pathlib import Path

import torch

from fourd_perception import checkpoint, models
from fourd_perception.parameters import from_mapping, to_mapping
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig

SIZES = {
    "layers": [
        {"mid_channels": 8, "out_channels": 8, "radius": 0.3, "neighbours": 4, "spatial_stride": 2},
        {
            "mid_channels": 8, "out_channels": 16, "radius": 0.6, "neighbours": 4,
            "spatial_stride": 2, "temporal_kernel": 3, "temporal_stride": 2,
            "temporal_padding": [1, 1],
        },
    ]
}  # fmt: skip
CLASSES = ("idle", "wave", "kick")


SEGMENTER_SIZES = {
    "down": [
        {
            "channels": [8], "normalise": True, "radius": 0.4, "neighbours": 6,
            "spatial_stride": 4, "temporal_kernel": 3, "temporal_padding": [1, 1],
        },
    ],
    "up": [[8]],
    "transformer": {"depth": 1, "heads": 2, "head_channels": 4, "mlp_channels": 8},
}  # fmt: skip


FRAME_SIZES = {
    "task": "action_segmentation",
    "tube": {
        "channels": [8], "radius": 0.4, "neighbours": 6, "spatial_stride": 4, "temporal_kernel": 3,
        "temporal_stride": 1, "temporal_padding": [1, 1],
    },
    "transformer": {"depth": 1, "heads": 2, "head_channels": 4, "mlp_channels": 8},
    "head_channels": 8,
}  # fmt: skip


def card(**changes: object) -> checkpoint.ModelCard:
    kind = models.ARCHITECTURES["im_pstnet"]
    sizes = to_mapping(from_mapping(kind.config, SIZES, "test"))
    values = {
        "name": "small",
        "architecture": "im_pstnet",
        "task": "action_recognition",
        "classes": CLASSES,
        "model": sizes,
        "clip": ClipConfig(frames=4, frame_step=2, rate=30.0),
        "preprocess": PreprocessConfig(points=32),
        "trained_on": {"dataset": "nothing"},
        "accuracy": {},
    }
    return checkpoint.ModelCard(**(values | changes))  # type: ignore[arg-type]


def save(path: Path, **changes: object) -> Path:
    """An action model, or what `architecture`, `model` and `task` say otherwise."""
    torch.manual_seed(0)
    written = card(**changes)
    model = models.build(written.architecture, written.model, len(written.classes))
    checkpoint.save(path, model, written)
    return path


def save_segmenter(path: Path, **changes: object) -> Path:
    """A model that labels points, of clips of three frames."""
    kind = models.ARCHITECTURES["p4_segmenter"]
    return save(
        path,
        architecture="p4_segmenter",
        task="semantic_segmentation",
        model=to_mapping(from_mapping(kind.config, SEGMENTER_SIZES, "test")),
        **{"clip": ClipConfig(frames=3, frame_step=1, rate=30.0), **changes},
    )


def save_frame_model(path: Path, **changes: object) -> Path:
    """A model that labels frames, of clips of six."""
    kind = models.ARCHITECTURES["p4_transformer"]
    return save(
        path,
        architecture="p4_transformer",
        task="action_segmentation",
        model=to_mapping(from_mapping(kind.config, FRAME_SIZES, "test")),
        **{"clip": ClipConfig(frames=6, frame_step=1, rate=30.0), **changes},
    )
