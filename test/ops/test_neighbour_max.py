from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.ops.neighbour_max import neighbour_max, neighbour_max_affine


@st.composite
def inputs(draw):
    """Values of few kinds, so that there are ties, and indices that repeat."""
    clouds, points, channels, groups, offsets, anchors, k = (
        draw(st.integers(1, most)) for most in (4, 6, 40, 3, 3, 4, 7)
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randint(-2, 3, (clouds, points, channels), generator=generator).float()
    frames = torch.randint(0, clouds, (groups, offsets), generator=generator)
    index = torch.randint(0, points, (groups, offsets, anchors, k), generator=generator)
    if draw(st.booleans()):  # a ball query's padding
        index[..., (k + 1) // 2 :] = index[..., :1]
    return values, frames, index


def _grouped(values, frames, index):
    return values[frames[:, :, None, None], index].amax(dim=3).transpose(1, 2)


def _winners_gradient(values, frames, index, gradient):
    """In float64, and to the first of equal ones."""
    values = values.double().requires_grad_()
    grouped = values[frames[:, :, None, None], index]
    first = (grouped == grouped.amax(dim=3, keepdim=True)).int().argmax(dim=3, keepdim=True)
    pooled = grouped.gather(3, first).squeeze(3).transpose(1, 2)
    return torch.autograd.grad(pooled, values, gradient.double())[0]


def _fixed(k=4):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 10, 6, generator=generator)
    frames = torch.tensor([[0, 1], [2, 3], [1, 1]])
    return values, frames, torch.randint(0, 10, (3, 2, 5, k), generator=generator)


@given(inputs())
def test_equals_grouping_and_then_pooling(case):
    values, frames, index = case
    expected = _grouped(*case)
    assert torch.equal(neighbour_max(*case), expected)
    trained = neighbour_max(values.requires_grad_(), frames, index)
    assert torch.equal(trained, expected)
    gradient = torch.randn(trained.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(trained, values, gradient)[0]
    theirs = _winners_gradient(values.detach(), frames, index, gradient)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-4)


@given(inputs(), st.integers(0, 2**31))
def test_affine_equals_the_steps_one_by_one(case, seed):
    values, frames, index = case
    groups, offsets, anchors, _ = index.shape
    generator = torch.Generator().manual_seed(seed)
    constant = torch.randn(groups, anchors, values.shape[2], generator=generator)
    scale, shift = torch.randn(2, offsets, values.shape[2], generator=generator)
    expected = torch.relu(scale * (_grouped(*case) + constant[:, :, None]) + shift)
    out = neighbour_max_affine(values, frames, index, constant, scale, shift)
    torch.testing.assert_close(out, expected)
    assert out.min() >= 0


def test_the_graphics_cards_way_is_the_same():
    plain = [tensor.to("meta") for tensor in _fixed()]
    assert neighbour_max(*plain).shape == neighbour_max(*_fixed()).shape
    term, row = torch.zeros(3, 5, 6, device="meta"), torch.zeros(2, 6, device="meta")
    assert neighbour_max_affine(*plain, term, row, row).shape == (3, 5, 2, 6)


def test_more_neighbours_than_a_byte_counts():
    values = torch.zeros(1, 300, 3, requires_grad=True)
    with torch.no_grad():
        values[0, 299] = 1
    out = neighbour_max(
        values, torch.zeros(1, 1, dtype=torch.int64), torch.arange(300)[None, None, None]
    )
    out.sum().backward()
    assert values.grad.nonzero().tolist() == [[0, 299, 0], [0, 299, 1], [0, 299, 2]]


def test_of_equal_neighbours_one_gets_the_gradient():
    values = torch.ones(1, 3, 2, requires_grad=True)
    out = neighbour_max(values, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[[2, 1, 1]]]]))
    out.sum().backward()
    assert values.grad.tolist() == [[[0, 0], [0, 0], [1, 1]]]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("train", [False, True])
