from __future__ import annotations

from unittest import mock

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.ops import ball_query as module
from fourd_perception.ops.ball_query import ball_query, ball_query_frames

coordinates = st.sampled_from(np.float32([0.0, 0.1, 0.25, 0.5, -0.5]).tolist())


def by_boxes(*arguments):
    """The path for large clouds and small balls, whatever their size."""
    with mock.patch.object(module, "_boxes_pay", return_value=True):
        return ball_query_frames(*arguments)


def one_by_one(*arguments):
    with mock.patch.object(module, "_boxes_pay", return_value=False):
        return ball_query_frames(*arguments)


def in_pytorch(points, centres, frames, radius, k):
    """The path of other devices, on this one."""
    squared = torch.tensor(radius).square()
    return module._query_torch(points, centres, frames, squared, k)


PATHS = (by_boxes, one_by_one, in_pytorch)


@given(
    arrays(np.float32, (3, 12, 3), elements=coordinates),
    arrays(np.float32, (2, 5, 3), elements=coordinates),
    arrays(np.int64, (2, 3), elements=st.integers(0, 2)),
    st.sampled_from([0.1, 0.25, 0.5, 0.75]),
    st.integers(1, 15),
)
def test_equals_the_textbook_on_every_back_end(points, centres, frames, radius, k):
    expected = [
        [[oracles.ball_query(points[f], centre, radius, k) for centre in some] for f in row]
        for row, some in zip(frames, centres)
    ]
    arguments = torch.from_numpy(points), torch.from_numpy(centres), torch.from_numpy(frames)
    for path in PATHS:
        assert path(*arguments, radius, k).tolist() == expected


@given(
    st.sampled_from(oracles.SHAPES),
    st.integers(0, 1000),
    st.integers(1, 140),
    st.integers(1, 140),
    st.sampled_from([1e-30, 0.02, 0.1, 0.3, 1.0, 1e30, float("inf")]),
    st.integers(1, 20),
)
@settings(max_examples=60)
def test_equals_the_textbook_for_clouds_of_any_shape(shape, seed, count, centres, radius, k):
    points, some = oracles.cloud(shape, 1, count, seed), oracles.cloud(shape, 1, centres, seed + 1)
    looked_at = range(0, centres, 7)  # the oracle is slow
    with np.errstate(over="ignore", under="ignore"):
        expected = [
            oracles.ball_query(points[0].numpy(), some[0, i].numpy(), radius, k) for i in looked_at
        ]
    for path in PATHS:
        found = path(points, some, torch.zeros(1, 1, dtype=torch.int64), radius, k)
        assert found[0, 0, ::7].tolist() == expected


@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("radius", [1e-30, 0.02, 0.25, 1.0, 1e30])
@pytest.mark.parametrize("k", [1, 9, 40])
def test_back_ends_give_the_same_indices(shape, radius, k):
    points, centres = oracles.cloud(shape, 3, 1000), oracles.cloud(shape, 2, 300, seed=1)
    centres[:, :100] = points[:2, :100]
    frames = torch.tensor([[0, 2, 2], [1, 0, 1]])
    on_cpu = by_boxes(points, centres, frames, radius, k)
    assert torch.equal(on_cpu, one_by_one(points, centres, frames, radius, k))
    assert torch.equal(on_cpu, in_pytorch(points, centres, frames, radius, k))


@pytest.mark.parametrize("far", [1e-38, 1e18, 3e38])
def test_paths_agree_where_squares_overflow_or_vanish(far):
    points, centres = oracles.cloud("uniform", 1, 300), oracles.cloud("uniform", 1, 200, seed=1)
    points, centres, frames = far * (points - 0.5), far * (centres - 0.5), torch.zeros(1, 1).long()
    for radius in (1e-30, 0.2 * far, far, float("inf")):
        found = [path(points, centres, frames, radius, 8) for path in PATHS]
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_the_path_is_chosen_by_how_rare_hits_are():
    points = oracles.cloud("uniform", 2, 4096)
    with (
        mock.patch.object(module, "_query_by_boxes") as boxes,
        mock.patch.object(module, "_query_one_by_one") as alone,
    ):
        ball_query(points, points[:, :1024], 0.05, 16)  # 2 hits of 4096
        assert (boxes.call_count, alone.call_count) == (1, 0)
        ball_query(points, points[:, :1024], 0.5, 16)  # 1000 hits and more
        ball_query(points, points[:, :1024], 0.5, 2000)
        ball_query(points, points[:, :64], 0.05, 16)  # too few centres to be near each other
        ball_query(points[:, :256], points[:, :1024], 0.05, 16)  # few points to look at
        assert (boxes.call_count, alone.call_count) == (1, 4)


