"""The GPU's searches: on a GPU where there is one, else step by step in Triton's interpreter."""

from __future__ import annotations

import os

import oracles
import pytest
import torch

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # is read when a kernel is defined
pytest.importorskip("triton")

from fourd_perception.ops import (  # noqa: E402 - after the interpreter is chosen
    ball_query,
    farthest_point,
    interpolate,
    triton_searches,
)

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
POINTS = 3000 if ON_GPU else 200


def sampled(points, count, compat):
    axes = points.to(DEVICE).permute(2, 0, 1)
    nearest = farthest_point._at_first(axes, compat)
    return triton_searches.farthest_point_sample(axes, nearest, count).cpu()


def within(points, centres, frames, radius, k):
    axes = points.to(DEVICE).permute(2, 0, 1)
    squared = torch.tensor(radius, dtype=torch.float32).square().item()
    given = axes, centres.to(DEVICE), frames.to(DEVICE)
    return triton_searches.ball_query_frames(*given, squared, k).cpu()


def nearest(points, centres, k):
    axes = points.to(DEVICE).permute(2, 0, 1)
    squared, index = triton_searches.k_nearest(axes, centres.to(DEVICE), k)
    return interpolate._root(squared.cpu()), index.cpu()


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("points, count", [(1, 1), (64, 64), (65, 40), (POINTS, POINTS // 4)])
def test_sampling_gives_the_indices_of_the_cpu(shape, points, count, compat):
    cloud = oracles.cloud(shape, 3, points)
    expected = farthest_point.farthest_point_sample(cloud, count, compat=compat)
    assert torch.equal(sampled(cloud, count, compat), expected)


@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("radius", [1e-30, 0.05, 0.3, 2.0, 1e30, float("inf")])
@pytest.mark.parametrize("k", [1, 9, POINTS + 20])
def test_ball_query_gives_the_indices_of_the_cpu(shape, radius, k):
    points, centres = oracles.cloud(shape, 3, POINTS), oracles.cloud(shape, 2, 70, seed=1)
    centres[:, :30] = points[:2, :30]
    frames = torch.tensor([[0, 2, 2], [1, 0, 1]])
    expected = ball_query.ball_query_frames(points, centres, frames, radius, k)
    assert torch.equal(within(points, centres, frames, radius, k), expected)


@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("points", [1, 2, 3, POINTS])
def test_the_nearest_are_those_of_the_cpu(shape, points):
    cloud, centres = oracles.cloud(shape, 2, points), oracles.cloud(shape, 2, 300, seed=1)
    for k in range(1, min(3, points) + 1):
        distance, index = nearest(cloud, centres, k)
        expected_distance, expected_index = interpolate.k_nearest(cloud, centres, k)
        assert torch.equal(index, expected_index)
        assert torch.equal(distance, expected_distance)


def test_distances_beyond_float32_are_equally_far():
    points = torch.tensor([[[2e30, 0, 0], [1e30, 0, 0], [3.0, 0, 4], [3e30, 0, 0]]])
    assert sampled(points, 4, False).tolist() == [[0, 1, 2, 3]]
    distance, index = nearest(points, torch.zeros(1, 1, 3), 3)
    assert index.tolist() == [[[2, 0, 1]]]
    assert distance.tolist() == [[[5.0, torch.inf, torch.inf]]]


def test_nothing_is_asked_of_no_clouds_and_no_centres():
    none = torch.zeros(0, 5, 3)
    assert sampled(none, 2, False).shape == (0, 2)
    assert within(none, none, torch.zeros(0, 3, dtype=torch.int64), 1.0, 4).shape == (0, 3, 5, 4)
    assert nearest(torch.zeros(2, 5, 3), torch.zeros(2, 0, 3), 2)[1].shape == (2, 0, 2)


@pytest.mark.skipif(not ON_GPU, reason="there is no GPU")
def test_a_gpu_takes_these_kernels(monkeypatch):
    def never(*_):
        raise AssertionError("the plain PyTorch path")

    monkeypatch.setattr(farthest_point, "_sample_torch", never)
    monkeypatch.setattr(ball_query, "_query_torch", never)
    monkeypatch.setattr(interpolate, "_nearest_torch", never)
    cloud = oracles.cloud("uniform", 2, 500)
    on_gpu = cloud.to(DEVICE)
    order = farthest_point.farthest_point_sample(cloud, 100)
    assert torch.equal(farthest_point.farthest_point_sample(on_gpu, 100).cpu(), order)
    found = ball_query.ball_query(cloud, cloud, 0.2, 5)
    assert torch.equal(ball_query.ball_query(on_gpu, on_gpu, 0.2, 5).cpu(), found)
    near = interpolate.k_nearest(cloud, cloud, 3)[1]
    assert torch.equal(interpolate.k_nearest(on_gpu, on_gpu, 3)[1].cpu(), near)
