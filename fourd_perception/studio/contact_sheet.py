"""Every action at a glance: one row each, a few moments, in colour and in depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from fourd_perception.recordings.recording import RecordedFrame
from fourd_perception.studio.config import StudioConfig
from fourd_perception.studio.studio import CLASSES, Scene, clip

_MARGIN, _TOP = 86, 18
_RAMP = np.array([(255, 245, 200), (240, 140, 60), (140, 40, 110), (30, 20, 60)], np.float64)
"""Colours from near to far."""


def contact_sheet(
    seed: int,
    config: StudioConfig,
    actions: Sequence[str] = CLASSES,
    moments: Sequence[float] = (0.2, 0.7, 1.1, 1.5, 1.9, 2.3),
) -> Image.Image:
    """A row for each action: at each moment (seconds) colour and depth, cut around the person."""
    scene = Scene(seed, config)
    height, tile = config.height, min(config.width, round(0.75 * config.height))
    sheet = Image.new(
        "RGB", (_MARGIN + 2 * tile * len(moments), _TOP + height * len(actions)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for column, moment in enumerate(moments):
        draw.text((_MARGIN + 2 * tile * column + 4, 3), f"{moment:.1f} s", fill="black")
    for row, action in enumerate(tqdm(actions, desc="contact sheet", unit="action")):
        top = _TOP + height * row
        draw.text((6, top + height // 2 - 6), action, fill="black")
        frames = list(clip(seed, action, moments, config, scene=scene))
        part = slice(*_columns(frames, tile))
        for column, frame in enumerate(frames):
            assert frame.colour is not None
            left = _MARGIN + 2 * tile * column
            sheet.paste(Image.fromarray(frame.colour[:, part]), (left, top))
            sheet.paste(Image.fromarray(depth_image(frame.depth)[:, part]), (left + tile, top))
    return sheet


def _columns(frames: Sequence[RecordedFrame], count: int) -> tuple[int, int]:
    """First and last (excluded) of `count` columns with the person in the middle."""
    seen = np.flatnonzero(np.any([frame.foreground.any(axis=0) for frame in frames], axis=0))
    width = frames[0].depth.shape[1]
    middle = int(seen[0] + seen[-1]) // 2 if seen.size else width // 2
    first = max(0, min(middle - count // 2, width - count))
    return first, first + count


def depth_image(
    depth: NDArray[np.float32], near: float = 1.0, far: float = 6.0
) -> NDArray[np.uint8]:
    """depth: (H, W) metres -> (H, W, 3) uint8, light is near; black where there is no return."""
    position = np.clip((depth - near) / (far - near), 0.0, 1.0) * (len(_RAMP) - 1)
    ramp = np.arange(len(_RAMP))
    image = np.stack([np.interp(position, ramp, _RAMP[:, c]) for c in range(3)], axis=-1)
    image[depth <= 0] = 0
    return image.astype(np.uint8)
