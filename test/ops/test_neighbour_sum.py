from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.ops.neighbour_sum import neighbour_sum


@st.composite
def inputs(draw):
    clouds, points, channels, groups, offsets, anchors, k = (
        draw(st.integers(1, most)) for most in (4, 6, 40, 3, 3, 4, 7)
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(clouds, points, channels, generator=generator)
    frames = torch.randint(0, clouds, (groups, offsets), generator=generator)
    return (
        values,
        frames,
        torch.randint(0, points, (groups, offsets, anchors, k), generator=generator),
    )


def _grouped(values, frames, index):
    return values[frames[:, :, None, None], index].sum(dim=3).transpose(1, 2)


def _fixed():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 10, 6, generator=generator)
    frames = torch.tensor([[0, 1], [2, 3], [1, 1]])
    return values, frames, torch.randint(0, 10, (3, 2, 5, 4), generator=generator)


@given(inputs())
def test_equals_grouping_and_then_adding(case):
    values, frames, index = case
    ours, theirs = values.clone().requires_grad_(), values.double().requires_grad_()
    out, expected = neighbour_sum(ours, frames, index), _grouped(theirs, frames, index)
    torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-5)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(gradient)
    expected.backward(gradient.double())
    torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=1e-5, atol=1e-4)


def test_a_neighbour_named_twice_counts_twice():
    values = torch.tensor([[[1.0], [10.0]]], requires_grad=True)
    out = neighbour_sum(values, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[[1, 0, 1]]]]))
    out.sum().backward()
    assert out.item() == 21 and values.grad.flatten().tolist() == [1, 2]


def test_the_graphics_cards_way_has_the_same_shape():
    assert neighbour_sum(*(tensor.to("meta") for tensor in _fixed())).shape == (3, 5, 2, 6)


def test_nan_stays_nan():
    values, frames, index = _fixed()
    values[1, :, 2] = torch.nan
    expected = torch.zeros(3, 5, 2, 6, dtype=torch.bool)
    expected[0, :, 1, 2] = expected[2, :, :, 2] = True
    assert torch.equal(neighbour_sum(values, frames, index).isnan(), expected)


def test_tensors_that_are_not_contiguous():
    values, frames, index = _fixed()
    ours = neighbour_sum(
        values.mT.contiguous().mT, frames.T.contiguous().T, index.mT.contiguous().mT
    )
    torch.testing.assert_close(ours, _grouped(values, frames, index))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda v, f, i: (v.half(), f, i)),
        ("frames", lambda v, f, i: (v, f + 1, i)),
        ("index", lambda v, f, i: (v, f, i + 10)),
        ("index", lambda v, f, i: (v, f, i[:2])),
    ],
)
def test_refuses_what_does_not_fit(name, change):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        neighbour_sum(*change(*_fixed()))
