"""A furnished room around the person: floor, three walls, a seat, furniture, pictures, a rug."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fourd_perception.studio.exercises import SEAT_BEHIND
from fourd_perception.studio.performer import Body
from fourd_perception.studio.shapes import Paint, Pattern, Shape, draw_colour

_FREE = 1.0
"""Metres around the person that stay free of furniture, the seat excepted."""
_SIGHT = 0.55
"""Metres to either side of the line of sight that stay free of what hides more than the shins."""
_SHINS = 0.4
"""Metres above the floor up to which furniture may hide the person."""

Draw = np.random.Generator
Furniture = Callable[[Draw], tuple[list[Shape], float]]
"""Shapes about the origin, the front towards +x, and the radius of the floor they take."""


def draw_room(body: Body, facing: float, camera: NDArray[np.float64], random: Draw) -> list[Shape]:
    """The room for a person at the origin who looks to `facing` (radians), seen from `camera`.

    camera: (3,) metres. There is no wall behind the camera.
    """
    azimuth = float(np.arctan2(camera[1], camera[0]))
    yaw = azimuth + float(random.uniform(-0.45, 0.45))
    away = float(np.hypot(camera[0], camera[1]))
    aside = away * abs(np.sin(yaw - azimuth))
    back = float(random.uniform(1.2, 2.6))
    left, right = random.uniform(1.5, 2.8, 2)
    if np.sin(azimuth - yaw) > 0:
        left = max(left, aside + 0.5)
    else:
        right = max(right, aside + 0.5)
    shapes = _shell(back, float(left), float(right), away, random)
    shapes += _on_walls(back, float(left), float(right), random)
    angle = azimuth - yaw
    local = np.array([away * np.cos(angle), away * np.sin(angle), camera[2]])
    shapes += _furniture(back, float(left), float(right), local, random)
    shapes = _moved(shapes, (0.0, 0.0), yaw)
    behind = (SEAT_BEHIND - 0.06) * np.array([np.cos(facing), np.sin(facing)])
    return shapes + _moved(_seat(body, random), (float(behind[0]), float(behind[1])), facing)


def _shell(back: float, left: float, right: float, away: float, random: Draw) -> list[Shape]:
    """Floor and walls; the room's frame has the back wall at x = -back."""
    front, high = away + 1.5, float(random.uniform(2.3, 2.9))
    middle, half = (front - back) / 2, (front + back) / 2
    wall = Paint(draw_colour(random, 0.2, 0.65, 0.92))
    r, g, b = wall.colour
    side = Paint((0.93 * r, 0.93 * g, 0.93 * b))
    tiles = random.random() < 0.4
    floor = (
        Paint(draw_colour(random, 0.2, 0.4, 0.8), draw_colour(random, 0.2, 0.4, 0.8),
              Pattern.CHECKS, float(random.uniform(0.25, 0.5)))
        if tiles
        else Paint(_wood(random), _wood(random), Pattern.PLANKS, float(random.uniform(0.1, 0.25)))
    )  # fmt: skip
    t = 0.05
    return [
        Shape("box", (half, (left + right) / 2, t), "floor", floor,
              (middle, (left - right) / 2, -t)),
        Shape("box", (t, (left + right) / 2, high / 2), "wall", wall,
              (-back - t, (left - right) / 2, high / 2)),
        Shape("box", (half, t, high / 2), "wall", side, (middle, left + t, high / 2)),
        Shape("box", (half, t, high / 2), "wall", side, (middle, -right - t, high / 2)),
    ]  # fmt: skip


def _on_walls(back: float, left: float, right: float, random: Draw) -> list[Shape]:
    """Pictures on the back wall, a rug on the floor."""
    shapes = []
    for _ in range(random.integers(0, 4)):
        w, h = random.uniform(0.15, 0.5, 2)
        y = random.uniform(-right + w, left - w)
        paint = _any_paint(random, 0.12)
        shapes.append(
            Shape("box", (0.02, float(w), float(h)), "wall", paint,
                  (-back + 0.02, float(y), float(random.uniform(1.3, 1.8))))
        )  # fmt: skip
    if random.random() < 0.5:
        size = random.uniform(0.6, 1.1, 2)
        paint = _any_paint(random, 0.2)
        shapes.append(Shape("box", (*size.tolist(), 0.004), "floor", paint, (0.0, 0.0, 0.004)))
    return shapes


