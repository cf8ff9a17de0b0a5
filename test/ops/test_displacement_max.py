from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.ops import displacement_max as module
from fourd_perception.ops.displacement_max import displacement_max


def _make(sizes, seed=0, *, coarse=False, padded=False):
    clouds, points, channels, groups, offsets, anchors, k = sizes
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        if coarse:  # ties
            return torch.randint(-1, 2, shape, generator=generator).float()
        return torch.randn(shape, generator=generator)

    index = torch.randint(0, points, (groups, offsets, anchors, k), generator=generator)
    if padded:
        index[..., (k + 1) // 2 :] = index[..., :1]
    frames = torch.randint(0, clouds, (groups, offsets), generator=generator)
    tensors = draw(clouds, points, 3), draw(groups, anchors, 3), draw(channels, 3)
    return *tensors, frames, index


def _fixed():
    return _make((4, 10, 6, 3, 2, 5, 4))


def _winners_gradient(points, anchors, weight, frames, index, gradient):
    """In float64, and to the first of equal ones."""
    weight = weight.double().requires_grad_()
    displacement = points[frames[:, :, None, None], index] - anchors[:, None, :, None]
    grouped = displacement.double() @ weight.T
    first = (grouped == grouped.amax(dim=3, keepdim=True)).int().argmax(dim=3, keepdim=True)
    pooled = grouped.gather(3, first).squeeze(3).transpose(1, 2)
    return torch.autograd.grad(pooled, weight, gradient.double())[0].float()


@given(
    st.tuples(*(st.integers(1, most) for most in (4, 6, 40, 3, 3, 4, 9))),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
)
def test_equals_grouping_mapping_and_then_pooling(sizes, seed, coarse, padded):
    points, anchors, weight, frames, index = case = _make(sizes, seed, coarse=coarse, padded=padded)
    expected = module._grouped(*case)
    torch.testing.assert_close(displacement_max(*case), expected)
    torch.testing.assert_close(module._in_chunks(*case), expected)
    out = displacement_max(points, anchors, weight.requires_grad_(), frames, index)
    torch.testing.assert_close(out, expected)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
    ours = torch.autograd.grad(out, weight, gradient)[0]
    theirs = _winners_gradient(points, anchors, weight.detach(), frames, index, gradient)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("position", range(3))
def test_finite_differences(position):
    """Where the winners stay, the output is linear in each argument, so a large step will do."""
    tensors = list(_fixed())
    target = tensors[position].requires_grad_()
    gradient = torch.randn(3, 5, 2, 6, generator=torch.Generator().manual_seed(1))
    slope = torch.autograd.grad(displacement_max(*tensors), target, gradient)[0].flatten()
    step, place = 1e-3, target.detach().view(-1)
    for i in range(place.numel()):
        ends = []
        for sign in (1, -1):
            before = place[i].item()
            place[i] = before + sign * step
            with torch.no_grad():
                ends.append((displacement_max(*tensors).double() * gradient).sum())
            place[i] = before
        assert slope[i].item() == pytest.approx((ends[0] - ends[1]).item() / (2 * step), abs=5e-3)


def test_all_gradients_together_and_in_small_chunks(monkeypatch):
    points, anchors, weight, frames, index = _fixed()
    leaves = [tensor.requires_grad_() for tensor in (points, anchors, weight)]
    expected = torch.autograd.grad(module._grouped(*leaves, frames, index).square().sum(), leaves)
    monkeypatch.setattr(module, "CHUNK", 1)
    out = displacement_max(*leaves, frames, index)
    for ours, theirs in zip(torch.autograd.grad(out.square().sum(), leaves), expected):
        torch.testing.assert_close(ours, theirs)
    ours = displacement_max(points.detach(), anchors.detach(), weight, frames, index)
    torch.testing.assert_close(torch.autograd.grad(ours.square().sum(), weight)[0], expected[2])


def test_the_gradient_of_many_anchors_does_not_drift():
    """10^5 terms of one sign a channel: float32 would lose the fourth digit."""
    groups, anchors = 100, 1000
    points = torch.full((1, 2, 3), 0.1)
    index = torch.zeros(groups, 1, anchors, 2, dtype=torch.int64)
    frames = torch.zeros(groups, 1, dtype=torch.int64)
    weight = torch.ones(1, 3, requires_grad=True)
    displacement_max(
        points, torch.zeros(groups, anchors, 3), weight, frames, index
    ).sum().backward()
    expected = points[0, 0].double() * groups * anchors
    torch.testing.assert_close(weight.grad[0].double(), expected, rtol=1e-7, atol=0)


def test_the_gradient_is_the_same_on_any_number_of_threads():
    case = _make((3, 40, 20, 5, 2, 30, 6))
    case[2].requires_grad_()
    threads, gradients = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            gradients.append(torch.autograd.grad(displacement_max(*case).square().sum(), case[2]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*(gradient[0] for gradient in gradients))


def test_more_neighbours_than_a_byte_counts():
    points = torch.zeros(1, 300, 3)
    points[0, 299] = torch.tensor([1.0, 2.0, 3.0])
    weight, frames = torch.ones(2, 3, requires_grad=True), torch.zeros(1, 1, dtype=torch.int64)
    index = torch.arange(300)[None, None, None]
    displacement_max(points, torch.zeros(1, 1, 3), weight, frames, index).sum().backward()
    assert weight.grad.tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("train", [False, True])
def test_what_is_not_finite_is_as_in_plain_pytorch(bad, position, train):
    case = _make((2, 10, 20, 3, 2, 5, 7))
    case[position].view(-1)[4] = bad
    expected = module._grouped(*case)
    assert not expected.isfinite().all()
    case[2].requires_grad_(train)
    torch.testing.assert_close(displacement_max(*case).detach(), expected, equal_nan=True)


@pytest.mark.parametrize("place", range(5))
def test_no_number_times_infinity_hides_a_nan(place):
    points = torch.ones(1, 5, 3)
    points[0, place] = 0
    weight, frames = torch.full((20, 3), torch.inf), torch.zeros(1, 1, dtype=torch.int64)
    out = displacement_max(
        points, torch.zeros(1, 1, 3), weight, frames, torch.arange(5)[None, None, None]
    )
    assert out.isnan().all()


def test_a_gradient_of_points_is_not_needed_for_inference():
    points, *rest = _fixed()
    with torch.no_grad():
        expected = displacement_max(points, *rest)
        assert torch.equal(displacement_max(points.requires_grad_(), *rest), expected)


def test_the_graphics_cards_way_has_the_same_shape():
    assert displacement_max(*(tensor.to("meta") for tensor in _fixed())).shape == (3, 5, 2, 6)


def test_tensors_that_are_not_contiguous():
    case = _fixed()
    scattered = [tensor.mT.contiguous().mT for tensor in case]
    assert torch.equal(displacement_max(*scattered), displacement_max(*case))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("points", lambda p, a, w, f, i: (p[..., :2], a, w, f, i)),
        ("points", lambda p, a, w, f, i: (p.double(), a, w, f, i)),
        ("anchors", lambda p, a, w, f, i: (p, a[:, :1], w, f, i)),
        ("anchors", lambda p, a, w, f, i: (p, a.half(), w, f, i)),
        ("anchors", lambda p, a, w, f, i: (p, a.to("meta"), w, f, i)),
        ("weight", lambda p, a, w, f, i: (p, a, w.T, f, i)),
        ("weight", lambda p, a, w, f, i: (p, a, w[:0], f, i)),
        ("weight", lambda p, a, w, f, i: (p, a, w[0], f, i)),
        ("frames", lambda p, a, w, f, i: (p, a, w, f + 1, i)),
        ("index", lambda p, a, w, f, i: (p, a, w, f, i - 1)),
    ],
)
def test_refuses_what_does_not_fit(name, change):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        displacement_max(*change(*_fixed()))
