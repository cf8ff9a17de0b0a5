"""Several people who are followed at once: by whom each body is taken, and what they are called."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rooms import RATE, frame, put_body

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.looking.people import assign
from fourd_perception.stream.frame import SECOND, Frame, Person

CONFIG = LookConfig(person="nearest", people=3)


def see(look: Look, number: int, *bodies: dict[str, float]) -> tuple[Frame, list[np.ndarray]]:
    """A frame with these bodies, and the (N,) points of each that are seen, in their order."""
    depth, owner = np.full((48, 64), 50.0, np.float32), np.full((48, 64), -1)
    for index in sorted(range(len(bodies)), key=lambda one: -bodies[one]["z"]):
        owner[put_body(depth, **bodies[index])] = index
    depth[owner < 0] = 0
    [sight] = look.push(frame(number, depth))
    return sight.frame, [(owner == index).ravel() for index in range(len(bodies))]


def people(seen: Frame) -> tuple[Person, ...]:
    assert seen.people is not None
    return seen.people


def numbers(seen: Frame) -> list[int]:
    return [one.number for one in people(seen)]


def whose(seen: Frame, mask: np.ndarray) -> int:
    """The number of who is shown exactly these points."""
    [found] = [one.number for one in people(seen) if np.array_equal(one.shown, mask)]
    return found


LEFT, RIGHT = {"x": -0.7, "z": 2.4}, {"x": 0.7, "z": 2.8}
AWAY = {"x": 0.1, "z": 3.4, "wide": 0.3}


# Who takes which body.


def best_by_trying(distances: np.ndarray, reaches: np.ndarray) -> float:
    """The most that any way to pair tracks with bodies gives, all ways tried."""
    tracks, bodies = distances.shape
    places = [*range(bodies), *[None] * tracks]
    best = 0.0
    for chosen in set(permutations(places, tracks)):
        pairs = [(t, b) for t, b in enumerate(chosen) if b is not None]
        if all(distances[t, b] < reaches[t] for t, b in pairs):
            best = max(best, sum(1 - distances[t, b] / reaches[t] for t, b in pairs))
    return best


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tracks=st.integers(1, 4), bodies=st.integers(1, 4))
def test_no_way_to_pair_is_better_than_the_one_taken(seed: int, tracks: int, bodies: int):
    random = np.random.default_rng(seed)
    spots = random.uniform(0, 1.2, (tracks, 2)), random.uniform(0, 1.2, (bodies, 2))
    distances = np.linalg.norm(spots[0][:, None] - spots[1], axis=2)
    reaches = random.uniform(0.3, 0.8, tracks)
    pairs = assign(distances, reaches)
    assert len({t for t, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert all(distances[t, b] < reaches[t] for t, b in pairs)
    got = sum(1 - distances[t, b] / reaches[t] for t, b in pairs)
    assert got == pytest.approx(best_by_trying(distances, reaches), abs=1e-9)


def test_who_was_hidden_takes_no_body_from_one_who_stands_there():
    # The first could have come 0.4 m, the second stands 0.05 m from where they were.
    assert assign(np.array([[0.4], [0.05]]), np.array([0.8, 0.37])) == [(1, 0)]


# Numbers.


def test_each_is_shown_alone_from_the_third_frame_on_and_the_nearest_leads():
    look = Look(CONFIG)
    assert [numbers(see(look, number, LEFT, RIGHT)[0]) for number in range(2)] == [[], []]
    seen, (left, right) = see(look, 2, LEFT, RIGHT)
    assert numbers(seen) == [1, 2]
    assert np.array_equal(seen.shown, left | right)
    leads = [one for one in people(seen) if one.leads]
    assert [one.number for one in leads] == [whose(seen, left)]
    for one, mask in zip(people(seen), (left, right)):
        points = seen.points[mask]
        assert np.allclose([one.low, one.high], [points.min(axis=0), points.max(axis=0)])


def test_the_largest_leads_where_that_is_asked_for():
    child = {**LEFT, "high": 0.8, "wide": 0.3}
    look = Look(LookConfig(person="largest", people=2))
    seen = [see(look, number, child, RIGHT) for number in range(3)][-1]
    assert [one.number for one in people(seen[0]) if one.leads] == [whose(seen[0], seen[1][1])]


def test_no_more_are_followed_than_asked_for_and_then_the_nearest_first():
    look = Look(LookConfig(person="nearest", people=2))
    for number in range(6):
        seen, (left, right, away) = see(look, number, LEFT, RIGHT, AWAY)
    assert {whose(seen, left), whose(seen, right)} == {1, 2} == set(numbers(seen))
    assert not (seen.shown & away).any()
    assert look.values()["look: people"].endswith("1 others")


def test_people_who_cross_at_0_6_m_keep_their_numbers_and_all_their_points():
    """At 10 Hz and 0.8 m/s, one before the other, whom they hide for a while."""
    look = Look(CONFIG)
    first: dict[int, int] = {}
    for number in range(40):
        bodies = (
            {"x": -0.9 + 0.05 * number, "z": 2.4, "wide": 0.45},
            {"x": 0.9 - 0.05 * number, "z": 3.0, "wide": 0.45},
        )
        seen, masks = see(look, number, *bodies)
        for index, mask in enumerate(masks):
            if number < 3 or mask.sum() < 200:  # hidden, all or mostly
                continue
            assert first.setdefault(index, whose(seen, mask)) == whose(seen, mask), number
    assert sorted(first.values()) == [1, 2] == numbers(seen)


def test_who_is_hidden_for_less_than_a_second_is_the_same():
    look = Look(CONFIG)
    for number in range(3):
        see(look, number, LEFT, RIGHT)
    for number in range(3, 12):
        seen, (left,) = see(look, number, LEFT)
        assert numbers(seen) == [1, 2] and whose(seen, left) == 1
        assert not people(seen)[1].shown.any()
    seen, (left, right) = see(look, 12, LEFT, RIGHT)
    assert (whose(seen, left), whose(seen, right)) == (1, 2)


def test_who_leaves_and_comes_back_has_a_new_number_and_leads_no_more():
    look = Look(CONFIG)
    for number in range(3):
        see(look, number, LEFT, RIGHT)
    for number in range(3, 15):
        seen, _ = see(look, number, RIGHT)
    assert numbers(seen) == [2] and people(seen)[0].leads
    for number in range(15, 18):
        seen, (left, right) = see(look, number, LEFT, RIGHT)
    assert (whose(seen, left), whose(seen, right)) == (3, 2)
    assert [one.number for one in people(seen) if one.leads] == [2]
    assert look.restarts == 0  # the others' windows go on


def test_numbers_are_not_used_again_after_time_has_jumped_or_all_was_forgotten():
    look = Look(CONFIG)
    for number in range(3):
        see(look, number, LEFT)
    for number in range(500, 503):  # a gap: all is forgotten
        seen, _ = see(look, number, LEFT)
    assert numbers(seen) == [2]
    look.clear()
    for number in range(3):
        seen, _ = see(look, number, LEFT)
    assert numbers(seen) == [3]


def test_a_flicker_is_nobody():
    look = Look(CONFIG)
    for number in range(12):
        bodies = [LEFT] if number % 3 else [LEFT, RIGHT]
        seen, _ = see(look, number, *bodies)
    assert numbers(seen) == [1]


# Bodies that hang together.


def test_two_who_touch_are_each_what_is_where_they_were_and_two_again_afterwards():
    look = Look(CONFIG)
    one, other = {"x": -0.5, "z": 2.5}, {"x": 0.5, "z": 2.55}
    arms = {"x": 0.0, "z": 2.52, "high": 0.15, "wide": 0.6}
    for number in range(3):
        seen, masks = see(look, number, one, other)
    called = [whose(seen, mask) for mask in masks]
    for number in range(3, 30):  # much longer than whoever is not seen is waited for
        seen, (left, right, between) = see(look, number, one, other, arms)
        assert numbers(seen) == [1, 2]
        by_number = {one.number: one.shown for one in people(seen)}
        for mask, number_of in zip((left, right), called):
            mine = by_number[number_of]
            assert (mine & mask).sum() > 0.9 * mask.sum()
            assert not (mine & ~mask & ~between).any()
    for number in range(30, 33):
        seen, masks = see(look, number, one, other)
    assert [whose(seen, mask) for mask in masks] == called


def test_a_hand_between_two_is_the_nearer_ones():
    look = Look(CONFIG)
    hand = {"x": -0.28, "z": 2.15, "high": 0.2, "wide": 0.2}
    for number in range(4):
        seen, (left, right, hands) = see(look, number, LEFT, RIGHT, hand)
    assert whose(seen, left | hands) == 1 and whose(seen, right) == 2


@pytest.mark.parametrize("x", [-0.06, 0.06])
def test_a_hand_beside_both_is_the_nearer_ones(x: float):
    look = Look(CONFIG)
    bodies = {"x": -0.45, "z": 2.5}, {"x": 0.45, "z": 2.5}
    for number in range(4):
        seen, masks = see(look, number, *bodies, {"x": x, "z": 2.2, "high": 0.2, "wide": 0.12})
    assert masks[2].any()
    mine, other = masks[:2] if x < 0 else masks[1::-1]
    assert {whose(seen, mine | masks[2]), whose(seen, other)} == {1, 2}


def test_who_was_half_hidden_while_they_walked_on_is_the_same():
    look = Look(CONFIG)
    for number in range(3):
        see(look, number, {"x": 0.0, "z": 3.0})
    for number in range(3, 6):  # what is left of them is too small to be a person
        seen, (rest,) = see(look, number, {"x": 0.0, "z": 3.0, "high": 0.5, "wide": 0.5})
        assert whose(seen, rest) == 1
    seen, (whole,) = see(look, 6, {"x": 0.6, "z": 3.0})
    assert whose(seen, whole) == 1


def test_who_is_hidden_as_they_walk_is_looked_for_along_their_way():
    look = Look(CONFIG)
    for number in range(10):
        seen, (walking,) = see(look, number, {"x": -1.0 + 0.1 * number, "z": 3.0})
    assert whose(seen, walking) == 1
    for number in range(10, 18):
        see(look, number)
    seen, (walking,) = see(look, 18, {"x": 0.8, "z": 3.0})
    assert whose(seen, walking) == 1


@pytest.mark.parametrize(("high", "called"), [(0.75, [1]), (1.1, [])])
def test_legs_that_are_left_do_not_say_where_somebody_is(high: float, called: list[int]):
    """But what is more than half of them does: from there the next body is too far away."""
    across, down = np.meshgrid(np.linspace(-0.25, 0.25, 11), np.linspace(-0.8, 0.8, 33))
    whole = np.stack((across, down, np.full(across.shape, 3.0)), -1).reshape(-1, 3)
    look = Look(CONFIG)
    for number in range(5):
        points = whole if number < 4 else whole[whole[:, 1] > 0.8 - high]
        [sight] = look.push(Frame(number * SECOND // 10, "camera", points.astype(np.float32)))
        [person] = people(sight.frame) if number > 1 else [None]
        assert person is None or person.shown.all()
    moved = (whole + [0.62, 0, 0]).astype(np.float32)
    [sight] = look.push(Frame(SECOND // 2, "camera", moved))
    assert [one.number for one in people(sight.frame) if one.shown.all()] == called


def test_of_two_who_touch_side_by_side_at_a_slant_no_point_is_shown_twice():
    """The boxes that they were last seen in overlap."""
    along, high = np.meshgrid(np.linspace(0, 0.9, 19), np.linspace(-0.6, 0.6, 25))
    one = np.stack((along - 0.5, high, along + 2.0), -1).reshape(-1, 3)
    other = one + [0.55, 0, 0]
    bridge = np.stack([np.linspace(-0.05, 0.5, 12), np.zeros(12), np.full(12, 2.45)], -1)
    look = Look(CONFIG)
    for number in range(12):
        parts = [one, other] if number < 3 else [one, other, bridge]
        points = np.concatenate(parts).astype(np.float32)
        [sight] = look.push(Frame(number * SECOND // 10, "camera", points))
        found = people(sight.frame)
        if number >= 2:
            assert numbers(sight.frame) == [1, 2]
            first, second = (person.shown for person in found)
            assert not (first & second).any()
            own = {bool(mask[: len(one)].mean() > 0.5) for mask in (first, second)}
            assert own == {True, False} and first.sum() > 200 and second.sum() > 200


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), limit=st.integers(2, 4))
def test_however_they_walk_no_point_is_shown_of_two_and_numbers_only_grow(
    seed: int, count: int, limit: int
):
    random = np.random.default_rng(seed)
    spots = np.column_stack((random.uniform(-1.2, 1.2, count), random.uniform(2.0, 3.8, count)))
    look = Look(LookConfig(person="nearest", people=limit))
    gone: set[int] = set()
    before: set[int] = set()
    for number in range(40):
        spots += random.normal(0, 0.08, spots.shape)
        there = random.random(count) > 0.1
        bodies = [{"x": float(x), "z": float(z)} for x, z in spots[there]]
        seen, _ = see(look, number, *bodies)
        found = people(seen)
        assert len(found) <= limit and sum(one.leads for one in found) == bool(found)
        shown = [one.shown.astype(int) for one in found]
        assert np.sum([np.zeros(48 * 64, int), *shown], axis=0).max() <= 1
        now = {one.number for one in found}
        assert len(now) == len(found) and not now & gone
        assert all(new > max(before | gone, default=0) for new in now - before)
        gone |= before - now
        before = now


# Setting it up, and what it takes.


def test_one_person_goes_the_way_it_always_went():
    """What `PersonFollower` says, and nobody is told apart."""
    look = Look(LookConfig(person="nearest", people=1))
    for number in range(5):
        seen, (left, _) = see(look, number, LEFT, RIGHT)
        assert np.array_equal(seen.shown, left) and seen.people is None


def test_several_people_without_saying_whom_first_are_refused():
    with pytest.raises(ValueError, match="people: to follow 2 .* set person to nearest"):
        LookConfig(people=2)


def test_what_is_kept_does_not_grow_with_the_people_who_came_and_went():
    look = Look(CONFIG)
    number = 0
    for _ in range(60):
        for _ in range(4):
            seen, _ = see(look, number, LEFT)
            number += 1
        number += round(1.2 * RATE)  # longer than anybody is waited for
    assert numbers(seen) == [60]
    assert look._people is not None and len(look._people._tracks) == 1
