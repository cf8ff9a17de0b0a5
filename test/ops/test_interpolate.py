from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.ops import interpolate as module
from fourd_perception.ops.interpolate import interpolate, k_nearest

coordinates = st.sampled_from(np.float32([0.0, 0.1, 0.25, 0.5, -0.5]).tolist())
clouds = st.integers(1, 12).flatmap(lambda n: arrays(np.float32, (2, n, 3), elements=coordinates))
centres = arrays(np.float32, (2, 5, 3), elements=coordinates)


@given(clouds, centres, st.data())
def test_nearest_equal_the_textbook_on_every_back_end(points, centres, data):
    k = data.draw(st.integers(1, points.shape[1]))
    expected = [
        [oracles.k_nearest(cloud, centre, k) for centre in some]
        for cloud, some in zip(points, centres)
    ]
    arguments = torch.from_numpy(points), torch.from_numpy(centres), k
    for distance, index in (k_nearest(*arguments), module._nearest_torch(*arguments)):
        assert distance.tolist() == [[one[0] for one in some] for some in expected]
        assert index.tolist() == [[one[1] for one in some] for some in expected]


@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("points, k", [(32, 32), (33, 3), (500, 1), (2000, 20)])
def test_back_ends_give_the_same_neighbours(shape, points, k):
    cloud, centres = oracles.cloud(shape, 2, points), oracles.cloud(shape, 2, 300, seed=1)
    centres[:, :30] = cloud[:, :30]
    centres[:, 30] = -1e5
    distance, index = k_nearest(cloud, centres, k)
    plain_distance, plain_index = module._nearest_torch(cloud, centres, k)
    assert torch.equal(distance, plain_distance)
    assert torch.equal(index, plain_index)


def test_back_ends_agree_where_the_work_is_cut_into_pieces(monkeypatch):
    points, centres = oracles.cloud("grid", 2, 70), oracles.cloud("grid", 2, 530, seed=1)
    index = k_nearest(points, centres, 4)[1]
    monkeypatch.setattr(module, "_AT_ONCE", 2000)
    assert torch.equal(index, module._nearest_torch(points, centres, 4)[1])


def test_distances_beyond_float32_are_equally_far():
    points, centre = torch.tensor([[[2e30, 0, 0], [1e30, 0, 0], [3.0, 0, 4]]]), torch.zeros(1, 1, 3)
    for distance, index in (k_nearest(points, centre, 3), module._nearest_torch(points, centre, 3)):
        assert index.tolist() == [[[2, 0, 1]]]
        assert distance.tolist() == [[[5.0, torch.inf, torch.inf]]]


@given(clouds, centres, st.integers(1, 4))
def test_interpolation_equals_the_textbook_on_every_back_end(points, targets, channels):
    values = np.random.default_rng(0).normal(size=(*points.shape[:2], channels))
    values = values.astype(np.float32)
    expected = [
        [oracles.interpolate(value, cloud, target) for target in some]
        for value, cloud, some in zip(values, points, targets)
    ]
    arguments = [torch.from_numpy(one) for one in (values, points, targets)]
    torch.testing.assert_close(
        interpolate(*arguments), torch.tensor(np.array(expected)).float(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("points, channels", [(1, 3), (2, 1), (50, 130)])
def test_values_and_gradients_equal_those_of_plain_pytorch(points, channels):
    cloud, targets = oracles.cloud("grid", 2, points), oracles.cloud("grid", 2, 300, seed=1)
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, channels, points, generator=generator).transpose(1, 2)
    upstream = torch.randn(2, 300, channels, generator=generator)
    distance, index = k_nearest(cloud, targets, min(3, points))
    weight = torch.nn.functional.normalize(1 / (distance + 1e-8), p=1, dim=2)
    ours, plain = (values.clone().requires_grad_() for _ in range(2))
    out = interpolate(ours, cloud, targets)
    expected = module._weighted_sum(plain, weight, index)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        torch.autograd.grad(out, ours, upstream), torch.autograd.grad(expected, plain, upstream)
    )


def test_a_target_on_a_point_gets_its_value_and_one_between_two_the_mean():
    points = torch.tensor([[[0.0, 0, 0], [2.0, 0, 0]]])
    values = torch.tensor([[[1.0, 10.0], [3.0, 30.0]]])
    targets = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]])
    torch.testing.assert_close(
        interpolate(values, points, targets), torch.tensor([[[1.0, 10.0], [2.0, 20.0]]])
    )


def test_takes_any_memory_layout_and_needs_no_gradient_of_places():
    points = torch.randn(2, 3, 50).transpose(1, 2).requires_grad_()
    targets = torch.randn(3, 20, 2).permute(2, 1, 0)
    values = torch.randn(50, 2, 4).transpose(0, 1)
    plain = points.detach().contiguous(), targets.contiguous()
    out = interpolate(values, points, targets)
    assert not out.requires_grad
    assert torch.equal(out, interpolate(values.contiguous(), *plain))
    assert torch.equal(k_nearest(points, targets, 5)[1], k_nearest(*plain, 5)[1])


def test_no_targets_give_no_values():
    assert interpolate(torch.ones(2, 5, 4), torch.zeros(2, 5, 3), torch.zeros(2, 0, 3)).shape == (
        (2, 0, 4)
    )


CLOUD = torch.zeros(1, 4, 3)


@pytest.mark.parametrize(
    ("points", "centres", "k", "says"),
    [
        (CLOUD, CLOUD, 5, r"k: expected 1 to 4 \(the points\), got 5"),
        (CLOUD, CLOUD, 0, "k: expected 1 to 4"),
        (CLOUD[:, :0], CLOUD, 1, "points: expected at least 1"),
        (CLOUD[0], CLOUD, 1, r"points: expected \(B, N, 3\)"),
        (CLOUD, CLOUD.double(), 1, r"give centres.float\(\)"),
        (CLOUD, CLOUD.expand(2, -1, -1), 1, "centres: expected 1 of them, .* got 2"),
        (CLOUD, CLOUD.to("meta"), 1, "centres: .*meta"),
        (CLOUD / 0, CLOUD, 1, "points: expected finite"),
        (CLOUD, 1 / CLOUD, 1, "centres: expected finite"),
    ],
)
def test_neighbours_refuse_what_does_not_fit(points, centres, k, says):
    with pytest.raises(ValueError, match=says):
        k_nearest(points, centres, k)


@pytest.mark.parametrize(
    ("values", "points", "targets", "says"),
    [
        (torch.ones(1, 3, 2), CLOUD, CLOUD, r"values: expected \(B, 4, C\).*\(1, 3, 2\)"),
        (torch.ones(4, 2), CLOUD, CLOUD, r"values: .*\(4, 2\)"),
        (torch.ones(2, 4, 2), CLOUD, CLOUD, "values: expected 1 of them, .* got 2"),
        (torch.ones(1, 4, 2).double(), CLOUD, CLOUD, r"give values.float\(\)"),
        (torch.ones(1, 4, 2), CLOUD, CLOUD[0], r"targets: .*\(4, 3\)"),
        (torch.ones(1, 4, 2), CLOUD, CLOUD / 0, "targets: expected finite"),
        (torch.ones(1, 4, 2), CLOUD[0], CLOUD, r"points: .*\(4, 3\)"),
    ],
)
def test_interpolation_refuses_what_does_not_fit(values, points, targets, says):
    with pytest.raises(ValueError, match=says):
        interpolate(values, points, targets)
