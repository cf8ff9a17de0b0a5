"""A wall seen by a small camera, and bodies before it: clouds whose truth is known."""

from __future__ import annotations

import numpy as np

from fourd_perception.recordings.recording import Intrinsics
from fourd_perception.stream.frame import SECOND, Frame

CAMERA = Intrinsics(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)
RATE = 10.0
START = 100 * SECOND
WALL = 4.0


def moment(number: int) -> int:
    return START + round(number * SECOND / RATE)


def wall(number: int, noise: float = 0.01) -> np.ndarray:
    """Depth, (H, W) metres, with a sensor's noise."""
    random = np.random.default_rng(number)
    return (WALL + noise * random.standard_normal((48, 64))).astype(np.float32)


def put_body(depth: np.ndarray, x: float, z: float, high: float = 1.6, wide: float = 0.5):
    """A board `z` metres away, its middle at `x` and the camera's height; where it is seen."""
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    across, down = (u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z
    where = (abs(across - x) <= wide / 2) & (abs(down) <= high / 2) & (depth > z)
    depth[where] = z
    return where


def frame(number: int, depth: np.ndarray, frame_id: str = "camera", *, organised: bool = True):
    points = CAMERA.back_project(depth).reshape(-1, 3)
    return Frame(moment(number), frame_id, points, rows=48 if organised else 1)
