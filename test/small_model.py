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
    torch.manual_seed(0)
    model = models.build("im_pstnet", SIZES, len(CLASSES))
    checkpoint.save(path, model, card(**changes))
    return path
