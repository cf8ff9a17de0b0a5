"""The person: a body of capsules and ellipsoids, its clothes, and how a pose places them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourd_perception.studio.pose import Array, Pose
from fourd_perception.studio.shapes import Paint, Pattern, Shape, draw_colour

SIDES = ("left", "right")
BOXES = ("red_box", "green_box", "blue_box")
PROPS = ("cup", "ball", "parcel", *BOXES)
PARCEL_HALF_HEIGHT = 0.12
_GRIP = {"cup": 0.05, "ball": 0.06, "parcel": 0.07, **dict.fromkeys(BOXES, 0.11)}
"""Metres that an object lies in front of the middle of the hand."""
HIDDEN = np.array([0.0, 0.0, -100.0])
"""Where a body's part is that is not there."""
_FLAT = (0.7071067811865476, 0.7071067811865476, 0.0, 0.0)
"""A capsule's z axis along -y."""


@dataclass(frozen=True)
class Body:
    """Lengths in metres. Proportions of stature are Drillis and Contini's (1966), varied a little.

    girth: factor on what is thick or wide.
    """

    height: float
    girth: float
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    stance: float
    stoop: float

    @property
    def arm(self) -> float:
        """Shoulder to wrist, straight."""
        return self.upper_arm + self.forearm

    @property
    def ankle(self) -> float:
        """Height of the ankle in standing."""
        return 0.039 * self.height

    @property
    def hip(self) -> float:
        """Height of the hip joints in standing, with knees a little soft."""
        return self.ankle + 0.992 * (self.thigh + self.shin)

    @property
    def shoulder(self) -> Array:
        """Left shoulder from the waist, chest's frame."""
        return np.array([0.0, 0.112 * self.girth**0.3, 0.203]) * self.height

    @property
    def mouth(self) -> Array:
        """The mouth from the left shoulder, y outward, chest's frame, head held straight."""
        return np.array([0.075, 0.0, 0.292]) * self.height - self.shoulder

    @property
    def seat(self) -> float:
        """Height of a seat on which the thighs are level."""
        return self.ankle + self.shin - 0.055 * self.height * self.girth


def draw_body(random: np.random.Generator) -> Body:
    """A grown person or a youth, 1.45 to 1.95 m."""
    height = float(np.clip(random.normal(1.70, 0.10), 1.45, 1.95))
    lengths = np.array([0.186, 0.146, 0.245, 0.246]) * height * random.uniform(0.95, 1.05, 4)
    upper_arm, forearm, thigh, shin = lengths.tolist()
    return Body(
        height=height,
        girth=float(np.clip(random.normal(1.0, 0.11), 0.8, 1.35)),
        upper_arm=upper_arm,
        forearm=forearm,
        thigh=thigh,
        shin=shin,
        stance=float(random.uniform(0.05, 0.085)) * height,
        stoop=float(random.uniform(-0.02, 0.16)),
    )


def draw_person(body: Body, random: np.random.Generator) -> list[Shape]:
    """The shapes of a body in its clothes; each body part is a MuJoCo body of its own."""
    skin = _mix((0.96, 0.80, 0.69), (0.36, 0.22, 0.15), random.random())
    hair = _mix((0.08, 0.06, 0.05), (0.72, 0.55, 0.30), random.random() ** 2)
    shirt = Paint(
        draw_colour(random, 0.75, 0.2, 0.95), draw_colour(random, 0.75, 0.2, 0.95),
        Pattern(int(random.choice([0, 0, 1, 2]))), float(random.uniform(0.03, 0.07)),
    )  # fmt: skip
    trousers, shoes = (Paint(draw_colour(random, 0.5, 0.12, 0.6)) for _ in range(2))
    bare = Paint(skin)
    sleeves = shirt if random.random() < 0.5 else bare
    leggings = trousers if random.random() < 0.75 else bare
    shapes = [
        *_head(body, bare, Paint(hair), long_hair=random.random() < 0.35),
        *_trunk(body, bare, shirt, trousers),
    ]
    for side in SIDES:
        shapes += _limbs(body, side, bare, shirt, sleeves, trousers, leggings, shoes)
    return shapes + _props(body, random)


