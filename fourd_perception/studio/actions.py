"""What the person can do. An action draws its variation once; then it is a function of time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fourd_perception.studio.boxes import BOX_ACTIONS
from fourd_perception.studio.exercises import jump, kick, pick_up, sit_down, squat, turn_around
from fourd_perception.studio.gestures import (
    clap,
    drink,
    idle,
    point,
    punch,
    raise_arms,
    throw,
    wave_hand,
)
from fourd_perception.studio.motion import Action
from fourd_perception.studio.performer import Body, Prop
from fourd_perception.studio.pose import Pose, blend

ACTIONS: dict[str, Action] = {
    action.__name__: action
    for action in (
        idle, wave_hand, raise_arms, clap, punch, kick, pick_up, sit_down, squat, jump,
        turn_around, drink, throw, point,
    )
}  # fmt: skip

_ALL = ACTIONS | BOX_ACTIONS


TRANSITION = 0.5
"""Seconds in which a pose goes over into the next action's; they belong to the next action."""


class Performance:
    """One action as one person does it at one time: with a side, a pace and a small unrest."""

    def __init__(self, action: str, body: Body, random: np.random.Generator) -> None:
        self._motion = _ALL[action](body, random)
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


def transition(
    performance: Performance, seconds: float, before: tuple[Performance, float] | None
) -> tuple[Pose, Prop | None]:
    """The pose at `seconds`; within TRANSITION the performance before goes on and fades out."""
    pose, prop = performance.at(seconds)
    if before is None or seconds >= TRANSITION:
        return pose, prop
    weight = (1.0 - np.cos(np.pi * max(seconds, 0.0) / TRANSITION)) / 2.0
    last, end = before
    old, old_prop = last.at(end + seconds)
    for name in ("heading", "steps"):  # the short way round
        turns = np.round((getattr(old, name) - getattr(pose, name)) / (2 * np.pi))
        setattr(old, name, getattr(old, name) - 2 * np.pi * turns)
    return blend(old, pose, weight), prop if weight > 0.5 else old_prop


def _mirrored(prop: Prop) -> Prop:
    flip = np.array([1.0, -1.0, 1.0])
    return replace(
        prop,
        side=1 - prop.side,
        place=None if prop.place is None else prop.place * flip,
        up=None if prop.up is None else prop.up * flip,
    )
