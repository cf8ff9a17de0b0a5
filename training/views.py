"""Views of a clip of points: moved, and thinned out in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.parameters import param
from training.config import AugmentConfig
from training.transforms import augment


@dataclass(frozen=True)
class ViewConfig:
    """How a view of the points differs from the clip; one draw for all its frames.

    CrossVideo (section III-D) names rotation, scaling, translation and frames left out, and gives
    no strength of any.
    """

    rotation: float = param(
        30.0, "about the camera's vertical axis, +- this", unit="degrees", at_least=0, at_most=180
    )
    tilt: float = param(
        10.0, "about the camera's sideways axis, +- this", unit="degrees", at_least=0, at_most=90
    )
    scale: float = param(0.1, "each axis is scaled by 1 +- this", at_least=0, at_most=0.9)
    uniform_scale: bool = param(False, "scale all axes by one factor")
    translation: float = param(
        0.1, "along each axis, +- this", unit="model units", at_least=0, at_most=1e3
    )
    jitter: float = param(
        0.0, "standard deviation of each coordinate's noise; not in the paper", unit="model units",
        at_least=0,
    )  # fmt: skip
    every: int = param(2, "keep every n-th frame, from a random one on", at_least=1)
    share: float = param(
        1.0, "keep this share of the frames, drawn at random; either this or `every`",
        at_least=0.001, at_most=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.every > 1 and self.share < 1:
            raise ValueError(
                f"every, share: keep every {self.every}th frame or a share of {self.share:g}, "
                "not both"
            )


@dataclass(frozen=True)
class View:
    """points: (L2, N, 3) float32, model units. frames: (L2,) int64, which of the clip they are."""

    points: NDArray[np.float32]
    frames: NDArray[np.int64]


def frames_kept(length: int, config: ViewConfig) -> int:
    """How many frames a view of a clip of `length` has, whatever is drawn; it may be none."""
    return round(length * config.share) if config.every == 1 else length // config.every


def view(clip: NDArray[np.float32], config: ViewConfig, random: np.random.Generator) -> View:
    """clip: (L, N, 3) float32, model units, optical frame. One transform for all frames.

    Raises InputError if no frame is kept, ValueError on another shape.
    """
    if clip.ndim != 3 or clip.shape[2] != 3:
        raise ValueError(f"clip: expected (L, N, 3), got {clip.shape}")
    frames = _frames(len(clip), config, random)
    moves = AugmentConfig(
        scale=config.scale, uniform_scale=config.uniform_scale, rotation=config.rotation,
        tilt=config.tilt, jitter=config.jitter,
    )  # fmt: skip
    moved = augment(clip[frames], moves, random)
    shift = random.uniform(-config.translation, config.translation, 3)
    return View(moved + shift.astype(np.float32), frames)


def _frames(length: int, config: ViewConfig, random: np.random.Generator) -> NDArray[np.int64]:
    kept = frames_kept(length, config)
    if kept < 1:
        raise InputError(
            f"a view keeps none of {length} frames with every {config.every} and share "
            f"{config.share:g}: give longer clips, or keep more"
        )
    if config.every == 1:
        return np.sort(random.choice(length, kept, replace=False)).astype(np.int64)
    start = random.integers(length - (kept - 1) * config.every)
    return start + np.arange(kept, dtype=np.int64) * config.every
