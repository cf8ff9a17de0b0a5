"""The GPU's pooling: on a GPU where there is one, else step by step in Triton's interpreter."""

from __future__ import annotations

import os

import pytest
import torch

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # is read when a kernel is defined
pytest.importorskip("triton")

from fourd_perception.ops import (  # noqa: E402 - after the interpreter is chosen
    displacement_max,
    gpu,
    neighbour_max,
    neighbour_moments,
    neighbour_sum,
    triton_pooling,
)

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
# clouds, points, channels, groups, offsets, anchors, k; ties; padding
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1),
    (4, 10, 6, 3, 2, 5, 4),
    (2, 40, 70, 2, 3, 37, 9),
    (3, 300, 22, 2, 1, 17, 33 if not ON_GPU else 290),
]
each = pytest.mark.parametrize("shape", SHAPES)
tied = pytest.mark.parametrize("tied", [False, True])


def case(shape, tied, seed=0):
    clouds, points, channels, groups, offsets, anchors, k = shape
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(clouds, points, channels, generator=random)
    frames = torch.randint(0, clouds, (groups, offsets), generator=random)
    index = torch.randint(0, points, (groups, offsets, anchors, k), generator=random)
    if tied:
        values = values.round()
        index[..., (k + 1) // 2 :] = index[..., :1]  # a ball query's padding
    return values, frames, index


def gradients(function, inputs, *others):
    """What a function gives, and the gradients of a random sum of it, on the CPU."""
    device = inputs[0].device
    inputs = [one.detach().clone().requires_grad_() for one in inputs]
    given = function(*inputs, *others)
    given = given if isinstance(given, tuple) else (given,)
    random = torch.Generator().manual_seed(3)
    slopes = [torch.randn(one.shape, generator=random).to(device) for one in given]
    sum((one * slope).sum() for one, slope in zip(given, slopes)).backward()
    return [one.detach().cpu() for one in given], [one.grad.cpu() for one in inputs]


def same(ours, theirs, *, exact):
    if exact:
        assert torch.equal(ours[0][0], theirs[0][0])
    for got, expected in zip(ours[0] + ours[1], theirs[0] + theirs[1]):
        scale = float(expected.abs().max())  # sums of many are rounded in another order
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * scale + 1e-6)


def moved(*tensors):
    return [one.to(DEVICE) for one in tensors]


@each
@tied
def test_the_maximum_is_the_cpus_and_so_is_its_gradient(shape, tied):
    values, frames, index = case(shape, tied)
    theirs = gradients(neighbour_max.neighbour_max, [values], frames, index)
    ours = gradients(triton_pooling.neighbour_max, moved(values), *moved(frames, index))
    same(ours, theirs, exact=True)
    alone = triton_pooling.neighbour_max(*moved(values, frames, index))
    assert torch.equal(alone.cpu(), theirs[0][0])


@each
def test_the_folded_norm_gives_what_the_cpus_does(shape):
    values, frames, index = case(shape, False)
    groups, offsets, anchors, _ = index.shape
    constant = torch.randn(groups, anchors, values.shape[2])
    scale, shift = torch.randn(2, offsets, values.shape[2]).unbind()
    expected = neighbour_max.neighbour_max_affine(values, frames, index, constant, scale, shift)
    given = moved(values, frames, index, constant, scale, shift)
    got = triton_pooling.neighbour_max_affine(*given).cpu()
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@each
@tied
def test_the_sum_is_the_cpus_and_so_is_its_gradient(shape, tied):
    values, frames, index = case(shape, tied)
    theirs = gradients(neighbour_sum.neighbour_sum, [values], frames, index)
    ours = gradients(triton_pooling.neighbour_sum, moved(values), *moved(frames, index))
    same(ours, theirs, exact=False)


@each
@tied
def test_the_moments_are_the_cpus_and_so_are_their_gradients(shape, tied):
    values, frames, index = case(shape, tied)
    values = values + 3
    constant = torch.randn(len(index), index.shape[2], values.shape[2]) - 50
    theirs = gradients(neighbour_moments.neighbour_moments, [values, constant], frames, index)
    given = moved(values, constant)
    ours = gradients(triton_pooling.neighbour_moments, given, *moved(frames, index))
    same(ours, theirs, exact=False)


@each
@tied
def test_the_displacements_maximum_is_the_cpus_and_so_is_its_gradient(shape, tied):
    _, frames, index = case(shape, tied)
    clouds, points, channels, groups, _, anchors, _ = shape
    places, centres = torch.randn(clouds, points, 3), torch.randn(groups, anchors, 3)
    weight = torch.randn(channels, 3)
    theirs = gradients(
        lambda w: displacement_max.displacement_max(places, centres, w, frames, index), [weight]
    )
    given = moved(places, centres, frames, index)
    ours = gradients(
        lambda w: triton_pooling.displacement_max(*given[:2], w, *given[2:]), moved(weight)
    )
    same(ours, theirs, exact=False)
    for got, expected in zip(ours[0], theirs[0]):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_neighbour_that_is_no_number_is_not_passed_over():
    values, frames, index = case(SHAPES[1], False)
    values[:, 3, 2] = torch.nan
    expected = neighbour_max.neighbour_max(values, frames, index)
    got = triton_pooling.neighbour_max(*moved(values, frames, index)).cpu()
    assert torch.equal(got.isnan(), expected.isnan())
    folded = [torch.ones(3, 5, 6), torch.ones(2, 6), torch.ones(2, 6)]
    got = triton_pooling.neighbour_max_affine(*moved(values, frames, index, *folded)).cpu()
    assert torch.equal(got.isnan(), expected.isnan())


def test_no_anchors_give_nothing():
    values, frames, index = case((2, 5, 4, 3, 2, 1, 2), False)
    none = index[:, :, :0]
    assert triton_pooling.neighbour_max(*moved(values, frames, none)).shape == (3, 0, 2, 4)
    assert triton_pooling.neighbour_sum(*moved(values, frames, none)).shape == (3, 0, 2, 4)


def test_where_pytorch_must_be_deterministic_it_does_the_work():
    device = torch.device("cuda")
    assert gpu.triton_pooling(device) is triton_pooling
    torch.use_deterministic_algorithms(True)
    try:
        assert gpu.triton_pooling(device) is None
    finally:
        torch.use_deterministic_algorithms(False)
    assert gpu.triton_pooling(torch.device("cpu")) is None
