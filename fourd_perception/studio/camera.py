"""The depth camera: where it stands, what its rays meet, and what its sensor makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from fourd_perception.parameters import param
from fourd_perception.recordings.recording import Intrinsics

MOST_COLOUR_NOISE = 16
"""Colours are rendered this far from 0 and 255, so that noise never wraps around."""


@dataclass(frozen=True)
class SensorConfig:
    """What a structured-light depth sensor does to a distance.

    The growth of the noise is Kinect's along its axis, sigma(z) = 0.0012 + 0.0019 (z - 0.4)^2
    metres (Nguyen, Izadi, Lovell 2012, "Modeling Kinect Sensor Noise for Improved 3D
    Reconstruction and Tracking"). That returns go missing at grazing angles and at depth edges is
    reported there and elsewhere; how often is an assumption.
    """

    noise: float = param(0.0012, "standard deviation of depth at 0.4 m", unit="m", at_least=0)
    noise_growth: float = param(
        0.0019, "its growth with the squared distance beyond 0.4 m", unit="1/m", at_least=0
    )
    quantum: float = param(0.001, "depth is a multiple of this; 0: any", unit="m", at_least=0)
    nearest: float = param(0.5, "no return nearer than this", unit="m", at_least=0)
    farthest: float = param(8.0, "no return farther than this", unit="m", at_least=0)
    grazing: float = param(
        8.0, "no return where surface and ray meet at a smaller angle; half of them at 1.5 times "
        "the angle", unit="degrees", at_least=0, at_most=60,
    )  # fmt: skip
    edge_jump: float = param(
        0.06, "a pixel is at an edge if a neighbour on another shape is nearer by this", unit="m",
        at_least=0,
    )  # fmt: skip
    edge_loss: float = param(0.5, "share of edge pixels without return", at_least=0, at_most=1)
    drop_out: float = param(0.003, "share of pixels without return anywhere", at_least=0, at_most=1)
    colour_noise: int = param(
        4, "colour values are off by up to this, of 255", at_least=0, at_most=MOST_COLOUR_NOISE
    )


PERFECT_SENSOR = SensorConfig(
    noise=0.0, noise_growth=0.0, quantum=0.0, nearest=0.0, farthest=1e3, grazing=0.0,
    edge_loss=0.0, drop_out=0.0, colour_noise=0,
)  # fmt: skip
"""A sensor that measures what is there."""


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """position: (3,) metres. rotation: (3, 3), from the optical frame to the world, z up."""

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]


def look_at(position: NDArray[np.float64], target: NDArray[np.float64]) -> Viewpoint:
    """A level camera at `position` that has `target` in the middle of its image."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return Viewpoint(position, np.stack((right, np.cross(forward, right), forward), axis=1))


def pinhole(width: int, height: int, field_of_view: float) -> Intrinsics:
    """A camera with square pixels; `field_of_view`: degrees from left to right."""
    focal = width / 2 / np.tan(np.radians(field_of_view) / 2)
    return Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


@dataclass(frozen=True, eq=False)
class Hits:
    """What rays met, in the rays' order.

    depth: (K,) float32, metres along the optical axis, infinite where a ray met nothing.
    geoms: (K,) int32, -1 where nothing. normals: (K, 3) float32, world.
    """

    depth: NDArray[np.float32]
    geoms: NDArray[np.int32]
    normals: NDArray[np.float32]


class RayCamera:
    """A pinhole camera at a fixed viewpoint: one ray through the middle of each pixel."""

    def __init__(self, intrinsics: Intrinsics, viewpoint: Viewpoint) -> None:
        self.intrinsics = intrinsics
        self.viewpoint = viewpoint
        flat = intrinsics.back_project(np.ones((intrinsics.height, intrinsics.width), np.float32))
        length = np.linalg.norm(flat, axis=-1, keepdims=True)
        self.directions = np.asarray(flat / length @ viewpoint.rotation.T, np.float64)
        """(H, W, 3) unit vectors, world."""
        self._to_depth = (1.0 / length[..., 0]).astype(np.float32)

    def cast(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        group: int,
        window: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> Hits:
        """Cast the rays of a window of the image, row by row, against one geom group."""
        directions = np.ascontiguousarray(self.directions[window]).reshape(-1, 1)
        count = directions.size // 3
        groups = np.zeros(mujoco.mjNGROUP, np.uint8)
        groups[group] = 1
        geoms = np.empty((count, 1), np.int32)
        distance = np.empty((count, 1))
        normals = np.empty((3 * count, 1))
        mujoco.mj_multiRay(
            model, data, self.viewpoint.position, directions, groups, 1, -1, geoms, distance,
            normals, count, mujoco.mjMAXVAL,
        )  # fmt: skip
        met = geoms[:, 0] >= 0
        depth = np.where(met, distance[:, 0] * self._to_depth[window].ravel(), np.inf)
        facets = normals.reshape(-1, 3).astype(np.float32)
        return Hits(depth.astype(np.float32), geoms[:, 0], facets)

    def window(
        self, centres: NDArray[np.float64], radii: NDArray[np.float64]
    ) -> tuple[slice, slice] | None:
        """The rows and columns that can see any of the spheres; None if none is in view.

        centres: (S, 3) metres, world. radii: (S,) metres.
        """
        camera = self.intrinsics
        x, y, z = ((centres - self.viewpoint.position) @ self.viewpoint.rotation).T
        # The silhouette of a sphere ends where rays touch it, not at its centre's depth.
        nearest = z - radii
        if np.any(nearest <= 1e-3):
            return slice(0, camera.height), slice(0, camera.width)
        columns = _span(x, nearest, z + radii, radii, camera.fx, camera.cx, camera.width)
        rows = _span(y, nearest, z + radii, radii, camera.fy, camera.cy, camera.height)
        return None if columns.start >= columns.stop or rows.start >= rows.stop else (rows, columns)


def _span(
    offset: NDArray[np.float64], nearest: NDArray[np.float64], farthest: NDArray[np.float64],
    radii: NDArray[np.float64], focal: float, centre: float, size: int,
) -> slice:  # fmt: skip
    """Pixels along one axis that cover the cubes around the spheres."""
    low, high = offset - radii, offset + radii
    first = np.where(low < 0, low / nearest, low / farthest).min() * focal + centre
    last = np.where(high > 0, high / nearest, high / farthest).max() * focal + centre
    return slice(max(0, int(np.floor(first))), min(size, int(np.ceil(last)) + 1))


def sense(
    depth: NDArray[np.float32],
    geoms: NDArray[np.int32],
    facing: NDArray[np.float32],
    sensor: SensorConfig,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """What the sensor reports of true distances.

    depth: (H, W) float32, metres, infinite where there is nothing. geoms: (H, W), the shape seen.
    facing: (H, W) float32, the cosine between the ray and the surface normal.
    Returns (H, W) float32, metres, 0 without a return.
    """
    flat = depth.ravel()
    found = np.flatnonzero((flat >= sensor.nearest) & (flat <= sensor.farthest))
    chance = random.random(found.size, np.float32)
    lost = chance < sensor.drop_out
    if sensor.edge_loss:
        edge = _far_side_of_edge(depth, geoms, sensor.edge_jump).ravel()[found]
        lost |= edge & (chance < sensor.edge_loss)
    if sensor.grazing:
        least, half = (float(np.sin(np.radians(f * sensor.grazing))) for f in (1.0, 1.5))
        lost |= facing.ravel()[found] < least + 2.0 * (half - least) * chance
    found = found[~lost]
    values = flat[found]
    if sensor.noise or sensor.noise_growth:
        sigma = sensor.noise + sensor.noise_growth * np.square(values - np.float32(0.4))
        values = values + sigma * random.standard_normal(found.size, np.float32)
    if sensor.quantum:
        values = np.round(values / np.float32(sensor.quantum)) * np.float32(sensor.quantum)
    measured = np.zeros(depth.shape, np.float32)
    measured.ravel()[found] = values
    return measured


def _far_side_of_edge(
    depth: NDArray[np.float32], geoms: NDArray[np.int32], jump: float
) -> NDArray[np.bool_]:
    """(H, W): pixels with one of four neighbours on another shape, nearer by more than `jump`."""
    edge = np.zeros(depth.shape, np.bool_)
    finite = np.minimum(depth, np.float32(1e6))
    down = np.diff(finite, axis=0) * (geoms[1:] != geoms[:-1])
    right = np.diff(finite, axis=1) * (geoms[:, 1:] != geoms[:, :-1])
    edge[1:] |= down > jump
    edge[:-1] |= down < -jump
    edge[:, 1:] |= right > jump
    edge[:, :-1] |= right < -jump
    return edge


def grain(colour: NDArray[np.uint8], most: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Noise of brightness, the same in the three channels.

    colour: (H, W, 3) uint8, MOST_COLOUR_NOISE away from 0 and 255. most: steps up or down.
    """
    if most == 0:
        return colour
    # Colours keep MOST_COLOUR_NOISE away from 0 and 255: nothing wraps around.
    noise = random.integers(0, 2 * most, colour.shape[:2], np.uint8, endpoint=True)
    return colour - np.uint8(most) + noise[..., None]
