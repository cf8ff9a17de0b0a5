"""Views of one clip: points moved and thinned out in time, images cropped and tinted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.errors import InputError
from fourd_perception.parameters import param
from training.config import AugmentConfig
from training.transforms import augment

_GREY = np.array([0.299, 0.587, 0.114])
"""How much red, green and blue add to brightness (ITU-R BT.601)."""
_TO_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class ViewConfig:
    """How a view differs from the clip; one draw for all its frames.

    CrossVideo (sections III-D, IV-A) names rotation, scaling, translation, frames left out, random
    crop and colour jitter, and gives no strength of any.
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
    crop: float = param(
        0.5, "images: the smallest share of the area that is kept", at_least=0.01, at_most=1
    )
    brightness: float = param(0.4, "images: times 1 +- this", at_least=0, at_most=1)
    contrast: float = param(0.4, "images: about the mean, times 1 +- this", at_least=0, at_most=1)
    saturation: float = param(0.4, "images: about grey, times 1 +- this", at_least=0, at_most=1)
    hue: float = param(
        0.1, "images: turned by +- this share of the circle of hues", at_least=0, at_most=0.5
    )

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


def image_view(
    images: NDArray[np.uint8], size: int, config: ViewConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """images: (L, H, W, 3) uint8 RGB -> (L, 3, S, S) float32 in 0 to 1, S = size.

    One crop and one change of colours for all frames. Raises ValueError on another shape or type.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or not images.size:
        raise ValueError(f"images: expected (L, H, W, 3) uint8, got {images.shape} {images.dtype}")
    box = _crop(images.shape[1], images.shape[2], config, random)
    small = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR, box))
            for one in images
        ]
    ).astype(np.float32)
    matrix, offset = _colours(small.mean((0, 1, 2)) / 255, config, random)
    changed = small @ (matrix.T / 255).astype(np.float32) + offset.astype(np.float32)
    return np.ascontiguousarray(changed.clip(0, 1).transpose(0, 3, 1, 2))


def _crop(
    height: int, width: int, config: ViewConfig, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """Left, upper, right, lower: of the images' own proportions, anywhere in them."""
    side = np.sqrt(random.uniform(config.crop, 1))
    left, upper = random.uniform(0, 1 - side, 2) * (width, height)
    return (
        float(left), float(upper),
        min(float(left + side * width), float(width)),
        min(float(upper + side * height), float(height)),
    )  # fmt: skip


def _colours(
    mean: NDArray[np.float32], config: ViewConfig, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A change of RGB in 0 to 1 as a matrix (3, 3) and what is added after it (3,).

    mean: (3,) RGB of all the clip's images. Brightness, contrast and saturation as torchvision's
    ColorJitter has them; hues are turned about the grey axis, which is one matrix for all colours.
    """
    brightness, contrast, saturation = 1 + random.uniform(-1, 1, 3) * (
        config.brightness, config.contrast, config.saturation,
    )  # fmt: skip
    turn = 2 * np.pi * random.uniform(-config.hue, config.hue)
    to_grey = np.tile(_GREY, (3, 1))
    turned = np.array(
        [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    )
    saturate = saturation * np.eye(3) + (1 - saturation) * to_grey
    matrix = np.linalg.inv(_TO_YIQ) @ turned @ _TO_YIQ @ saturate * brightness * contrast
    offset = np.full(3, (1 - contrast) * brightness * float(_GREY @ mean))
    return matrix, offset
