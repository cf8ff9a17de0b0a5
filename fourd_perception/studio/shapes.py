"""Solid shapes with a paint and a class, and the MuJoCo model that rays are cast against."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import mujoco
import numpy as np
from numpy.typing import NDArray

POINT_CLASSES = (
    "head", "torso", "left_arm", "right_arm", "left_leg", "right_leg", "handled_object",
    "furniture", "floor", "wall",
)  # fmt: skip
"""An arm has its hand: of the 2048 points that a model sees of a room, a hand has one or two."""

ROOM_GROUP, PERSON_GROUP = 0, 1
_ROOM_CLASSES = ("furniture", "floor", "wall")


class Pattern(Enum):
    """How a paint's two colours share a surface."""

    PLAIN = 0
    STRIPES = 1
    CHECKS = 2
    PLANKS = 3


@dataclass(frozen=True)
class Paint:
    """Two colours (RGB, 0 to 1) and the size of a stripe or a check in metres."""

    colour: tuple[float, float, float]
    other: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pattern: Pattern = Pattern.PLAIN
    size: float = 0.05


@dataclass(frozen=True)
class Shape:
    """A convex solid, placed in its body's frame, or in the world where `body` is empty.

    kind: 'sphere' (radius), 'capsule' and 'cylinder' (radius, half length along z), 'ellipsoid'
    and 'box' (half sizes). size and place: metres. rotation: quaternion w x y z.
    """

    kind: str
    size: tuple[float, ...]
    point_class: str
    paint: Paint
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    body: str = ""


@dataclass(frozen=True)
class Model:
    """A compiled MuJoCo model. Geom i is shape i; bodies are moved through `bodies`.

    classes: (G,) uint16, index into POINT_CLASSES. bodies: body name -> mocap index.
    """

    mujoco: mujoco.MjModel
    shapes: tuple[Shape, ...]
    classes: NDArray[np.uint16]
    bodies: dict[str, int]


def build(shapes: Sequence[Shape]) -> Model:
    """Compile shapes. Those of the room and those of the person fall into two geom groups."""
    spec = mujoco.MjSpec()
    bodies = {"": spec.worldbody}
    # MuJoCo numbers geoms body by body: sorted likewise, geom i is shape i.
    ordered = sorted(shapes, key=lambda shape: shape.body)
    for shape in ordered:
        if shape.body not in bodies:
            bodies[shape.body] = spec.worldbody.add_body(name=shape.body, mocap=True)
        bodies[shape.body].add_geom(
            type=getattr(mujoco.mjtGeom, f"mjGEOM_{shape.kind.upper()}"),
            size=(*shape.size, *(0.0,) * (3 - len(shape.size))),
            pos=shape.place,
            quat=shape.rotation,
            group=ROOM_GROUP if shape.point_class in _ROOM_CLASSES else PERSON_GROUP,
        )
    model = spec.compile()
    return Model(
        mujoco=model,
        shapes=tuple(ordered),
        classes=np.array([POINT_CLASSES.index(shape.point_class) for shape in ordered], np.uint16),
        bodies={name: int(model.body(name).mocapid[0]) for name in bodies if name},
    )


def draw_colour(
    random: np.random.Generator, saturation: float, darkest: float, brightest: float
) -> tuple[float, float, float]:
    """RGB of any hue, with a saturation of 0 to `saturation`."""
    return colorsys.hsv_to_rgb(
        float(random.random()),
        float(random.uniform(0.0, saturation)),
        float(random.uniform(darkest, brightest)),
    )


class Palette:
    """The paints of a model as arrays, so that colour is a lookup and not a loop over pixels."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        paints = [shape.paint for shape in shapes]
        self._colours = np.array([(paint.colour, paint.other) for paint in paints], np.float32)
        self._patterns = np.array([paint.pattern.value for paint in paints])
        self._cells = np.array([1.0 / paint.size for paint in paints], np.float32)

    def colour(self, geoms: NDArray[np.int32], local: NDArray[np.float32]) -> NDArray[np.float32]:
        """geoms: (K,) shape indices. local: (K, 3) metres, shape's frame -> (K, 3), 0 to 1."""
        # A third of a cell keeps a cell's border off the faces and middles of shapes.
        cells = np.floor(local * self._cells[geoms, None] + np.float32(1 / 3)).astype(np.int32)
        pattern = self._patterns[geoms]
        stripes = cells[:, 2] & 1
        checks = (cells[:, 0] + cells[:, 1] + cells[:, 2]) & 1
        planks = cells[:, 1] & 1
        which = np.select(
            [pattern == Pattern.STRIPES.value, pattern == Pattern.CHECKS.value,
             pattern == Pattern.PLANKS.value],
            [stripes, checks, planks], 0,
        )  # fmt: skip
        return self._colours[geoms, which]
