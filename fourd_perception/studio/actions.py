"""What the person can do. An action draws its variation once; then it is a function of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fourd_perception.studio.performer import PARCEL_HALF_HEIGHT, Body, Prop, place
from fourd_perception.studio.pose import Array, Pose

_GRAVITY = 9.81
MAIN, OTHER = 0, 1
"""Actions are written for a left-handed person; for a right-handed one they are mirrored."""

Step = Callable[[float], tuple[Pose, Prop | None]]
"""From beats (cycles since the action's start) to the pose, and the object that is handled."""


@dataclass(frozen=True)
class Motion:
    """One performance of an action.

    period: seconds of a cycle. whole: looks cut off if it stops inside a cycle.
    """

    step: Step
    period: float
    whole: bool = False


Draw = np.random.Generator
Action = Callable[[Body, Draw], Motion]


def track(beat: float, times: Sequence[float], values: Sequence[float]) -> float:
    """`values` at `times` (fractions of a cycle, ascending), eased in between by a half cosine."""
    u = beat % 1.0
    index = int(np.searchsorted(times, u, side="right"))
    if index == 0:
        return values[0]
    if index == len(times):
        return values[-1]
    part = (u - times[index - 1]) / (times[index] - times[index - 1])
    weight = (1.0 - np.cos(np.pi * part)) / 2.0
    return float((1.0 - weight) * values[index - 1] + weight * values[index])


def _wave(beat: float) -> float:
    return float(np.sin(2 * np.pi * beat))


def _toward(pose: Pose, side: int, body: Body, point: Array, weight: float = 1.0) -> None:
    """Bring a wrist to a point given from its shoulder (chest's frame, y outward, metres)."""
    length = float(np.linalg.norm(point))
    _arm(pose, side, point / length, length / body.arm, weight)


def _arm(
    pose: Pose, side: int, direction: Sequence[float] | Array, reach: float, weight: float = 1.0
) -> None:
    """Bend an arm from where it is towards a direction and a reach."""
    there = np.asarray(direction, np.float64)
    here = pose.hands[side] / np.linalg.norm(pose.hands[side])
    pose.hands[side] = (1 - weight) * here + weight * there / np.linalg.norm(there)
    pose.reach[side] = (1 - weight) * pose.reach[side] + weight * reach


def _elbow(pose: Pose, side: int, direction: Sequence[float], weight: float = 1.0) -> None:
    pose.elbows[side] = (1 - weight) * pose.elbows[side] + weight * np.asarray(direction)


def stand(body: Body) -> Pose:
    """At rest: arms beside the body, clear of the hips."""
    pose = Pose()
    pose.hands[:, 1] = 0.14 + 0.35 * max(0.0, body.girth - 0.9)
    return pose


def idle(body: Body, draw: Draw) -> Motion:
    """Stands; shifts the weight and looks around. Arms hang, or rest on hips or belly."""
    arms = draw.choice(["hang", "hang", "hip", "both_hips", "belly"])
    shift, look = draw.uniform(0.01, 0.045), draw.uniform(0.1, 0.5)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        sway = _wave(beat)
        pose.pelvis[1] = shift * sway
        pose.hips[0] = -0.8 * shift * sway
        pose.head[2] = look * _wave(0.7 * beat + 0.2)
        pose.head[1] = 0.12 * _wave(0.45 * beat)
        for side in (MAIN, OTHER):
            if arms == "both_hips" or (arms == "hip" and side == MAIN):
                _arm(pose, side, (0.02, 0.1, -1.0), 0.78)
                _elbow(pose, side, (-0.6, 1.0, 0.0))
            elif arms == "belly":
                _toward(pose, side, body, np.array([0.11, -0.075, -0.17]) * body.height)
                _elbow(pose, side, (-0.6, 1.0, -0.3))
        return pose, None

    return Motion(step, draw.uniform(3.0, 5.0))


def wave_hand(body: Body, draw: Draw) -> Motion:
    """One hand beside or above the head, from side to side."""
    high, swing = draw.uniform(0.35, 1.0), draw.uniform(0.28, 0.5)
    reach = 0.62 + 0.28 * high

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        swung = swing * _wave(beat)
        _arm(pose, MAIN, (0.32, 0.35 + swung, 0.25 + 0.75 * high), reach - 0.05 * abs(swung))
        _elbow(pose, MAIN, (0.0, 0.8, -1.0))
        pose.spine[0] = -0.03 - 0.03 * swung
        pose.head[2] = 0.1 * high
        return pose, None

    return Motion(step, draw.uniform(0.5, 0.95))


def raise_arms(body: Body, draw: Draw) -> Motion:
    """Both arms up, over the front or over the sides, and down again."""
    sideways, top = draw.uniform(0.0, 1.0) > 0.5, draw.uniform(0.75, 1.0)
    hold = draw.uniform(0.05, 0.2)
    times = (0.0, 0.08, 0.45 - hold / 2, 0.45 + hold / 2, 0.92)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        raised = track(beat, times, (0.0, 0.0, 1.0, 1.0, 0.0))
        angle = raised * top * np.pi * 0.97
        across, along = (1.0, 0.12) if sideways else (0.2, 1.0)
        out = 0.16 + across * np.sin(angle)
        for side in (MAIN, OTHER):
            _arm(pose, side, (0.08 + along * np.sin(angle), out, -np.cos(angle)), 0.96)
            _elbow(pose, side, (-1.0 + 0.6 * raised, 0.5 + 0.5 * raised, -0.8 * raised))
        pose.spine[1] = -0.09 * raised
        pose.head[1] = -0.22 * raised
        return pose, None

    return Motion(step, draw.uniform(1.7, 2.8))


def clap(body: Body, draw: Draw) -> Motion:
    """Palms meet before the chest, again and again."""
    height, gap = draw.uniform(-0.15, 0.0), draw.uniform(0.07, 0.17)
    forward = draw.uniform(0.18, 0.24)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        apart = 0.045 + gap * (0.5 + 0.5 * _wave(beat + 0.25)) ** 0.8
        point = np.array([forward * body.height, apart, height * body.height])
        point[1] -= body.shoulder[1]
        for side in (MAIN, OTHER):
            _toward(pose, side, body, point)
            _elbow(pose, side, (-0.2, 0.9, -1.0))
        return pose, None

    return Motion(step, draw.uniform(0.35, 0.7))


def punch(body: Body, draw: Draw) -> Motion:
    """From a guard before the chin, straight forward; with one hand or with both in turn."""
    in_turn, target = draw.random() < 0.5, draw.uniform(-0.18, 0.2)
    twist, crouch = draw.uniform(0.2, 0.5), draw.uniform(0.0, 0.05)
    guard = np.array([0.15, -0.065, 0.03]) * body.height
    times = (0.0, 0.12, 0.34, 0.44, 0.75)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        hit = track(beat, times, (0.0, -0.12, 1.0, 1.0, 0.0))
        fist = int(beat) % 2 if in_turn else MAIN
        for side in (MAIN, OTHER):
            _toward(pose, side, body, guard)
            _elbow(pose, side, (-0.1, 0.5, -1.0))
        _arm(pose, fist, (1.0, -0.22, target), 0.99, hit)
        sign = 1.0 if fist == MAIN else -1.0
        pose.spine[2] = -sign * twist * hit
        pose.hips[2] = -sign * 0.4 * twist * hit
        pose.spine[1] = 0.06 + 0.08 * hit
        pose.pelvis[:] = (0.02 + 0.03 * hit, 0.0, -crouch * body.height)
        pose.feet[MAIN, 0], pose.feet[OTHER, 0] = -0.10, 0.12
        return pose, None

    return Motion(step, draw.uniform(0.75, 1.3))


def kick(body: Body, draw: Draw) -> Motion:
    """A leg swings back and then forward and up."""
    high, back = np.radians(draw.uniform(40, 85)), np.radians(draw.uniform(15, 35))
    leg = body.thigh + body.shin
    times = (0.0, 0.1, 0.3, 0.5, 0.56, 0.85)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        lifted = track(beat, times, (0.0, 0.0, 1.0, 1.0, 1.0, 0.0))
        angle = track(beat, times, (0.0, 0.0, -back, high, high, 0.0))
        bent = track(beat, (0.1, 0.28, 0.4, 0.52, 0.7, 0.85), (0.0, 0.25, 0.22, 0.0, 0.15, 0.0))
        length = leg * (1.0 - bent)
        pose.feet[MAIN] = (
            length * np.sin(angle), -0.5 * body.stance * lifted,
            0.03 * lifted + leg - length * np.cos(angle),
        )  # fmt: skip
        pose.toes[MAIN, 0] = -0.55 * angle + 0.3 * lifted
        pose.pelvis[:2] = (0.0, -0.75 * body.stance * lifted)
        pose.spine[1] = -0.25 * max(angle, 0.0) + 0.1 * max(-angle, 0.0)
        pose.hips[1] = -0.15 * max(angle, 0.0)
        _arm(pose, OTHER, (0.7, 0.5, -0.6), 0.9, 0.8 * max(angle, 0.0))
        _arm(pose, MAIN, (-0.4, 0.7, -0.7), 0.93, 0.8 * max(angle, 0.0))
        return pose, None

    return Motion(step, draw.uniform(1.2, 1.9), whole=True)


def pick_up(body: Body, draw: Draw) -> Motion:
    """Bends down, takes a parcel from the floor; puts it back with the next bend."""
    knees, ahead = draw.uniform(0.16, 0.30), draw.uniform(0.30, 0.40)
    spot = np.array([ahead, draw.uniform(0.0, 0.09), 0.0])
    on_floor = spot + (0.06, 0.0, PARCEL_HALF_HEIGHT)
    carry = np.array([draw.uniform(0.14, 0.2), -0.02, draw.uniform(-0.2, -0.12)]) * body.height
    times = (0.0, 0.05, 0.21, 0.29, 0.46, 0.55, 0.71, 0.79, 0.96)
    bend = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0)
    hold = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)

    def step(beat: float) -> tuple[Pose, Prop]:
        pose = stand(body)
        down, carried = track(beat, times, bend), track(beat, times, hold)
        pose.pelvis[:] = np.array([-0.07 - 0.1 * knees, 0.0, -knees]) * body.height * down
        pose.hips[1] = 0.65 * down
        pose.spine[1] = (1.0 - 1.2 * knees) * down
        pose.head[1] = 0.1 * down
        _toward(pose, MAIN, body, carry, carried)
        _elbow(pose, MAIN, (-0.5, 1.0, -0.3), max(carried, down))
        pose.goals[MAIN] = spot + (0.0, 0.0, 0.25)
        pose.goal_weights[MAIN] = down**1.5
        _arm(pose, OTHER, (0.7, 0.15, -1.0), 0.85, 0.7 * down)
        in_hand = 0.25 <= beat % 1.0 < 0.75
        return pose, Prop("parcel", MAIN, None if in_hand else on_floor)

    return Motion(step, draw.uniform(3.2, 4.4), whole=True)


