from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.ops import neighbour_moments as module
from fourd_perception.ops.neighbour_moments import neighbour_moments

ways = pytest.mark.parametrize(
    "moments", [neighbour_moments, module._moments], ids=["kernel", "plain"]
)


def case(seed: int, repeated: bool = False):
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 4, (3, 2), generator=random)
    index = torch.randint(0, 2 if repeated else 10, (3, 2, 5, 4), generator=random)
    values = torch.randn(4, 10, 6, generator=random) + 3
    return values, torch.randn(3, 5, 6, generator=random) - 50, frames, index


def grouped(values, constant, frames, index):
    """(G T M k, C), in float64."""
    pairs = values.double()[frames[:, :, None, None], index] + constant.double()[:, None, :, None]
    return pairs.flatten(0, 3)


@ways
@given(seed=st.integers(0, 1000), repeated=st.booleans())
def test_are_those_of_the_grouped_tensor_with_their_gradients(moments, seed, repeated):
    *given, frames, index = case(seed, repeated)
    exact = [one.double().requires_grad_() for one in given]
    wanted = grouped(*exact, frames, index)
    expected = wanted.mean(0), wanted.var(0, unbiased=False)
    ours = [one.requires_grad_() for one in given]
    got = moments(*ours, frames, index)
    slopes = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed))
    sum((one.double() * slope).sum() for one, slope in zip(expected, slopes)).backward()
    sum((one * slope).sum() for one, slope in zip(got, slopes)).backward()
    for one, other in zip(got, expected):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, exact):
        largest = float(other.grad.abs().max())
        torch.testing.assert_close(
            one.grad.double(), other.grad, rtol=1e-3, atol=1e-4 * largest + 1e-6
        )


@ways
@pytest.mark.parametrize("width", [1.0, 20.0, 400.0])
def test_scenes_many_radii_wide_have_the_statistics_of_their_neighbourhoods(moments, width):
    """Neighbours differ by some radii, here 1; places, and so values and constants, by `width`."""
    random = torch.Generator().manual_seed(0)
    anchors = torch.rand(3, 200, 1, generator=random) * width
    values = torch.zeros(3, 800, 6)
    values[:] = (anchors.repeat(1, 1, 4).flatten(1) + torch.rand(3, 800, generator=random))[
        ..., None
    ]
    index = torch.arange(800).view(200, 4).expand(3, 1, 200, 4)
    frames = torch.arange(3)[:, None]
    constant = -anchors.expand(-1, -1, 6)
    wanted = grouped(values, constant, frames, index)
    mean, variance = moments(values, constant, frames, index)
    torch.testing.assert_close(mean.double(), wanted.mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        variance.double(), wanted.var(0, unbiased=False), rtol=1e-3, atol=0.0
    )


@ways
def test_neighbourhoods_of_the_anchor_alone_have_no_variance_and_no_nan(moments):
    points = torch.rand(2, 50, 3) * 100
    index = torch.arange(50).view(1, 1, 50, 1).expand(2, 1, 50, 1)
    _, variance = moments(points, -points, torch.arange(2)[:, None], index)
    assert (variance >= 0).all() and (variance < 1e-3).all()


def test_does_not_depend_on_the_threads():
    given, before = case(0), torch.get_num_threads()
    values, constant = (one.requires_grad_() for one in given[:2])
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            mean, variance = neighbour_moments(values, constant, *given[2:])
            gradients = torch.autograd.grad((mean + variance).sum(), (values, constant))
            found.append((mean, variance, *gradients))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("values", lambda v, c, f, i: (v.double(), c, f, i)),
        ("constant", lambda v, c, f, i: (v, c[:, :1], f, i)),
        ("constant", lambda v, c, f, i: (v, c.double(), f, i)),
        ("frames", lambda v, c, f, i: (v, c, f + 4, i)),
        ("index", lambda v, c, f, i: (v, c, f, i - 10)),
    ],
)
def test_refuses_what_does_not_fit(name, change):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        neighbour_moments(*change(*case(0)))