def _furniture(
    back: float, left: float, right: float, camera: NDArray[np.float64], random: Draw
) -> list[Shape]:
    """Up to six pieces where they stand neither on the person, nor in sight, nor on each other."""
    shapes: list[Shape] = []
    taken: list[tuple[float, float, float]] = []
    kinds: tuple[Furniture, ...] = (_table, _chair, _shelf, _boxes, _lamp, _sofa)
    for index in random.permutation(len(kinds) + 2):
        piece, radius = kinds[index % len(kinds)](random)
        tall = max(shape.place[2] + shape.size[-1] for shape in piece)
        for _ in range(12):
            x = float(random.uniform(-back + 0.75 * radius, 0.6 * camera[0]))
            y = float(random.uniform(-right + 0.75 * radius, left - 0.75 * radius))
            free = np.hypot(x, y) > _FREE + radius and all(
                np.hypot(x - u, y - v) > radius + r for u, v, r in taken
            )
            if free and not _in_sight(x, y, radius, tall, camera):
                turn = float(random.choice([0.0, np.pi / 2, -np.pi / 2]) + random.normal(0, 0.15))
                shapes += _moved(piece, (x, y), turn)
                taken.append((x, y, radius))
                break
    return shapes


def _in_sight(x: float, y: float, radius: float, tall: float, camera: NDArray[np.float64]) -> bool:
    """Whether a piece hides more than the shins, or stands too near to the camera."""
    away = float(np.hypot(camera[0], camera[1]))
    forth = (x * camera[0] + y * camera[1]) / away
    aside = abs(x * camera[1] - y * camera[0]) / away
    if np.hypot(x - camera[0], y - camera[1]) < radius + 1.2:
        return True
    if forth < 0 or aside > radius + _SIGHT:
        return False
    # The ray over the top of the piece's far side meets the person at this height.
    hidden = camera[2] - (camera[2] - tall) * away / (away - forth + radius)
    return bool(hidden > _SHINS)


def _seat(body: Body, random: Draw) -> list[Shape]:
    """A stool, a box or a chair, as high as the person's knees."""
    paint = _any_paint(random, 0.08)
    high, kind = body.seat - 0.01, random.choice(["stool", "box", "chair"])
    if kind == "box":
        return [Shape("box", (0.17, 0.2, high / 2), "furniture", paint, (0.0, 0.0, high / 2))]
    if kind == "stool":
        return [
            Shape("cylinder", (0.17, 0.025), "furniture", paint, (0.0, 0.0, high - 0.025)),
            Shape("cylinder", (0.025, high / 2), "furniture", paint, (0.0, 0.0, high / 2)),
            Shape("cylinder", (0.14, 0.012), "furniture", paint, (0.0, 0.0, 0.012)),
        ]
    return _chair_of(high, 0.17, paint)