def sit_down(body: Body, draw: Draw) -> Motion:
    """Sits down on the seat behind, stays, and stands up."""
    lean, knees_apart = draw.uniform(0.4, 0.75), draw.uniform(0.0, 0.06)
    reach = draw.choice([0.78, 0.78, 0.88])  # hands on the thighs, or on the knees
    times = (0.0, 0.04, 0.3, 0.62, 0.88)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        seated = track(beat, times, (0.0, 0.0, 1.0, 1.0, 0.0))
        between = 4.0 * seated * (1.0 - seated)
        pose.pelvis[:] = SEAT_BEHIND * seated**0.8, 0.0, 0.0
        pose.pelvis[2] = (body.seat + 0.055 * body.height * body.girth - body.hip) * seated
        pose.hips[1] = 0.45 * lean * between - 0.05 * seated
        pose.spine[1] = 0.55 * lean * between + 0.08 * seated
        pose.head[1] = -0.3 * lean * between
        pose.feet[:, 1] = knees_apart
        for side in (MAIN, OTHER):
            _arm(pose, side, (0.8, 0.05, -0.7), reach, max(seated, 0.6 * between))
            _elbow(pose, side, (-0.7, 0.9, -0.3), seated)
        return pose, None

    return Motion(step, draw.uniform(2.6, 3.8), whole=True)


