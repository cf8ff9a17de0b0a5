"""What is learnt as background, seen through `Look`: what it shows of the frames after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rooms import CAMERA, WALL, frame, put_body, wall

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import LEARNING, Look

ONE_SECOND = LookConfig(background_seconds=1.0)
BY_VOXELS = replace(ONE_SECOND, background_method="voxels")


def shown(look: Look, number: int, depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: what is shown of a frame."""
    [sight] = look.push(frame(number, depth))
    return sight.frame.shown.reshape(depth.shape)


def learnt(config: LookConfig = ONE_SECOND, first: int = 0) -> tuple[Look, int]:
    """A Look that knows the wall, and the number of the next frame."""
    look = Look(config)
    for number in range(first, first + 11):
        assert look.push(frame(number, wall(number))) == []
    return look, first + 11


def test_nothing_comes_out_while_it_learns_and_it_says_how_far_it_is():
    look, states = Look(ONE_SECOND), []
    for number in range(11):
        assert look.push(frame(number, wall(number))) == []
        states.append(look.state)
    assert states[0] == "learning background 0.0/1 s" and states[4].startswith("learning")
    assert states[4] == "learning background 0.4/1 s"
    assert states[-1] == "" and look.skipped == {LEARNING: 11}
    assert look.values()["look: background"] == "learnt"


@pytest.mark.parametrize("config", [ONE_SECOND, BY_VOXELS])
def test_who_stands_before_it_is_shown_and_the_noisy_wall_is_not(config):
    look, number = learnt(config)
    depth = wall(number)
    body = put_body(depth, x=0.2, z=2.5)
    assert body.sum() > 300
    assert np.array_equal(shown(look, number, depth), body)
    assert not shown(look, number + 1, wall(number + 1)).any()


def test_clouds_without_rows_are_learnt_by_voxels():
    look = Look(ONE_SECOND)
    random = np.random.default_rng(0)
    for number in range(11):
        one = frame(number, wall(number), organised=False)
        assert look.push(replace(one, points=random.permutation(one.points)[:2500])) == []
    depth = wall(11)
    body = put_body(depth, x=0.2, z=2.5)
    order = random.permutation(depth.size)
    one = frame(11, depth, organised=False)
    [sight] = look.push(replace(one, points=one.points[order]))
    assert np.array_equal(sight.frame.shown, body.ravel()[order])


def test_the_margin_grows_with_the_range():
    """At 4 m: 0.05 + 0.005 * 16 = 0.13 m in front of the wall (seen head-on, in the middle)."""
    look, number = learnt()
    near, far = wall(number, 0.0), wall(number + 1, 0.0)
    near[23, 31], far[23, 31] = WALL - 0.16, WALL - 0.09
    assert shown(look, number, near)[23, 31]
    assert not shown(look, number + 1, far).any()


def test_somebody_who_walks_by_while_it_learns_is_no_background():
    look = Look(ONE_SECOND)
    for number in range(11):
        depth = wall(number)
        put_body(depth, x=-1.0 + 0.25 * number, z=2.5, wide=0.3)
        look.push(frame(number, depth))
    depth = wall(11)
    body = put_body(depth, x=0.0, z=2.5)
    assert np.array_equal(shown(look, 11, depth), body)


def test_somebody_who_stood_there_is_background_only_until_they_have_gone():
    look = Look(ONE_SECOND)
    for number in range(11):
        depth = wall(number)
        stood = put_body(depth, x=0.0, z=2.5)
        look.push(frame(number, depth))
    for number in range(11, 23):
        assert not shown(look, number, wall(number)).any()  # behind what is known
    depth = wall(23)
    put_body(depth, x=0.0, z=3.0)
    assert shown(look, 23, depth)[stood & (depth == 3.0)].all()


def test_what_is_new_never_becomes_background_unless_it_is_told_to():
    for absorb, seen_at_last in ((0.0, True), (2.0, False)):
        look, number = learnt(replace(ONE_SECOND, background_absorb=absorb))
        for later in range(number, number + 25):
            depth = wall(later)
            body = put_body(depth, x=0.0, z=2.5)
            found = shown(look, later, depth)
        assert found[body].all() == seen_at_last and found[body].any() == seen_at_last