def test_back_ends_agree_where_the_work_is_cut_into_pieces(monkeypatch):
    points, centres = oracles.cloud("uniform", 2, 70), oracles.cloud("uniform", 2, 530, seed=1)
    frames = torch.tensor([[0, 1], [1, 1]])
    on_cpu = one_by_one(points, centres, frames, 0.3, 8)
    assert torch.equal(on_cpu, by_boxes(points, centres, frames, 0.3, 8))
    monkeypatch.setattr(module, "_AT_ONCE", 2000)
    assert torch.equal(on_cpu, in_pytorch(points, centres, frames, 0.3, 8))


def test_a_query_of_one_cloud_a_group_is_a_query_of_its_frame():
    points, centres = oracles.cloud("uniform", 4, 200), oracles.cloud("uniform", 4, 50, seed=1)
    by_frames = ball_query_frames(points, centres, torch.arange(4)[:, None], 0.2, 5)
    assert torch.equal(ball_query(points, centres, 0.2, 5), by_frames[:, 0])


def test_the_border_is_outside_and_the_first_hits_win():
    points = torch.tensor([[[2.0, 0, 0], [1.0, 0, 0], [0.5, 0, 0], [0.1, 0, 0]]])
    centre = torch.zeros(1, 1, 3)
    assert ball_query(points, centre, 1.0, 3).tolist() == [[[2, 3, 2]]]
    assert ball_query(points, centre, 9.0, 2).tolist() == [[[0, 1]]]
    assert ball_query(points, centre + 50, 1.0, 2).tolist() == [[[0, 0]]]
    assert ball_query(points, centre, float("inf"), 5).tolist() == [[[0, 1, 2, 3, 0]]]


def test_takes_any_memory_layout_and_needs_no_gradient():
    points = torch.randn(2, 3, 50).transpose(1, 2).requires_grad_()
    centres = torch.randn(3, 20, 2).permute(2, 1, 0)
    frames = torch.tensor([[0, 1, 1], [1, 0, 1]])[:, ::2]
    plain = points.detach().contiguous(), centres.contiguous(), frames.contiguous()
    index = ball_query_frames(points, centres, frames, 1.0, 4)
    assert torch.equal(index, ball_query_frames(*plain, 1.0, 4))


def test_no_centres_give_no_indices():
    assert ball_query(torch.zeros(2, 5, 3), torch.zeros(2, 0, 3), 1.0, 4).shape == (2, 0, 4)
    assert ball_query(torch.zeros(0, 5, 3), torch.zeros(0, 3, 3), 1.0, 4).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("points", "centres", "radius", "k", "says"),
    [
        (
            torch.zeros(1, 4, 3),
            torch.zeros(2, 4, 3),
            1.0,
            1,
            "centres: expected 1 of them, .* got 2",
        ),
        (torch.zeros(1, 0, 3), torch.zeros(1, 4, 3), 1.0, 1, "points: expected at least 1"),
        (torch.zeros(4, 3), torch.zeros(1, 4, 3), 1.0, 1, r"points: .*\(4, 3\)"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 2), 1.0, 1, r"centres: .*\(1, 4, 2\)"),
        (torch.zeros(1, 4, 3).half(), torch.zeros(1, 4, 3), 1.0, 1, r"give points.float\(\)"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3).double(), 1.0, 1, r"give centres.float\(\)"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3, device="meta"), 1.0, 1, "centres: .*meta"),
        (torch.zeros(1, 4, 3) / 0, torch.zeros(1, 4, 3), 1.0, 1, "points: expected finite"),
        (torch.zeros(1, 4, 3), torch.ones(1, 4, 3) / 0, 1.0, 1, "centres: expected finite"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), 0.0, 1, "radius: expected more than 0"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), -1.0, 1, "radius: "),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), float("nan"), 1, "radius: .*nan"),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), 1.0, 0, "k: expected at least 1"),
    ],
)
def test_refuses_what_does_not_fit(points, centres, radius, k, says):
    with pytest.raises(ValueError, match=says):
        ball_query(points, centres, radius, k)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([[0, 2]], "frames: expected indices from 0 to 1, got 0 to 2"),
        ([[-1, 0]], "frames: expected indices from 0 to 1, got -1 to 0"),
        ([0, 1], r"frames: expected int64 of 2 dimensions, .*\(2,\)"),
        ([[0.0, 1.0]], "frames: expected int64"),
        ([[0], [1]], "frames: expected 1 of them, as centres has, got 2"),
    ],
)
def test_refuses_frames_that_are_not_there(frames, says):
    with pytest.raises(ValueError, match=says):
        ball_query_frames(torch.zeros(2, 4, 3), torch.zeros(1, 3, 3), torch.tensor(frames), 1.0, 2)