def _head(body: Body, skin: Paint, hair: Paint, long_hair: bool) -> list[Shape]:
    h = body.height
    # The head's frame stands where neck and skull meet.
    shapes = [
        Shape("ellipsoid", (0.054 * h, 0.045 * h, 0.066 * h), "head", skin,
              (0.012 * h, 0, 0.05 * h), body="head"),
        Shape("ellipsoid", (0.012 * h, 0.009 * h, 0.014 * h), "head", skin,
              (0.066 * h, 0, 0.042 * h), body="head"),
        Shape("ellipsoid", (0.057 * h, 0.049 * h, 0.056 * h), "head", hair,
              (-0.002 * h, 0, 0.069 * h), body="head"),
        Shape("capsule", (0.031 * h * body.girth**0.5, 0.025 * h), "head", skin,
              (-0.006 * h, 0, -0.012 * h), body="head"),
    ]  # fmt: skip
    if long_hair:
        shapes.append(
            Shape("ellipsoid", (0.03 * h, 0.05 * h, 0.075 * h), "head", hair,
                  (-0.035 * h, 0, 0.015 * h), body="head")
        )  # fmt: skip
    return shapes


def _trunk(body: Body, skin: Paint, shirt: Paint, trousers: Paint) -> list[Shape]:
    h, g = body.height, body.girth
    wide = body.shoulder[1]
    return [
        Shape("ellipsoid", (0.066 * h * g, wide * 0.93, 0.125 * h), "torso", shirt,
              (0.004 * h, 0, 0.115 * h), body="chest"),
        Shape("capsule", (0.040 * h, wide * 0.72), "torso", shirt, (-0.004 * h, 0, 0.188 * h),
              _FLAT, body="chest"),
        Shape("ellipsoid", (0.066 * h * g, 0.090 * h * g, 0.130 * h), "torso", shirt,
              (0, 0, 0.0), body="waist"),
        Shape("ellipsoid", (0.068 * h * g, 0.094 * h * g, 0.078 * h), "torso", trousers,
              (-0.006 * h, 0, 0.015 * h), body="pelvis"),
    ]  # fmt: skip


def _limbs(
    body: Body, side: str, skin: Paint, shirt: Paint, sleeves: Paint, trousers: Paint,
    leggings: Paint, shoes: Paint,
) -> list[Shape]:  # fmt: skip
    """Arm and leg of one side. A limb's frame is in its middle, z along it."""
    h, g = body.height, body.girth**0.7
    arm, leg = f"{side}_arm", f"{side}_leg"
    return [
        Shape("capsule", (0.0275 * h * g, body.upper_arm / 2), arm, shirt,
              body=f"{side}_upper_arm"),
        Shape("capsule", (0.0215 * h * g, body.forearm / 2), arm, sleeves, body=f"{side}_forearm"),
        Shape("ellipsoid", (0.017 * h, 0.026 * h, 0.054 * h), arm, skin, body=f"{side}_hand"),
        Shape("capsule", (0.046 * h * g, body.thigh / 2), leg, trousers, body=f"{side}_thigh"),
        Shape("capsule", (0.029 * h * g, body.shin / 2), leg, leggings, body=f"{side}_shin"),
        Shape("ellipsoid", (0.032 * h * g, 0.033 * h * g, body.shin * 0.3), leg, leggings,
              (-0.014 * h, 0, 0.12 * body.shin), body=f"{side}_shin"),
        Shape("capsule", (0.025 * h, 0.052 * h), leg, shoes, (0.036 * h, 0, -0.014 * h),
              (0.7071067811865476, 0.0, 0.7071067811865476, 0.0), body=f"{side}_foot"),
        Shape("ellipsoid", (0.034 * h, 0.028 * h, 0.034 * h), leg, shoes,
              (-0.006 * h, 0, -0.004 * h), body=f"{side}_foot"),
    ]  # fmt: skip


