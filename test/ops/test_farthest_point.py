from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.ops import farthest_point
from fourd_perception.ops.farthest_point import farthest_point_sample

# Few different coordinates: many points coincide, many distances are equal. With 0.02, some are
# what PointNet++ holds for padding.
coordinates = st.sampled_from(np.float32([0.0, 0.02, 0.25, 1.0, -3.0]).tolist())
clouds = st.integers(1, 20).flatmap(lambda n: arrays(np.float32, (2, n, 3), elements=coordinates))


def in_pytorch(points, count, compat=False):
    """The path of other devices, on this one."""
    axes = points.permute(2, 0, 1)
    return farthest_point._sample_torch(axes, farthest_point._at_first(axes, compat), count)


@given(clouds, st.booleans(), st.data())
def test_equals_the_textbook_on_every_back_end(cloud, compat, data):
    count = data.draw(st.integers(1, cloud.shape[1]))
    expected = [oracles.farthest_point_sample(one, count, compat) for one in cloud]
    points = torch.from_numpy(cloud)
    assert farthest_point_sample(points, count, compat=compat).tolist() == expected
    assert in_pytorch(points, count, compat).tolist() == expected


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("points, count", [(64, 64), (65, 40), (777, 300), (3000, 500)])
def test_back_ends_give_the_same_indices(shape, points, count, compat):
    cloud = oracles.cloud(shape, 3, points)
    on_cpu = farthest_point_sample(cloud, count, compat=compat)
    assert torch.equal(on_cpu, in_pytorch(cloud, count, compat))


def test_distances_beyond_float32_are_equally_far():
    points = torch.tensor([[[0.0, 0, 0], [1e30, 0, 0], [2e30, 0, 0], [3.0, 0, 0]]])
    assert farthest_point_sample(points, 4).tolist() == [[0, 1, 2, 3]]
    assert in_pytorch(points, 4).tolist() == [[0, 1, 2, 3]]


def test_sampling_again_from_its_order_takes_a_prefix():
    """What lets a network's later layers sample without searching."""
    points = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(2))
    order = farthest_point_sample(points, 100)
    ordered = points.gather(1, order[:, :, None].expand(-1, -1, 3))
    assert torch.equal(farthest_point_sample(ordered, 40), torch.arange(40).expand(3, -1))


def test_points_that_coincide_are_taken_once_and_then_the_first_is_repeated():
    points = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [2.0, 0, 0]]])
    assert farthest_point_sample(points, 4).tolist() == [[0, 2, 0, 0]]
    assert farthest_point_sample(points[:, :1], 1).tolist() == [[0]]


def test_compat_takes_no_padding_but_to_start():
    padding, near, far = [0.0, 0, 0.03], [0.0, 0, 0.04], [0.0, 0, 1]
    points = torch.tensor([[padding, padding, near, far], [padding, padding, padding, padding]])
    assert farthest_point_sample(points, 4, compat=True).tolist() == [[0, 3, 2, 2], [0, 0, 0, 0]]
    assert farthest_point_sample(points, 3).tolist() == [[0, 3, 2], [0, 0, 0]]


def test_takes_any_memory_layout_and_needs_no_gradient():
    points = torch.randn(2, 3, 50).transpose(1, 2).requires_grad_()
    assert torch.equal(
        farthest_point_sample(points, 10), farthest_point_sample(points.detach().contiguous(), 10)
    )


def test_no_clouds_give_no_indices():
    assert farthest_point_sample(torch.zeros(0, 5, 3), 2).shape == (0, 2)


@pytest.mark.parametrize(
    ("points", "count", "says"),
    [
        (torch.zeros(2, 5, 3), 6, "count: expected 1 to 5"),
        (torch.zeros(2, 5, 3), 0, "count: expected 1 to 5"),
        (torch.zeros(2, 0, 3), 0, "points: expected at least 1"),
        (torch.zeros(5, 3), 1, r"points: expected \(B, N, 3\), got \(5, 3\)"),
        (torch.zeros(2, 5, 4), 1, r"points: .*\(2, 5, 4\)"),
        (torch.zeros(2, 5, 3, dtype=torch.float64), 1, r"float64; give points.float\(\)"),
        (torch.zeros(2, 5, 3).half(), 1, "float16"),
        (torch.full((2, 5, 3), torch.nan), 1, "points: expected finite"),
        (torch.tensor([[[0.0, torch.inf, 0]]]), 1, "points: expected finite"),
        (torch.tensor([[[0.0, 0, 0], [0, -torch.inf, torch.nan]]]), 1, "points: expected finite"),
    ],
)
def test_refuses_what_does_not_fit(points, count, says):
    with pytest.raises(ValueError, match=says):
        farthest_point_sample(points, count)