def test_who_moves_is_not_absorbed():
    look, number = learnt(replace(ONE_SECOND, background_absorb=1.0))
    for later in range(number, number + 40):
        depth = wall(later)
        body = put_body(depth, x=0.0, z=2.5 + 0.3 * (later % 2))
        assert np.array_equal(shown(look, later, depth), body)


def test_a_pixel_that_flickers_between_the_sides_of_an_edge_is_background():
    def edge(number: int) -> np.ndarray:
        depth = wall(number)
        depth[:, :20] = 2.5
        depth[::3, 20] = 2.5 if number % 4 == 3 else WALL  # seldom, so the median is the far side
        return depth

    look = Look(ONE_SECOND)
    for number in range(11):
        look.push(frame(number, edge(number)))
    for number in range(11, 20):
        assert not shown(look, number, edge(number)).any()


def test_where_nothing_returned_whatever_returns_is_new():
    look = Look(ONE_SECOND)
    empty = np.zeros((48, 64), np.float32)
    for number in range(11):
        look.push(frame(number, empty))
    body = put_body(depth := np.full_like(empty, 9.0), x=0.0, z=2.5)
    depth[~body] = 0
    assert np.array_equal(shown(look, 11, depth), body)


def test_a_wall_that_drifts_slowly_stays_background():
    """A sensor that warms up: 0.2 m in 40 s, more than the margin."""
    look, number = learnt()
    for later in range(number, number + 400):
        depth = wall(later) - np.float32(0.0005 * (later - number))
        assert not shown(look, later, depth).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: replace(one, frame_id="other"), "frame_id changed from 'camera' to 'other'"),
        (lambda one: replace(one, points=one.points[:1536], rows=24), "from 64 x 48 to 64 x 24"),
        (lambda one: replace(one, rows=1), "from 64 x 48 to not organised"),
    ],
)
def test_another_camera_is_learnt_anew(change, reason):
    look, number = learnt()
    assert look.push(frame(number, wall(number)))
    assert look.push(change(frame(number + 1, wall(number + 1)))) == []
    assert reason in look.restart_reason and look.state.startswith("learning")
    assert look.restarts == 1
    for later in range(number + 2, number + 13):
        ready = look.push(change(frame(later, wall(later))))
    assert reason in ready[0].frame.begins


@pytest.mark.parametrize(("to", "reason"), [(-50, "time jumped back by 6.2 s"), (200, "no frame")])
def test_after_a_jump_of_time_it_is_learnt_anew(to, reason):
    look, number = learnt()
    assert look.push(frame(number, wall(number)))
    assert look.push(frame(number + to, wall(0))) == []
    assert look.state.startswith("learning")
    assert look.restart_reason.startswith(reason.split(" by")[0])


def test_a_short_pause_is_no_reason_to_learn_anew():
    look, number = learnt()
    assert look.push(frame(number + 50, wall(0)))
    assert look.restarts == 0


def test_when_the_camera_is_moved_it_is_learnt_anew():
    look, number = learnt()
    ready = [look.push(frame(later, wall(later) - 1.5)) for later in range(number, number + 12)]
    assert ready[0] and not ready[-1]
    assert "camera has moved" in look.restart_reason


def test_somebody_who_fills_half_the_picture_does_not_pass_for_a_moved_camera():
    look, number = learnt()
    for later in range(number, number + 30):
        depth = wall(later)
        depth[:, :32] = 1.0
        assert shown(look, later, depth)[:, :31].all()
    assert look.restarts == 0


def test_pixels_of_clouds_without_rows_are_refused_with_a_remedy():
    look = Look(replace(ONE_SECOND, background_method="pixels"))
    assert look.push(frame(0, wall(0), organised=False)) == []
    [line] = look.said()
    assert line.startswith("1 frames left out: not organised: background_method pixels needs")
    assert "set it to voxels or auto" in line
    assert CAMERA.width * CAMERA.height == 3072 and "3072 points in one row" in line