def _props(body: Body, random: np.random.Generator) -> list[Shape]:
    cup, ball, parcel = (
        Paint(
            draw_colour(random, 0.8, 0.4, 0.95), draw_colour(random, 0.8, 0.4, 0.95),
            Pattern.STRIPES, 0.035,
        )
        for _ in range(3)
    )  # fmt: skip
    return [
        Shape("cylinder", (0.038, float(random.uniform(0.05, 0.075))), "handled_object", cup,
              body="cup"),
        Shape("sphere", (float(random.uniform(0.05, 0.10)),), "handled_object", ball, body="ball"),
        Shape("box", (*random.uniform((0.09, 0.06), (0.16, 0.1)).tolist(), PARCEL_HALF_HEIGHT),
              "handled_object", parcel, body="parcel"),
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prop:
    """A handled object. place: (3,) metres, turned base frame; where None, hand `side` has it.

    up: (3,) direction of its z axis, turned base frame.
    """

    name: str
    side: int = 0
    place: Array | None = None
    up: Array | None = None


Placement = dict[str, tuple[Array, Array]]
"""Body name -> (position (3,), rotation (3, 3)), base frame."""


def place(body: Body, pose: Pose, prop: Prop | None = None) -> Placement:
    """Where a pose puts every part of a body, and what it holds.

    Feet have the last word: a pelvis that is out of the legs' reach comes down.
    """
    turn = _yaw(pose.heading[0])
    hips = turn @ _turn(pose.hips)
    ankles = [_ankle(body, pose, side) for side in (0, 1)]
    pelvis = turn @ (pose.pelvis + (0.0, 0.0, body.hip))
    sockets = [hips @ np.array([0.0, s * 0.05 * body.height, 0.0]) for s in (1, -1)]
    pelvis = _within_reach(body, pelvis, [a - b for a, b in zip(ankles, sockets)])
    placed: Placement = {"pelvis": (pelvis, hips)}
    for side in (0, 1):
        placed |= _leg(body, pose, side, pelvis + sockets[side], ankles[side])
    placed |= _upper_body(body, pose, pelvis, hips, turn)
    for name in PROPS:
        placed[name] = (HIDDEN, np.eye(3))
    if prop is not None:
        placed[prop.name] = _prop(body, prop, placed, turn)
    return placed


def _ankle(body: Body, pose: Pose, side: int) -> Array:
    sign = 1 - 2 * side
    x, y, z = pose.feet[side]
    return _yaw(pose.steps[side, 0]) @ np.array([x, sign * (body.stance + y), body.ankle + z])


def _within_reach(body: Body, pelvis: Array, ankles: list[Array]) -> Array:
    """The pelvis, lowered until both legs reach. ankles: less their sockets."""
    longest = 0.998 * (body.thigh + body.shin)
    highest = pelvis[2]
    for ankle in ankles:
        aside = np.hypot(*(pelvis - ankle)[:2])
        highest = min(highest, ankle[2] + np.sqrt(max(longest**2 - aside**2, 0.0)))
    return np.array([pelvis[0], pelvis[1], highest])


def _leg(body: Body, pose: Pose, side: int, socket: Array, ankle: Array) -> Placement:
    sign, name = 1 - 2 * side, SIDES[side]
    pitch, outward = pose.toes[side]
    facing = _yaw(pose.steps[side, 0] + sign * (outward + 0.15))
    knee, ankle = _two_bones(socket, ankle, body.thigh, body.shin, facing[:, 0])
    forward = facing[:, 0]
    return {
        f"{name}_thigh": _limb(socket, knee, forward),
        f"{name}_shin": _limb(ankle, knee, forward),
        f"{name}_foot": (ankle, facing @ _turn(np.array([0.0, pitch, 0.0]))),
    }


def _upper_body(body: Body, pose: Pose, pelvis: Array, hips: Array, turn: Array) -> Placement:
    h = body.height
    chest = hips @ _turn(pose.spine + (0.0, body.stoop, 0.0))
    waist = hips @ _turn(0.5 * (pose.spine + (0.0, body.stoop, 0.0)))
    origin = pelvis + hips[:, 2] * 0.045 * h + waist[:, 2] * 0.035 * h
    skull = chest @ _turn(pose.head - (0.0, 0.6 * body.stoop, 0.0))
    neck = origin + chest[:, 2] * 0.242 * h
    placed = {
        "waist": (origin + waist[:, 2] * 0.01 * h, waist),
        "chest": (origin, chest),
        "head": (neck + skull[:, 2] * 0.03 * h, skull),
    }
    for side in (0, 1):
        placed |= _arm(body, pose, side, origin, chest, turn)
    return placed


def _arm(body: Body, pose: Pose, side: int, origin: Array, chest: Array, turn: Array) -> Placement:
    name, outward = SIDES[side], np.array([1.0, 1.0 - 2.0 * side, 1.0])
    direction = pose.hands[side] / np.linalg.norm(pose.hands[side])
    # A raised arm takes the shoulder with it.
    lift = np.array([0.0, -0.008, 0.025]) * body.height * (1.0 + direction[2]) / 2
    shoulder = origin + chest @ ((body.shoulder + lift) * outward)
    wrist = shoulder + chest @ (direction * outward) * pose.reach[side, 0] * body.arm
    weight = pose.goal_weights[side, 0]
    wrist = (1 - weight) * wrist + weight * (turn @ (pose.goals[side] * outward))
    hint = chest @ (pose.elbows[side] * outward)
    elbow, wrist = _two_bones(shoulder, wrist, body.upper_arm, body.forearm, hint)
    along = (wrist - elbow) / body.forearm
    knuckles = wrist + along * 0.085 * body.height
    return {
        f"{name}_upper_arm": _limb(elbow, shoulder, hint),
        f"{name}_forearm": _limb(wrist, elbow, hint),
        f"{name}_hand": _limb(wrist, knuckles, chest @ (outward * (0.0, 1.0, 0.0))),
    }


def _prop(body: Body, prop: Prop, placed: Placement, turn: Array) -> tuple[Array, Array]:
    up = turn @ (np.array([0.0, 0.0, 1.0]) if prop.up is None else prop.up)
    rotation = _frame(up, turn[:, 0])
    if prop.place is not None:
        return turn @ prop.place, rotation
    hand, frame = placed[f"{SIDES[prop.side]}_hand"]
    return hand + frame[:, 2] * 0.012 * body.height + turn[:, 0] * _GRIP[prop.name], rotation


def _two_bones(
    start: Array, goal: Array, first: float, second: float, hint: Array
) -> tuple[Array, Array]:
    """The joint between two bones, and where the second ends: at `goal`, or as near as can be."""
    way = goal - start
    length = float(np.linalg.norm(way))
    along = way / max(length, 1e-9)
    shortest, longest = 1.05 * abs(first - second) + 0.25 * second, 0.9995 * (first + second)
    length = min(max(length, shortest), longest)
    forth = (first**2 - second**2 + length**2) / (2 * length)
    aside = hint - along * (hint @ along)
    aside /= max(float(np.linalg.norm(aside)), 1e-9)
    joint = start + along * forth + aside * np.sqrt(max(first**2 - forth**2, 0.0))
    return joint, start + along * length


def _limb(low: Array, high: Array, hint: Array) -> tuple[Array, Array]:
    """Middle and frame of a limb: z from `low` to `high`, x as near to `hint` as can be."""
    return (low + high) / 2, _frame((high - low) / np.linalg.norm(high - low), hint)


def _frame(z: Array, hint: Array) -> Array:
    """(3, 3): columns x, y, z."""
    y = _cross(z, hint)
    length = np.linalg.norm(y)
    if length < 1e-6:
        y = _cross(z, np.array([0.3, 0.5, 0.8]))
        length = np.linalg.norm(y)
    y /= length
    return np.array((_cross(y, z), y, z)).T


def _cross(a: Array, b: Array) -> Array:
    """np.cross, which takes twenty times as long for one pair of vectors."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))


def _yaw(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _turn(angles: Array) -> Array:
    """(3, 3) from roll, pitch, yaw: roll first, about axes that stand still."""
    (sr, sp, _), (cr, cp, _) = np.sin(angles), np.cos(angles)
    roll = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
    pitch = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
    return _yaw(angles[2]) @ pitch @ roll


def _mix(
    first: tuple[float, float, float], second: tuple[float, float, float], weight: float
) -> tuple[float, float, float]:
    r, g, b = ((1 - weight) * one + weight * two for one, two in zip(first, second))
    return r, g, b
