"""What the person does with the whole body; written for a left-handed one."""

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
    stand,
    track,
)
from fourd_perception.studio.performer import PARCEL_HALF_HEIGHT, Body, Prop
from fourd_perception.studio.pose import Pose

SEAT_BEHIND = -0.36
"""Where the pelvis of a seated person is, metres from where it is in standing."""


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
        bend_arm(pose, OTHER, (0.7, 0.5, -0.6), 0.9, 0.8 * max(angle, 0.0))
        bend_arm(pose, MAIN, (-0.4, 0.7, -0.7), 0.93, 0.8 * max(angle, 0.0))
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
        reach_for(pose, MAIN, body, carry, carried)
        point_elbow(pose, MAIN, (-0.5, 1.0, -0.3), max(carried, down))
        pose.goals[MAIN] = spot + (0.0, 0.0, 0.25)
        pose.goal_weights[MAIN] = down**1.5
        bend_arm(pose, OTHER, (0.7, 0.15, -1.0), 0.85, 0.7 * down)
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
            bend_arm(pose, side, (0.8, 0.05, -0.7), reach, max(seated, 0.6 * between))
            point_elbow(pose, side, (-0.7, 0.9, -0.3), seated)
        return pose, None

    return Motion(step, draw.uniform(2.6, 3.8), whole=True)


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
                bend_arm(pose, side, (1.0, -0.05, 0.25), 0.96, down)
                point_elbow(pose, side, (-0.2, 0.6, -1.0), down)
            else:
                bend_arm(pose, side, (0.02, 0.1, -1.0), 0.78)
                point_elbow(pose, side, (-0.6, 1.0, 0.0))
        return pose, None

    return Motion(step, draw.uniform(1.5, 2.5), whole=True)


def jump(body: Body, draw: Draw) -> Motion:
    """Crouches, swings the arms and leaves the floor; flight is a free fall."""
    height, arms = draw.uniform(0.10, 0.32), draw.uniform(0.3, 1.0)
    tuck = draw.uniform(0.0, 0.35) * height
    air = 2.0 * np.sqrt(2.0 * height / GRAVITY)
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
            bend_arm(pose, side, (np.sin(swing) + 0.05, 0.22, -np.cos(swing)), 0.95)
            point_elbow(pose, side, (-0.8, 0.6, -0.1))
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
            bend_arm(pose, side, (0.15, 0.35, -1.0), 0.9, 0.8)
        pose.head[2] = way * 0.25 * np.sin(np.pi * min(1.0, 2.0 * turned))
        return pose, None

    return Motion(step, draw.uniform(2.2, 3.4), whole=True)
