"""Clips of images: read, cropped and tinted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.errors import InputError
from fourd_perception.parameters import param
from training.datasets.prepared import PreparedVideos, Video

_GREY = np.array([0.299, 0.587, 0.114])
"""How much red, green and blue add to brightness (ITU-R BT.601)."""
_TO_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass(frozen=True)
class ImageViewConfig:
    """How images differ from those of the clip; one draw for all of them.

    CrossVideo (section IV-A) names random crop and colour jitter, and gives no strength of either.
    """

    crop: float = param(
        0.5, "the smallest share of the area that is kept", at_least=0.01, at_most=1
    )
    brightness: float = param(0.4, "times 1 +- this", at_least=0, at_most=1)
    contrast: float = param(0.4, "about the mean, times 1 +- this", at_least=0, at_most=1)
    saturation: float = param(0.4, "about grey, times 1 +- this", at_least=0, at_most=1)
    hue: float = param(
        0.1, "turned by +- this share of the circle of hues", at_least=0, at_most=0.5
    )


AS_IT_IS = ImageViewConfig(crop=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
"""Images that are only brought to their size."""


@dataclass(frozen=True)
class ImageClip:
    """What a model of images is trained on, as `transforms.Clip` is for one of points.

    images: (L, 3, S, S) float32 in 0 to 1. labels: (L,) int64, the action of each frame.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def content(self) -> NDArray[np.float32]:
        """What the model is given."""
        return self.images


def cut_image_clip(
    videos: PreparedVideos,
    video: Video,
    indices: NDArray[np.int64],
    size: int,
    config: ImageViewConfig,
    random: np.random.Generator,
) -> ImageClip:
    """The clip of a video's frames `indices`. Raises InputError where one has no image."""
    images = image_view(images_of(videos, video, indices), size, config, random)
    return ImageClip(images, videos.frame_labels(video)[indices])


def images_of(
    videos: PreparedVideos, video: Video, indices: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """(L, H, W, 3) uint8, of a video's frames `indices`. Raises InputError where one has none."""
    numbers, places = np.unique(indices, return_inverse=True)
    images = [videos.frame(video, number).image for number in numbers.tolist()]
    there = [image for image in images if image is not None]
    if len(there) < len(images):
        raise InputError(
            f"{video.name}: {len(images) - len(there)} of {len(images)} frames have no image: "
            "prepare the videos with data.image_size"
        )
    return np.stack(there)[places]


def image_view(
    images: NDArray[np.uint8], size: int, config: ImageViewConfig, random: np.random.Generator
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
    every = small.reshape(-1, 3)
    total = np.ones(len(every), np.float32) @ every  # ten times faster than .mean
    matrix, offset = _colours(total / np.float32(255 * len(every)), config, random)
    changed = small @ (matrix.T / 255).astype(np.float32) + offset.astype(np.float32)
    return np.ascontiguousarray(changed.clip(0, 1).transpose(0, 3, 1, 2))


def _crop(
    height: int, width: int, config: ImageViewConfig, random: np.random.Generator
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
    mean: NDArray[np.float32], config: ImageViewConfig, random: np.random.Generator
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
