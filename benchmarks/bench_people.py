"""Clouds for the benchmarks: the front of a moving body of ellipsoids, as a depth camera sees it.

How many neighbours lie within a radius decides what a search costs, so points must be as dense as
on people: 2048 uniform points in a cube are not. Here a trunk, a head, two arms and two legs of a
person of 1.75 m, 2.5 m away, sway and swing; each frame draws its own points, in random order, on
the sides that face the camera, with 3 mm of noise along the ray.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE = 15.0  # frames a second
DISTANCE = 2.5  # metres, along z; x points right and y down
NOISE = 0.003

# Joint, half axes, how far below the joint the middle lies, swing in radians about x and about z.
_PARTS = (
    ((0.00, -0.72, 0.0), (0.08, 0.12, 0.10), 0.00, 0.0, 0.1),  # head
    ((0.00, -0.28, 0.0), (0.19, 0.32, 0.12), 0.00, 0.0, 0.0),  # trunk
    ((-0.24, -0.52, 0.0), (0.05, 0.33, 0.05), 0.32, 0.8, 0.5),  # arms
    ((0.24, -0.52, 0.0), (0.05, 0.33, 0.05), 0.32, -0.8, 0.9),
    ((-0.10, 0.00, 0.0), (0.08, 0.45, 0.08), 0.44, -0.4, 0.0),  # legs
    ((0.10, 0.00, 0.0), (0.08, 0.45, 0.08), 0.44, 0.4, 0.0),
)


def clouds(frames: int, points: int, unit_scale: float = 1.0, seed: int = 0) -> Tensor:
    """(frames, points, 3) float32 in model units, of `unit_scale` to the metre; one person."""
    random = np.random.default_rng(seed)
    seen = np.array([axes[0] * axes[1] for _, axes, *_ in _PARTS])
    share = np.diff(np.round(np.cumsum([0.0, *seen / seen.sum()]) * points)).astype(int)
    phase = random.uniform(0, 2 * np.pi)
    clip = np.empty((frames, points, 3))
    for frame in range(frames):
        turn = 2 * np.pi * frame / RATE * 0.7 + phase
        body = [_part(part, count, turn, random) for part, count in zip(_PARTS, share)]
        sway = (0.15 * np.sin(turn / 2), 0.02 * np.cos(turn), DISTANCE)
        clip[frame] = random.permutation(np.concatenate(body) + sway)
    clip[..., 2] += random.normal(0, NOISE, clip.shape[:2])
    return torch.from_numpy((clip * unit_scale).astype(np.float32))


def clips(batch: int, frames: int, points: int, unit_scale: float = 1.0) -> Tensor:
    """(batch, frames, points, 3): different people."""
    return torch.stack([clouds(frames, points, unit_scale, seed) for seed in range(batch)])


def _part(part: tuple, count: int, turn: float, random: np.random.Generator) -> NDArray[np.float64]:
    """(count, 3) points on the half of one ellipsoid that faces the camera."""
    joint, axes, below, about_x, about_z = part
    places = random.normal(size=(count, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    places[:, 2] = -np.abs(places[:, 2])
    places = places * axes + (0.0, below, 0.0)
    return places @ (_about(0, about_x * np.sin(turn)) @ _about(2, about_z * np.sin(turn))) + joint


def _about(axis: int, angle: float) -> NDArray[np.float64]:
    rotation = np.eye(3)
    one, other = (number for number in range(3) if number != axis)
    rotation[[one, other], [one, other]] = np.cos(angle)
    rotation[one, other], rotation[other, one] = np.sin(angle), -np.sin(angle)
    return rotation
