"""What the person does with a box: five motions, each with a box of three colours.

The hard cases of VG4D (its figure 3), on purpose: the colour of the box, which a cloud does not
have, and a motion that for some leads along the line of sight, which an image hardly shows. Before
a camera level with the box, who holds it still and who pushes it look alike in an image, and so do
who slides it and who moves it in a circle. No one of the two senses tells all fifteen apart.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import partial

import numpy as np

from fourd_perception.studio.motion import (
    MAIN,
    Action,
    Draw,
    Motion,
    point_elbow,
    reach_for,
    sine,
    stand,
)
from fourd_perception.studio.performer import BOXES, Body, Prop
from fourd_perception.studio.pose import Array, Pose
from fourd_perception.studio.shapes import Paint, Pattern, Shape

_HUES = dict(zip(BOXES, (0.0, 1 / 3, 0.61)))
"""The middle of each box's hues, a share of their circle."""
_SPREAD = 0.025

Place = Callable[[float], tuple[float, float, float]]
"""From beats to where the wrist is from its shoulder, in statures (chest's frame, y outward)."""


def _hold(draw: Draw) -> tuple[Place, float]:
    x, y, z = draw.uniform((0.15, -0.10, -0.14), (0.29, 0.08, 0.0)).tolist()
    return lambda beat: (x, y, z), draw.uniform(1.2, 2.0)


def _push(draw: Draw) -> tuple[Place, float]:
    y, z = draw.uniform((-0.10, -0.14), (0.08, 0.0)).tolist()
    near, far = draw.uniform((0.13, 0.27), (0.16, 0.31)).tolist()
    middle, swing = (far + near) / 2, (far - near) / 2
    return lambda beat: (middle + swing * sine(beat), y, z), draw.uniform(1.2, 2.0)


def _slide(draw: Draw) -> tuple[Place, float]:
    x, z = draw.uniform((0.16, -0.14), (0.27, 0.0)).tolist()
    middle, swing = draw.uniform((-0.03, 0.09), (0.02, 0.13)).tolist()
    return lambda beat: (x, middle + swing * sine(beat), z), draw.uniform(1.2, 2.0)


def _circle(draw: Draw) -> tuple[Place, float]:
    z = draw.uniform(-0.14, 0.0)
    ahead, middle = draw.uniform((0.2, -0.03), (0.22, 0.02)).tolist()
    deep, wide = draw.uniform((0.06, 0.09), (0.08, 0.12)).tolist()
    way = draw.choice([-1.0, 1.0])

    def place(beat: float) -> tuple[float, float, float]:
        return ahead + way * deep * sine(beat + 0.25), middle + wide * sine(beat), z

    return place, draw.uniform(1.2, 2.0)


def _lift(draw: Draw) -> tuple[Place, float]:
    x, y = draw.uniform((0.16, -0.10), (0.22, 0.08)).tolist()
    middle, swing = draw.uniform((-0.02, 0.12), (0.04, 0.17)).tolist()
    return lambda beat: (x, y, middle + swing * sine(beat)), draw.uniform(1.2, 2.0)


def _move(way: Callable[[Draw], tuple[Place, float]], box: str, body: Body, draw: Draw) -> Motion:
    """Any phase, so that no moment of a cycle gives a motion away."""
    at, period = way(draw)
    phase = draw.random()

    def step(beat: float) -> tuple[Pose, Prop]:
        pose = stand(body)
        wrist: Array = np.array(at(beat + phase)) * body.height
        reach_for(pose, MAIN, body, wrist)
        point_elbow(pose, MAIN, (-0.3, 0.7, -1.0))
        return pose, Prop(box, MAIN)

    return Motion(step, period)


_WAYS = {"hold": _hold, "push": _push, "slide": _slide, "circle": _circle, "lift": _lift}

BOX_ACTIONS: dict[str, Action] = {
    f"{verb}_the_{box}": partial(_move, way, box) for verb, way in _WAYS.items() for box in BOXES
}
"""By name, 'push_the_red_box' and so on: the motions, and of each the colours."""


def draw_boxes(random: np.random.Generator) -> list[Shape]:
    """One box of each colour, in shades of it, plain or striped; each is a body of its own."""
    return [
        Shape("box", tuple(random.uniform(0.1, 0.14, 3).tolist()), "handled_object",
              _paint(hue, random), body=name)
        for name, hue in _HUES.items()
    ]  # fmt: skip


def _paint(hue: float, random: np.random.Generator) -> Paint:
    first, other = (_shade(hue, random) for _ in range(2))
    pattern = Pattern.STRIPES if random.random() < 0.5 else Pattern.PLAIN
    return Paint(first, other, pattern, 0.04)


def _shade(hue: float, random: np.random.Generator) -> tuple[float, float, float]:
    saturation, value = random.uniform((0.75, 0.5), (0.95, 0.95)).tolist()
    return colorsys.hsv_to_rgb((hue + random.uniform(-_SPREAD, _SPREAD)) % 1.0, saturation, value)