SEAT_BEHIND = -0.36
"""Where the pelvis of a seated person is, metres from where it is in standing."""


def squat(body: Body, draw: Draw) -> Motion:
    """Down on the heels and up, with the arms forward or on the hips."""
    depth, forward = draw.uniform(0.20, 0.32), draw.random() < 0.7
    wide = draw.uniform(0.02, 0.10)
    times = (0.0, 0.05, 0.42, 0.52, 0.92)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        down = track(beat, times, (0.0, 0.0, 1.0, 1.0, 0.0))
        pose.pelvis[:] = np.array([-0.28 * depth, 0.0, -depth]) * body.height * down
        pose.hips[1] = 1.6 * depth * down
        pose.spine[1] = 0.9 * depth * down
        pose.head[1] = -1.2 * depth * down
        pose.feet[:, 1] = wide
        pose.toes[:, 1] = 0.25
        for side in (MAIN, OTHER):
            if forward:
                _arm(pose, side, (1.0, -0.05, 0.25), 0.96, down)
                _elbow(pose, side, (-0.2, 0.6, -1.0), down)
            else:
                _arm(pose, side, (0.02, 0.1, -1.0), 0.78)
                _elbow(pose, side, (-0.6, 1.0, 0.0))
        return pose, None

    return Motion(step, draw.uniform(1.5, 2.5), whole=True)


