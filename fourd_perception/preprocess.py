"""From a frame's points to what an encoder eats: the same code for training and for the robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.parameters import param

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class PreprocessConfig:
    """How a frame's cloud becomes a model's input; part of every checkpoint."""

    points: int = param(1024, "points sampled from every frame", at_least=1, at_most=65536)
    unit_scale: float = param(
        1.0, "model units in a metre; radii are in model units", at_least=1e-3, at_most=1e3
    )
    image_size: int = param(
        64, "height and width of what a model of images sees", unit="px", at_least=1, at_most=4096
    )
    crop: tuple[float, ...] = param(
        (), "x y z of the smallest, then of the largest corner kept, in the cloud's frame", unit="m"
    )

    def __post_init__(self) -> None:
        if len(self.crop) not in (0, 6):
            raise ValueError(f"crop: expected 6 numbers or none, got {len(self.crop)}")
        if self.crop and any(low >= high for low, high in zip(self.crop[:3], self.crop[3:])):
            raise ValueError(f"crop: the smallest corner is not below the largest: {self.crop}")


def sample_indices(
    points: NDArray[np.float32], config: PreprocessConfig, random: np.random.Generator
) -> NDArray[np.int64] | None:
    """points: (N, 3) float32, metres, not finite where there is no return.

    Returns (config.points,) int64, which of the points an encoder gets, in random order: a subset
    without repeats where there are enough points, every point once and the rest drawn again where
    there are not. None if no point is left. Order matters: ball queries take the first neighbours
    by index, so a random order makes them a random choice, as in PSTNet's loaders.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        # One that is not finite spoils the sum; ten times faster than asking for all three.
        keep = np.isfinite(points[:, 0] + points[:, 1] + points[:, 2])
    if config.crop:
        low = np.asarray(config.crop[:3], np.float32)
        high = np.asarray(config.crop[3:], np.float32)
        with np.errstate(invalid="ignore"):
            keep &= ((points >= low) & (points <= high)).all(axis=1)
    kept = np.flatnonzero(keep)
    if kept.size == 0:
        return None
    if kept.size >= config.points:
        return random.choice(kept, config.points, replace=False)
    again = random.choice(kept, config.points - kept.size, replace=True)
    return random.permutation(np.concatenate((kept, again)))


def preprocess(
    points: NDArray[np.float32], config: PreprocessConfig, random: np.random.Generator
) -> NDArray[np.float32] | None:
    """The points that `sample_indices` takes: (config.points, 3) float32, in model units."""
    chosen = sample_indices(points, config, random)
    return None if chosen is None else points[chosen] * np.float32(config.unit_scale)


def preprocess_image(image: NDArray[np.uint8], config: PreprocessConfig) -> NDArray[np.float32]:
    """image: (H, W, 3) uint8 RGB -> (3, S, S) float32 in 0 to 1, S = config.image_size.

    Both sides are scaled to S, as those of the prepared images are. Raises ValueError on another
    shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    size = (config.image_size, config.image_size)
    scaled = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32) / np.float32(255)


def fill_nearest(sampled: Sequence[Sample | None]) -> list[Sample] | None:
    """A clip's samples, one for each frame.

    A frame in which no point was left takes the sample of the nearest frame that has some (the
    earlier of two). None if no frame has any.
    """
    present = [(index, points) for index, points in enumerate(sampled) if points is not None]
    if len(present) == len(sampled):
        return [points for _, points in present]
    if not present:
        return None
    return [min(present, key=lambda one: abs(one[0] - index))[1] for index in range(len(sampled))]
