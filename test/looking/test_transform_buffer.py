from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from fourd_perception.looking.transforms import NoTransform, TransformBuffer
from fourd_perception.stream.frame import SECOND

STILL = (0.0, 0.0, 0.0, 1.0)


def pose(seed: int) -> tuple[list[float], list[float]]:
    random = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(random.normal(0, 1.2, 3)).as_quat()
    return random.normal(0, 2, 3).tolist(), (turn * random.choice([-1, 1])).tolist()


def matrix(place: list[float], turn: list[float]) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = Rotation.from_quat(turn).as_matrix(), place
    return whole


def as_matrix(transform) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = transform.rotation, transform.translation
    return whole


@given(st.integers(0, 2**31))
def test_through_a_tree_it_is_the_product_of_the_matrices(seed):
    """map -> base -> head -> camera, and map -> table."""
    edges = [("map", "base"), ("base", "head"), ("head", "camera"), ("map", "table")]
    poses = {child: pose(seed + number) for number, (_, child) in enumerate(edges)}
    buffer = TransformBuffer()
    for parent, child in edges:
        buffer.put(parent, child, 0, *poses[child], static=True)
    up = matrix(*poses["base"]) @ matrix(*poses["head"]) @ matrix(*poses["camera"])
    expected = np.linalg.inv(matrix(*poses["table"])) @ up
    got = as_matrix(buffer.lookup("table", "camera", 5 * SECOND))
    assert np.allclose(got, expected, atol=1e-9)
    back = as_matrix(buffer.lookup("camera", "table", 5 * SECOND))
    assert np.allclose(back @ got, np.eye(4), atol=1e-9)


@given(st.integers(0, 2**31), st.integers(0, SECOND))
def test_between_two_stamps_it_goes_in_a_line_and_round_by_the_shorter_way(seed, after):
    first, second = pose(seed), pose(seed + 1)
    buffer = TransformBuffer()
    buffer.put("base", "camera", 7 * SECOND, *first)
    buffer.put("base", "camera", 8 * SECOND, *second)
    part = after / SECOND
    turns = Slerp([0, 1], Rotation.from_quat([first[1], second[1]]))
    got = buffer.lookup("base", "camera", 7 * SECOND + after)
    assert np.allclose(got.rotation, turns(part).as_matrix(), atol=1e-6)
    wanted = (1 - part) * np.array(first[0]) + part * np.array(second[0])
    assert np.allclose(got.translation, wanted, atol=1e-9)


def test_nothing_is_extrapolated():
    buffer = TransformBuffer()
    for stamp in (3, 2):  # in any order
        buffer.put("base", "camera", stamp * SECOND, (float(stamp), 0, 0), STILL)
    assert buffer.lookup("base", "camera", 5 * SECOND // 2).translation[0] == 2.5
    with pytest.raises(NoTransform, match="is 1.000 s older than the cloud") as late:
        buffer.lookup("base", "camera", 4 * SECOND)
    assert late.value.later
    with pytest.raises(NoTransform, match="is 1.000 s newer than the cloud") as early:
        buffer.lookup("base", "camera", 1 * SECOND)
    assert not early.value.later


def test_frames_that_are_not_connected_are_named():
    buffer = TransformBuffer()
    with pytest.raises(NoTransform, match="no transform has come yet"):
        buffer.lookup("base", "camera", 0)
    buffer.put("map", "odom", 0, (0, 0, 0), STILL, static=True)
    with pytest.raises(NoTransform, match=r"not connected \(frames: map, odom\)") as caught:
        buffer.lookup("base", "camera", 0)
    assert caught.value.later and caught.value.reason == "no transform from camera to base"


def test_only_the_last_ten_seconds_are_kept_and_after_a_jump_back_only_what_is_new():
    buffer = TransformBuffer()
    for stamp in range(100, 130):
        buffer.put("base", "camera", stamp * SECOND, (float(stamp), 0, 0), STILL)
    assert buffer.lookup("base", "camera", 119 * SECOND).translation[0] == 119
    with pytest.raises(NoTransform):
        buffer.lookup("base", "camera", 118 * SECOND)
    buffer.put("base", "camera", 5 * SECOND, (5.0, 0, 0), STILL)
    assert buffer.lookup("base", "camera", 5 * SECOND).translation[0] == 5
    with pytest.raises(NoTransform):
        buffer.lookup("base", "camera", 119 * SECOND)


def test_a_frame_over_itself_ends_in_a_reason_and_not_in_a_circle():
    buffer = TransformBuffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.put(parent, child, 0, (1, 0, 0), STILL, static=True)
    with pytest.raises(NoTransform):
        buffer.lookup("base", "a", 0)


def test_a_new_parent_takes_the_place_of_the_old_one_and_slashes_do_not_matter():
    buffer = TransformBuffer()
    buffer.put("/base", "/camera", 0, (1, 0, 0), STILL, static=True)
    assert buffer.lookup("base", "camera", 0).translation[0] == 1
    buffer.put("gripper", "camera", 0, (2, 0, 0), STILL, static=True)
    assert buffer.lookup("/gripper", "camera", 0).translation[0] == 2
    with pytest.raises(NoTransform):
        buffer.lookup("base", "camera", 0)


@pytest.mark.parametrize(
    ("parent", "child", "place", "turn"),
    [
        ("a", "b", (0, 0, float("nan")), STILL),
        ("a", "b", (0, 0, 0), (0, 0, 0, 0)),
        ("a", "b", (0, 0, 0), (0, 0, 0, 1.1)),
        ("a", "a", (0, 0, 0), STILL),
        ("", "b", (0, 0, 0), STILL),
    ],
)
def test_what_is_no_transform_is_refused(parent, child, place, turn):
    with pytest.raises(ValueError, match="expected"):
        TransformBuffer().put(parent, child, 0, place, turn)