def jump(body: Body, draw: Draw) -> Motion:
    """Crouches, swings the arms and leaves the floor; flight is a free fall."""
    height, arms = draw.uniform(0.10, 0.32), draw.uniform(0.3, 1.0)
    tuck = draw.uniform(0.0, 0.35) * height
    air = 2.0 * np.sqrt(2.0 * height / _GRAVITY)
    period = air + draw.uniform(0.7, 1.0)
    leave = 0.5 * (1.0 - air / period)
    land = leave + air / period
    times = (0.0, 0.4 * leave, leave, land, land + 0.3 * (1.0 - land), 1.0)
    swings = (0.0, 0.45 * leave, (leave + land) / 2, 1.0)
    on_toes = (0.6 * leave, leave, land, land + 0.15 * (1.0 - land))

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        u = beat % 1.0
        crouch = track(u, times, (0.25, 1.0, 0.0, 0.0, 0.9, 0.25))
        flight = np.clip((u - leave) / (land - leave), 0.0, 1.0)
        up = 4.0 * height * flight * (1.0 - flight)
        tiptoe = track(u, on_toes, (0.0, 1.0, 0.6, 0.0))
        pose.pelvis[:] = (-0.03 * crouch, 0.0, -0.12 * body.height * crouch + up + 0.05 * tiptoe)
        pose.feet[:, 2] = up + 0.04 * tiptoe + tuck * np.sin(np.pi * flight)
        pose.toes[:, 0] = 0.5 * tiptoe
        pose.hips[1], pose.spine[1] = 0.3 * crouch, 0.2 * crouch
        swing = track(u, swings, (-0.2, -0.8, 1.5, -0.2)) * arms
        for side in (MAIN, OTHER):
            _arm(pose, side, (np.sin(swing) + 0.05, 0.22, -np.cos(swing)), 0.95)
            _elbow(pose, side, (-0.8, 0.6, -0.1))
        return pose, None

    return Motion(step, period, whole=True)


def turn_around(body: Body, draw: Draw) -> Motion:
    """Turns once about itself in small steps, or half around and back again."""
    half = draw.random() < 0.4
    way = 1.0 if draw.random() < 0.5 else -1.0
    steps = int(draw.integers(3, 6))
    lift = draw.uniform(0.05, 0.11)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        u = beat % 1.0
        if half:
            turned = track(u, (0.0, 0.04, 0.46, 0.54, 0.96), (0.0, 0.0, 0.5, 0.5, 0.0))
        else:
            steady = float(np.clip((u - 0.05) / 0.9, 0.0, 1.0))
            turned = 0.4 * track(u, (0.05, 0.95), (0.0, 1.0)) + 0.6 * steady
        pose.heading[:] = way * 2 * np.pi * turned
        for side in (MAIN, OTHER):
            # One foot turns while the other one carries.
            count = turned * 2 * steps + (0.5 if side == MAIN else 0.0)
            part = np.clip((count % 1.0) * 2.0 - 0.5, 0.0, 1.0)
            settled = (np.floor(count) + part - (0.5 if side == MAIN else 0.0)) / (2 * steps)
            pose.steps[side] = way * 2 * np.pi * np.clip(settled, 0.0, 0.5 if half else 1.0)
            pose.feet[side, 2] = lift * np.sin(np.pi * part)
            _arm(pose, side, (0.15, 0.35, -1.0), 0.9, 0.8)
        pose.head[2] = way * 0.25 * np.sin(np.pi * min(1.0, 2.0 * turned))
        return pose, None

    return Motion(step, draw.uniform(2.2, 3.4), whole=True)


