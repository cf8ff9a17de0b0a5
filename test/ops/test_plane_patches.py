from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.ops import plane_patches as module
from fourd_perception.ops.plane_patches import plane_patches


def _random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _crossed(frames=1, points=600, noise=0.005, seed=0):
    """A floor and, where it ends, a wall half as large; which of them a point is on."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.rand(frames, points, 2, generator=generator)
    wall = torch.rand(frames, points, generator=generator) < 1 / 3
    height = torch.randn(frames, points, generator=generator) * noise
    floor_points = torch.stack((plane[..., 0], plane[..., 1], height), 2)
    wall_points = torch.stack((plane[..., 0], height, plane[..., 1] - 0.5), 2)
    return torch.where(wall[:, :, None], wall_points, floor_points), wall


def test_crossed_planes_are_told_apart():
    points, wall = _crossed(frames=3)
    label = plane_patches(points, 2, distance=0.02)
    assert label.dtype == torch.int64
    assert ((label == 1) == wall).float().mean() > 0.95


def test_the_plane_is_where_its_points_are_far_from_the_origin_too():
    points, wall = _crossed(noise=0.0)
    label = plane_patches(points + torch.tensor([50.0, -20.0, 5.0]), 2, distance=0.01)
    clear = points[..., 1:].abs().amax(dim=2) > 0.05  # of where they meet
    assert torch.equal((label == 1)[clear], wall[clear])


def test_a_plane_is_fitted_to_what_is_near_it():
    """The better of two planes through three noisy points leans; its least squares do not."""
    points = _random(20, 400, 3)
    points[..., 2] = 0.01 * torch.randn(20, 400, generator=torch.Generator().manual_seed(1))
    label = plane_patches(points, 2, distance=0.03, tries=2)
    assert (label == 0).float().mean() > 0.95


def test_a_fit_is_that_of_the_singular_value_decomposition():
    points, wall = _crossed(frames=2, noise=0.05)
    plane = module._fit(points, wall)
    for cloud, chosen, ours in zip(points, wall, plane):
        mean = cloud[chosen].mean(dim=0)
        normal = torch.linalg.svd(cloud[chosen] - mean).Vh[2]
        normal = normal * torch.sign(normal @ ours[:3])
        torch.testing.assert_close(ours, torch.cat((normal, -normal[None] @ mean)))


def test_a_frame_has_the_same_labels_alone_and_in_any_batch():
    points = torch.cat((_random(4, 300, 3), _crossed(3, 300)[0]))
    together = plane_patches(points, 4, distance=0.03)
    for order in ([6, 0, 3], [2], [5, 1]):
        assert torch.equal(plane_patches(points[order], 4, distance=0.03), together[order])


def test_the_seed_decides():
    points = _random(2, 200, 3)
    one, again, other = (plane_patches(points, 4, distance=0.02, seed=s) for s in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_global_random_numbers_are_left_alone():
    before = torch.get_rng_state()
    plane_patches(_random(1, 20, 3), 2, distance=0.1)
    assert torch.equal(torch.get_rng_state(), before)


def test_points_left_over_go_to_the_nearest_plane():
    floor = _crossed(points=200)[0].clone()
    floor[..., 2] = 0
    above = floor + torch.tensor([0.0, 0.0, 1.0])
    stray = torch.tensor([[[0.5, 0.5, 0.1], [0.5, 0.5, 0.9]]])
    label = plane_patches(torch.cat((floor, above[:, :150], stray), 1), 2, distance=0.01)
    assert label[0, :200].unique().tolist() == [0] and label[0, 200:350].unique().tolist() == [1]
    assert label[0, 350:].tolist() == [0, 1]


@pytest.mark.parametrize("number", [1, 2, 3, 50])
def test_where_there_is_no_plane_the_label_is_zero(number):
    assert not plane_patches(torch.ones(2, number, 3), 3, distance=0.1).any()


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_than_three_points(number):
    assert not plane_patches(_random(2, number, 3), 3, distance=0.1).any()


def test_three_points_are_a_plane_and_then_there_are_none_left():
    assert not plane_patches(_random(1, 3, 3), 4, distance=0.01).any()


def test_fewer_than_three_points_left_are_no_plane():
    floor = _random(1, 5, 3) * torch.tensor([1.0, 1.0, 0.0])
    points = torch.cat((torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 2.0]]]), floor), 1)
    assert not plane_patches(points, 3, distance=0.01).any()


def test_three_different_points_are_drawn():
    left = torch.tensor([[True, False, True, True, False], [True, True, True, True, True]])
    drawn = module._draw(left, _random(3, 500).double())
    assert (drawn.sort(dim=1).values.diff(dim=1) > 0).all()
    assert drawn[0].unique().tolist() == [0, 2, 3] and drawn[1].unique().tolist() == [0, 1, 2, 3, 4]
    assert not module._draw(torch.zeros(1, 1, dtype=torch.bool), _random(3, 4).double()).any()


def test_both_ways_of_counting_are_the_same():
    points = _random(3, 500, 3)
    x, y, z = (axis.contiguous() for axis in points.unbind(2))
    left = _random(3, 500, seed=1) < 0.7
    planes = module._planes_through(points, module._draw(left, _random(3, 40).double()))
    counts = torch.empty(3, 40, dtype=torch.int64)
    tensors = (tensor.contiguous().numpy() for tensor in (x, y, z, left, planes, counts))
    module._count_numba(*tensors, torch.tensor(0.05).numpy()[()])
    assert torch.equal(counts, module._count_torch(x, y, z, left, planes, 0.05))
    assert counts.min() >= 3


@given(
    st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 5), st.sampled_from([0.01, 0.3, 9])
)
def test_labels_are_in_range_and_defined_for_anything(seed, number, count, distance):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(-1, 2, (2, number, 3), generator=generator) / 2  # many coincide
    label = plane_patches(points, count, distance=distance, tries=8)
    assert label.shape == (2, number) and label.min() >= 0 and label.max() < count


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_on_no_plane_and_changes_nothing(bad):
    points, _ = _crossed(points=300)
    clean = plane_patches(points, 2, distance=0.02)
    points = torch.cat((points[:, :100], torch.full((1, 1, 3), bad), points[:, 100:]), 1)
    label = plane_patches(points, 2, distance=0.02)[0].tolist()
    assert label.pop(100) == 0 and label == clean[0].tolist()


def test_no_frames_and_tensors_that_are_not_contiguous():
    assert plane_patches(torch.zeros(0, 5, 3), 2, distance=0.1).shape == (0, 5)
    points = _random(2, 100, 3)
    scattered = points.mT.contiguous().mT.requires_grad_()
    assert torch.equal(
        plane_patches(scattered, 3, distance=0.1), plane_patches(points, 3, distance=0.1)
    )


@pytest.mark.parametrize(
    ("points", "count", "options"),
    [
        (torch.zeros(4, 3), 1, {"distance": 0.1}),
        (torch.zeros(1, 4, 2), 1, {"distance": 0.1}),
        (torch.zeros(1, 4, 3).double(), 1, {"distance": 0.1}),
        (torch.zeros(1, 0, 3), 1, {"distance": 0.1}),
        (torch.zeros(1, 4, 3), 0, {"distance": 0.1}),
        (torch.zeros(1, 4, 3), 1, {"distance": 0.0}),
        (torch.zeros(1, 4, 3), 1, {"distance": torch.nan}),
        (torch.zeros(1, 4, 3), 1, {"distance": torch.inf}),
        (torch.zeros(1, 4, 3), 1, {"distance": 0.1, "tries": 0}),
    ],
)
def test_refuses_what_does_not_fit(points, count, options):
    with pytest.raises(ValueError, match="expected"):
        plane_patches(points, count, **options)