def _chair_of(high: float, half: float, paint: Paint) -> list[Shape]:
    legs = [
        Shape("box", (0.018, 0.018, high / 2), "furniture", paint,
              (sx * (half - 0.02), sy * (half - 0.02), high / 2))
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip
    return [
        *legs,
        Shape("box", (half, half, 0.02), "furniture", paint, (0.0, 0.0, high - 0.02)),
        Shape("box", (0.015, half, 0.2), "furniture", paint, (-half, 0.0, high + 0.22)),
    ]


def _table(random: Draw) -> tuple[list[Shape], float]:
    x, y = random.uniform(0.3, 0.45), random.uniform(0.4, 0.8)
    high = float(random.choice([0.42, 0.74]) + random.uniform(-0.04, 0.04))
    paint = Paint(_wood(random))
    legs = [
        Shape("box", (0.025, 0.025, high / 2), "furniture", paint,
              (float(sx * (x - 0.04)), float(sy * (y - 0.04)), high / 2))
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip
    top = Shape("box", (float(x), float(y), 0.02), "furniture", paint, (0.0, 0.0, high))
    vase = Shape(
        "cylinder", (0.05, 0.1), "furniture",
        Paint(_cloth(random), _cloth(random), Pattern.STRIPES),
        (0.0, float(random.uniform(-0.6, 0.6) * y), high + 0.12),
    )  # fmt: skip
    return [top, vase, *legs], float(np.hypot(x, y))


def _chair(random: Draw) -> tuple[list[Shape], float]:
    return _chair_of(float(random.uniform(0.42, 0.48)), 0.21, Paint(_cloth(random))), 0.3


def _shelf(random: Draw) -> tuple[list[Shape], float]:
    half, high = float(random.uniform(0.3, 0.5)), float(random.uniform(0.9, 1.9))
    paint = Paint(_wood(random))
    boards = int(random.integers(3, 6))
    shapes = [
        Shape("box", (0.15, 0.015, high / 2), "furniture", paint, (0.0, s * half, high / 2))
        for s in (-1, 1)
    ]
    for level in np.linspace(0.05, high, boards):
        board = (0.15, half, 0.012)
        shapes.append(Shape("box", board, "furniture", paint, (0.0, 0.0, float(level))))
    for level in np.linspace(0.05, high, boards)[:-1]:
        wide = float(random.uniform(0.08, 0.8 * half))
        books = Paint(_cloth(random), _cloth(random), Pattern.PLANKS, 0.04)
        shapes.append(
            Shape("box", (0.1, wide, 0.1), "furniture", books,
                  (0.0, float(random.uniform(-1, 1) * (half - wide - 0.02)), float(level) + 0.115))
        )  # fmt: skip
    return shapes, half + 0.05


def _boxes(random: Draw) -> tuple[list[Shape], float]:
    low, high = (float(one) for one in random.uniform(0.12, 0.25, 2))
    paint = _any_paint(random, 0.1)
    other = _any_paint(random, 0.1)
    return [
        Shape("box", (0.24, 0.24, low), "furniture", paint, (0.0, 0.0, low)),
        Shape("box", (0.17, 0.17, high), "furniture", other, (0.0, 0.03, 2 * low + high),
              (0.966, 0.0, 0.0, 0.259)),
    ], 0.35  # fmt: skip


def _lamp(random: Draw) -> tuple[list[Shape], float]:
    high = float(random.uniform(1.2, 1.7))
    paint = Paint(draw_colour(random, 0.3, 0.1, 0.5))
    shade = Paint(draw_colour(random, 0.3, 0.7, 0.95))
    return [
        Shape("cylinder", (0.14, 0.015), "furniture", paint, (0.0, 0.0, 0.015)),
        Shape("cylinder", (0.018, high / 2), "furniture", paint, (0.0, 0.0, high / 2)),
        Shape("sphere", (0.16,), "furniture", shade, (0.0, 0.0, high)),
    ], 0.2


def _sofa(random: Draw) -> tuple[list[Shape], float]:
    half = float(random.uniform(0.5, 0.85))
    paint = _any_paint(random, 0.15)
    return [
        Shape("box", (0.38, half, 0.2), "furniture", paint, (0.0, 0.0, 0.2)),
        Shape("box", (0.1, half, 0.38), "furniture", paint, (-0.32, 0.0, 0.4)),
        Shape("box", (0.38, 0.09, 0.3), "furniture", paint, (0.0, half, 0.3)),
        Shape("box", (0.38, 0.09, 0.3), "furniture", paint, (0.0, -half, 0.3)),
    ], float(np.hypot(0.35, half))  # fmt: skip


def _moved(shapes: list[Shape], to: tuple[float, float], yaw: float) -> list[Shape]:
    """Shapes turned about the vertical axis at the origin, then moved over the floor."""
    c, s, a, b = np.cos(yaw), np.sin(yaw), np.cos(yaw / 2), np.sin(yaw / 2)
    moved = []
    for shape in shapes:
        x, y, z = shape.place
        qw, qx, qy, qz = shape.rotation
        moved.append(
            Shape(
                shape.kind, shape.size, shape.point_class, shape.paint,
                (float(c * x - s * y + to[0]), float(s * x + c * y + to[1]), z),
                (float(a * qw - b * qz), float(a * qx - b * qy), float(a * qy + b * qx),
                 float(a * qz + b * qw)),
            )
        )  # fmt: skip
    return moved


def _wood(random: Draw) -> tuple[float, float, float]:
    light, red = random.uniform(0.3, 0.85), random.uniform(0.0, 0.1)
    return float(light), float(light * (0.78 - red)), float(light * (0.55 - red))


def _cloth(random: Draw) -> tuple[float, float, float]:
    return draw_colour(random, 0.6, 0.25, 0.9)


def _any_paint(random: Draw, size: float) -> Paint:
    return Paint(_cloth(random), _cloth(random), Pattern(int(random.integers(0, 3))), size)