def drink(body: Body, draw: Draw) -> Motion:
    """A cup goes to the mouth, is tilted, and goes down again."""
    wait = draw.uniform((0.15, -0.05, -0.16), (0.21, 0.02, -0.08))
    tilt, sips = draw.uniform(0.9, 1.4), draw.uniform(0.12, 0.3)
    lips = body.mouth + np.array([0.03, 0.10, -0.10])
    times = (0.0, 0.05, 0.32, 0.32 + sips, 0.85)

    def step(beat: float) -> tuple[Pose, Prop]:
        pose = stand(body)
        up = track(beat, times, (0.0, 0.0, 1.0, 1.0, 0.0))
        tipped = track(beat, (0.26, 0.38, 0.28 + sips, 0.4 + sips), (0.0, 1.0, 1.0, 0.0))
        _toward(pose, MAIN, body, wait * body.height)
        _toward(pose, MAIN, body, lips + (0.0, 0.0, 0.03 * tipped), up)
        _elbow(pose, MAIN, (-0.3, 0.5 + 0.5 * up, -1.0))
        pose.head[1] = -0.32 * tipped
        pose.spine[1] = -0.05 * tipped
        angle = tilt * tipped
        return pose, Prop("cup", MAIN, up=np.array([-np.sin(angle), 0.0, np.cos(angle)]))

    return Motion(step, draw.uniform(2.0, 3.2))


