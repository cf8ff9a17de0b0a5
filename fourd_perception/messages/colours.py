"""A colour for every class: the same in clouds, markers and pictures."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0.618034
"""Hues this far apart, as a share of the circle, never come together (Vogel, 1979)."""
_BRIGHTNESS = (0.95, 0.7)
_GREY = (110, 110, 110)


def class_colours(classes: int, told: Sequence[str] = ()) -> NDArray[np.uint8]:
    """(classes + 1, 3) uint8 RGB: the classes' own, and at the end grey for what has no label.

    told: "#rrggbb" of each class, where a checkpoint says so; else they are far apart.
    """
    if told:
        own = np.array([list(bytes.fromhex(one.removeprefix("#"))) for one in told], np.uint8)
    else:
        drawn = [
            colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, _BRIGHTNESS[number % 2])
            for number in range(classes)
        ]
        own = np.rint(255 * np.array(drawn).reshape(-1, 3)).astype(np.uint8)
    return np.vstack([own, np.array([_GREY], np.uint8)])