def test_nan_stays_nan(place, train):
    values = torch.arange(10.0).view(1, 5, 2).flip(1).contiguous()
    values[0, place, 1] = torch.nan
    frames, index = torch.zeros(1, 1, dtype=torch.int64), torch.arange(5)[None, None, None]
    out = neighbour_max(values.clone().requires_grad_(train), frames, index).detach()
    assert out[0, 0, 0, 0] == 8 and out[0, 0, 0, 1].isnan()
    one = torch.ones(1, 1, 2)
    affine = neighbour_max_affine(values, frames, index, one, -one[0], one[0])
    assert affine[0, 0, 0, 0] == 0 and affine[0, 0, 0, 1].isnan()


def test_infinity_is_a_number():
    values = torch.tensor([[[-torch.inf, torch.inf], [-torch.inf, 0.0]]], requires_grad=True)
    out = neighbour_max(values, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[[1, 0]]]]))
    assert out.flatten().tolist() == [-torch.inf, torch.inf]


def test_tensors_that_are_not_contiguous():
    values, frames, index = _fixed()
    ours = neighbour_max(
        values.mT.contiguous().mT, frames.T.contiguous().T, index.mT.contiguous().mT
    )
    assert torch.equal(ours, _grouped(values, frames, index))


def test_affine_has_no_gradient():
    values, frames, index = _fixed()
    rest = torch.zeros(3, 5, 6), torch.zeros(2, 6, requires_grad=True), torch.zeros(2, 6)
    with pytest.raises(RuntimeError, match="no_grad"):
        neighbour_max_affine(values, frames, index, *rest)
    with torch.no_grad():
        assert neighbour_max_affine(values, frames, index, *rest).shape == (3, 5, 2, 6)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda v, f, i: (v[0], f, i)),
        ("values", lambda v, f, i: (v.double(), f, i)),
        ("frames", lambda v, f, i: (v, f[0], i)),
        ("frames", lambda v, f, i: (v, f.int(), i)),
        ("frames", lambda v, f, i: (v, f + 1, i)),
        ("frames", lambda v, f, i: (v, f - 1, i)),
        ("frames", lambda v, f, i: (v, f.to("meta"), i)),
        ("index", lambda v, f, i: (v, f, i[:, :1])),
        ("index", lambda v, f, i: (v, f, i.int())),
        ("index", lambda v, f, i: (v, f, i[..., :0])),
        ("index", lambda v, f, i: (v, f, i - 10)),
        ("index", lambda v, f, i: (v[:, :5], f, i)),
        ("index", lambda v, f, i: (v, f, i.to("meta"))),
    ],
)
def test_refuses_what_does_not_fit(name, change):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        neighbour_max(*change(*_fixed()))


@pytest.mark.parametrize(
    ("name", "constant", "scale", "shift"),
    [
        ("constant", torch.zeros(3, 5, 1), torch.zeros(2, 6), torch.zeros(2, 6)),
        ("scale", torch.zeros(3, 5, 6), torch.zeros(6), torch.zeros(2, 6)),
        ("scale", torch.zeros(3, 5, 6), torch.zeros(2, 6).double(), torch.zeros(2, 6)),
        ("shift", torch.zeros(3, 5, 6), torch.zeros(2, 6), torch.zeros(2, 6, device="meta")),
    ],
)
def test_affine_refuses_what_does_not_fit(name, constant, scale, shift):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        neighbour_max_affine(*_fixed(), constant, scale, shift)


@pytest.mark.parametrize("shape", [(3, 2, 0, 4), (0, 2, 5, 4), (3, 0, 5, 4)])
def test_nothing_in_is_nothing_out(shape):
    values = torch.randn(4, 10, 6, requires_grad=True)
    index = torch.zeros(shape, dtype=torch.int64)
    out = neighbour_max(values, torch.zeros(shape[:2], dtype=torch.int64), index)
    assert out.shape == (shape[0], shape[2], shape[1], 6)
    assert not torch.autograd.grad(out.sum(), values)[0].any()
