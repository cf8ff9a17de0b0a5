"""Whom `Look` shows of several bodies, and whether it stays with them."""

from __future__ import annotations

import numpy as np
import pytest
from rooms import frame, put_body

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.stream.frame import Frame


def nothing() -> np.ndarray:
    """Depth of an empty view that returns nothing."""
    return np.full((48, 64), 50.0, np.float32)


def see(look: Look, number: int, *bodies: dict[str, float]) -> tuple[Frame, list[np.ndarray]]:
    """A frame with these bodies, the nearer before the farther; and where each is seen."""
    depth = nothing()
    where = [put_body(depth, **body) for body in sorted(bodies, key=lambda one: -one["z"])]
    where = [mask & (depth == np.float32(body["z"])) for mask, body in zip(
        where, sorted(bodies, key=lambda one: -one["z"]))]  # fmt: skip
    depth[depth == 50.0] = 0
    [sight] = look.push(frame(number, depth))
    by_body = {body["z"]: mask for mask, body in zip(
        where, sorted(bodies, key=lambda one: -one["z"]))}  # fmt: skip
    return sight.frame, [by_body[body["z"]] for body in bodies]


def is_shown(shown: Frame, mask: np.ndarray) -> bool:
    return np.array_equal(shown.shown, mask.ravel())


NEAR, FAR = {"x": -0.5, "z": 2.2}, {"x": 0.6, "z": 3.2}


def test_the_nearest_person_is_shown_alone():
    shown, (near, _) = see(Look(LookConfig(person="nearest")), 0, NEAR, FAR)
    assert is_shown(shown, near)


def test_the_largest_person_is_shown_alone():
    child = {**NEAR, "high": 0.8, "wide": 0.3}
    shown, (_, far) = see(Look(LookConfig(person="largest")), 0, child, FAR)
    assert is_shown(shown, far)


@pytest.mark.parametrize(
    "other",
    [
        {"x": -0.5, "z": 1.2, "high": 0.3, "wide": 0.3},  # a hand's size
        {"x": 0.0, "z": 3.9, "high": 2.7, "wide": 4.1},  # a wall
    ],
)
def test_what_has_not_a_persons_size_is_none(other):
    shown, (person, _) = see(Look(LookConfig(person="nearest")), 0, FAR, other)
    assert is_shown(shown, person)


def test_where_nobody_is_nothing_is_shown():
    look = Look(LookConfig(person="nearest"))
    shown, _ = see(look, 0, {"x": 0.0, "z": 3.9, "high": 2.7, "wide": 4.1})
    assert not shown.shown.any() and look.values()["look: person"] == "nobody"


def test_the_same_person_is_followed_when_another_comes_nearer():
    look = Look(LookConfig(person="nearest"))
    for number in range(20):
        passing = {"x": 0.9, "z": 3.2 - 0.1 * number}
        shown, (person, _) = see(look, number, {"x": -0.5, "z": 2.21}, passing)
        assert is_shown(shown, person) and not shown.begins
    assert look.values()["look: person"].endswith("1 others") and look.restarts == 0


def test_two_who_cross_are_not_mixed_up():
    """Their pictures overlap; one is 0.9 m behind the other."""
    look = Look(LookConfig(person="nearest"))
    for number in range(30):
        walking = {"x": -0.7 + 0.05 * number, "z": 2.25}
        shown, (person, _) = see(look, number, walking, {"x": 0.8 - 0.05 * number, "z": 3.15})
        assert is_shown(shown, person) and not shown.begins


def test_a_hand_before_the_chest_is_theirs():
    hand = {"x": -0.45, "z": 1.95, "high": 0.2, "wide": 0.2}
    shown, masks = see(Look(LookConfig(person="nearest")), 0, NEAR, hand)
    assert is_shown(shown, masks[0] | masks[1])


def test_who_is_hidden_for_a_moment_is_the_same():
    look = Look(LookConfig(person="nearest"))
    see(look, 0, FAR)
    for number in range(1, 9):
        shown, _ = see(look, number)
        assert not shown.shown.any()
    shown, (person,) = see(look, 9, FAR)
    assert is_shown(shown, person) and not shown.begins


def test_who_comes_after_them_is_somebody_else_and_windows_begin_with_them():
    look = Look(LookConfig(person="nearest"))
    see(look, 0, NEAR)
    for number in range(1, 9):
        shown, (other,) = see(look, number, FAR)  # 1.5 m away, at once: not them
        assert not shown.shown.any()
    shown, (other,) = see(look, 15, FAR)
    assert is_shown(shown, other)
    assert shown.begins == look.restart_reason == "somebody else is followed"
    assert not see(look, 16, FAR)[0].begins


def test_the_first_person_of_a_stream_begins_nothing():
    look = Look(LookConfig(person="nearest"))
    see(look, 0)
    assert not see(look, 1, NEAR)[0].begins and look.restarts == 0


def test_who_leans_on_a_wall_is_what_is_where_they_stood():
    look = Look(LookConfig(person="nearest"))
    shown, (person,) = see(look, 0, {"x": 0.0, "z": 3.0, "wide": 0.6})
    board = {"x": 0.0, "z": 3.06, "high": 2.4, "wide": 3.2}
    shown, masks = see(look, 1, {"x": 0.0, "z": 3.0, "wide": 0.6}, board)
    assert is_shown(shown, masks[0]) and np.array_equal(masks[0], person)
