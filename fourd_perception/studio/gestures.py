"""What the person does with the arms; written for a left-handed one."""

from __future__ import annotations

import numpy as np

from fourd_perception.studio.motion import (
    GRAVITY,
    MAIN,
    OTHER,
    Draw,
    Motion,
    bend_arm,
    point_elbow,
    reach_for,
    sine,
    stand,
    track,
)
from fourd_perception.studio.performer import Body, Prop, place
from fourd_perception.studio.pose import Pose


def idle(body: Body, draw: Draw) -> Motion:
    """Stands; shifts the weight and looks around. Arms hang, or rest on hips or belly."""
    arms = draw.choice(["hang", "hang", "hip", "both_hips", "belly"])
    shift, look = draw.uniform(0.01, 0.045), draw.uniform(0.1, 0.5)

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        sway = sine(beat)
        pose.pelvis[1] = shift * sway
        pose.hips[0] = -0.8 * shift * sway
        pose.head[2] = look * sine(0.7 * beat + 0.2)
        pose.head[1] = 0.12 * sine(0.45 * beat)
        for side in (MAIN, OTHER):
            if arms == "both_hips" or (arms == "hip" and side == MAIN):
                bend_arm(pose, side, (0.02, 0.1, -1.0), 0.78)
                point_elbow(pose, side, (-0.6, 1.0, 0.0))
            elif arms == "belly":
                reach_for(pose, side, body, np.array([0.11, -0.075, -0.17]) * body.height)
                point_elbow(pose, side, (-0.6, 1.0, -0.3))
        return pose, None

    return Motion(step, draw.uniform(3.0, 5.0))


def wave_hand(body: Body, draw: Draw) -> Motion:
    """One hand beside or above the head, from side to side."""
    high, swing = draw.uniform(0.35, 1.0), draw.uniform(0.28, 0.5)
    reach = 0.62 + 0.28 * high

    def step(beat: float) -> tuple[Pose, None]:
        pose = stand(body)
        swung = swing * sine(beat)
        bend_arm(pose, MAIN, (0.32, 0.35 + swung, 0.25 + 0.75 * high), reach - 0.05 * abs(swung))
        point_elbow(pose, MAIN, (0.0, 0.8, -1.0))
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
            bend_arm(pose, side, (0.08 + along * np.sin(angle), out, -np.cos(angle)), 0.96)
            point_elbow(pose, side, (-1.0 + 0.6 * raised, 0.5 + 0.5 * raised, -0.8 * raised))
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
        apart = 0.045 + gap * (0.5 + 0.5 * sine(beat + 0.25)) ** 0.8
        point = np.array([forward * body.height, apart, height * body.height])
        point[1] -= body.shoulder[1]
        for side in (MAIN, OTHER):
            reach_for(pose, side, body, point)
            point_elbow(pose, side, (-0.2, 0.9, -1.0))
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
            reach_for(pose, side, body, guard)
            point_elbow(pose, side, (-0.1, 0.5, -1.0))
        bend_arm(pose, fist, (1.0, -0.22, target), 0.99, hit)
        sign = 1.0 if fist == MAIN else -1.0
        pose.spine[2] = -sign * twist * hit
        pose.hips[2] = -sign * 0.4 * twist * hit
        pose.spine[1] = 0.06 + 0.08 * hit
        pose.pelvis[:] = (0.02 + 0.03 * hit, 0.0, -crouch * body.height)
        pose.feet[MAIN, 0], pose.feet[OTHER, 0] = -0.10, 0.12
        return pose, None

    return Motion(step, draw.uniform(0.75, 1.3))


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
        reach_for(pose, MAIN, body, wait * body.height)
        reach_for(pose, MAIN, body, lips + (0.0, 0.0, 0.03 * tipped), up)
        point_elbow(pose, MAIN, (-0.3, 0.5 + 0.5 * up, -1.0))
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
        reach_for(pose, MAIN, body, np.array([0.15, -0.05, -0.1]) * body.height)
        # Out to the side first: the shortest way back would lead through the shoulder.
        bend_arm(pose, MAIN, (0.1, 0.9, -0.4), 0.75, out)
        bend_arm(pose, MAIN, (-0.55, 0.65, 0.45), 0.72, wind)
        bend_arm(pose, MAIN, (0.75, 0.15, 0.75), 0.98, cast)
        bend_arm(pose, MAIN, (0.75, -0.35, -0.7), 0.9, follow)
        point_elbow(pose, MAIN, (0.0, 1.0, -0.6))
        bend_arm(pose, OTHER, (1.0, 0.15, 0.1), 0.92, wind)
        bend_arm(pose, OTHER, (0.1, 0.5, -1.0), 0.85, max(cast, follow))
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
        fallen = np.array([0.0, 0.0, GRAVITY / 2 * seconds**2])
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
        reach_for(pose, MAIN, body, np.array([0.12, 0.0, -0.16]) * body.height)
        bend_arm(pose, MAIN, direction, 0.985, out)
        point_elbow(pose, MAIN, (-0.2, 0.4, -1.0))
        pose.spine[2] = 0.3 * across * out
        pose.head[2] = 0.45 * across * out
        pose.head[1] = -0.4 * above * out
        return pose, None

    return Motion(step, draw.uniform(1.7, 2.6))