def throw(body: Body, draw: Draw) -> Motion:
    """Winds up behind the head and throws a ball forward; takes the next one."""
    twist, far = draw.uniform(0.4, 0.75), draw.uniform(4.0, 7.0)
    times = (0.0, 0.16, 0.36, 0.42, 0.64, 0.76, 0.95)
    release = 0.60
    period = draw.uniform(1.7, 2.4)
    velocity = np.array([far, 0.0, 1.2])

    def swing(u: float) -> Pose:
        pose = stand(body)
        out = track(u, (0.04, 0.2, 0.5, 0.6), (0.0, 1.0, 1.0, 0.0))
        wind = track(u, times, (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0))
        cast = track(u, times, (0.0, 0.0, 0.0, 0.0, 1.0, 0.7, 0.0))
        follow = track(u, times, (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        _toward(pose, MAIN, body, np.array([0.15, -0.05, -0.1]) * body.height)
        # Out to the side first: the shortest way back would lead through the shoulder.
        _arm(pose, MAIN, (0.1, 0.9, -0.4), 0.75, out)
        _arm(pose, MAIN, (-0.55, 0.65, 0.45), 0.72, wind)
        _arm(pose, MAIN, (0.75, 0.15, 0.75), 0.98, cast)
        _arm(pose, MAIN, (0.75, -0.35, -0.7), 0.9, follow)
        _elbow(pose, MAIN, (0.0, 1.0, -0.6))
        _arm(pose, OTHER, (1.0, 0.15, 0.1), 0.92, wind)
        _arm(pose, OTHER, (0.1, 0.5, -1.0), 0.85, max(cast, follow))
        pose.spine[2] = twist * (wind - 0.8 * max(cast, follow))
        pose.hips[2] = 0.4 * pose.spine[2]
        pose.spine[1] = -0.15 * wind + 0.25 * cast + 0.2 * follow
        pose.pelvis[0] = -0.06 * wind + 0.08 * max(cast, follow)
        pose.feet[OTHER, 0], pose.feet[MAIN, 0] = 0.18, -0.14
        return pose

    start, _ = place(body, swing(release), Prop("ball", MAIN))["ball"]

    def step(beat: float) -> tuple[Pose, Prop | None]:
        u = beat % 1.0
        pose = swing(u)
        if u < release:
            return pose, Prop("ball", MAIN)
        seconds = (u - release) * period
        if seconds > 0.45:
            return pose, None
        fallen = np.array([0.0, 0.0, _GRAVITY / 2 * seconds**2])
        return pose, Prop("ball", MAIN, start + velocity * seconds - fallen)

    return Motion(step, period)


def point(body: Body, draw: Draw) -> Motion:
    """A straight arm shows somewhere, stays, and shows somewhere else."""
    aims = [(draw.uniform(-0.4, 1.1), draw.uniform(-0.35, 0.5)) for _ in range(2)]
    times = (0.0, 0.24, 0.76, 1.0)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        out = track(beat, times, (0.0, 1.0, 1.0, 0.0))
        across, above = aims[int(beat) % 2]
        direction = (np.cos(across) * np.cos(above), np.sin(across) * np.cos(above), np.sin(above))
        _toward(pose, MAIN, body, np.array([0.12, 0.0, -0.16]) * body.height)
        _arm(pose, MAIN, direction, 0.985, out)
        _elbow(pose, MAIN, (-0.2, 0.4, -1.0))
        pose.spine[2] = 0.3 * across * out
        pose.head[2] = 0.45 * across * out
        pose.head[1] = -0.4 * above * out
        return pose, None

    return Motion(step, draw.uniform(1.7, 2.6))


ACTIONS: dict[str, Action] = {
    action.__name__: action
    for action in (
        idle, wave_hand, raise_arms, clap, punch, kick, pick_up, sit_down, squat, jump,
        turn_around, drink, throw, point,
    )
}  # fmt: skip


class Performance:
    """One action as one person does it at one time: with a side, a pace and a small unrest."""

    def __init__(self, action: str, body: Body, random: np.random.Generator) -> None:
        self._motion = ACTIONS[action](body, random)
        self._mirrored = bool(random.random() < 0.65)
        self._rubato = random.uniform(0.0, 2 * np.pi, 2)
        self._unrest = random.uniform(0.0, 2 * np.pi, (3, 12))
        self._slow = random.uniform(0.08, 0.6, (3, 12))
        self.fitted = self._motion.period

    def fit(self, seconds: float) -> None:
        """Where an action looks cut off if it stops half way, do it a whole number of times."""
        if self._motion.whole:
            self.fitted = seconds / max(1, round(seconds / self._motion.period))

    def at(self, seconds: float) -> tuple[Pose, Prop | None]:
        """The pose, and the object that is handled, `seconds` after the action's start."""
        beat = seconds / self.fitted
        if not self._motion.whole:
            beat += 0.05 * (np.sin(1.3 * beat + self._rubato[0]) - np.sin(self._rubato[0]))
        pose, prop = self._motion.step(max(beat, 0.0))
        self._stir(pose, seconds)
        if not self._mirrored:
            return pose, prop
        return pose.mirrored(), None if prop is None else _mirrored(prop)

    def _stir(self, pose: Pose, seconds: float) -> None:
        """Nobody holds still: slow noise of a few millimetres and degrees."""
        noise = np.sin(2 * np.pi * self._slow * seconds + self._unrest).sum(axis=0) / 1.7
        pose.pelvis[:2] += 0.006 * noise[:2]
        pose.spine += 0.018 * noise[2:5]
        pose.head += 0.04 * noise[5:8]
        pose.hands[0] += 0.025 * noise[8:11] * np.linalg.norm(pose.hands[0])
        pose.hands[1] += 0.025 * noise[[9, 11, 8]] * np.linalg.norm(pose.hands[1])


def _mirrored(prop: Prop) -> Prop:
    flip = np.array([1.0, -1.0, 1.0])
    return replace(
        prop,
        side=1 - prop.side,
        place=None if prop.place is None else prop.place * flip,
        up=None if prop.up is None else prop.up * flip,
    )
