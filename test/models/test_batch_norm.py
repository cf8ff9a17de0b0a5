"""The norm inside the maximum against the grouped tensor that it spares."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fourd_perception.models.batch_norm import NeighbourStatistics, affine, normalise


def case(seed: int, repeated: bool):
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 4, (3, 2), generator=random)
    index = torch.randint(0, 2 if repeated else 10, (3, 2, 5, 4), generator=random)
    values = torch.randn(4, 10, 6, generator=random, dtype=torch.float64) + 3
    constant = torch.randn(3, 5, 6, generator=random, dtype=torch.float64) - 50
    return values.requires_grad_(), constant.requires_grad_(), frames, index


def norm(**options) -> nn.BatchNorm1d:
    made = nn.BatchNorm1d(6, dtype=torch.float64, **options)
    nn.init.uniform_(made.weight, -1, 1)
    nn.init.uniform_(made.bias, -1, 1)
    return made


@given(st.integers(0, 1000), st.booleans())
def test_scale_and_shift_are_those_of_the_grouped_tensor(seed, repeated):
    values, constant, frames, index = case(seed, repeated)
    torch.manual_seed(seed)
    one, other = norm(), norm()
    other.load_state_dict(one.state_dict())
    grouped = values[frames[:, :, None, None], index] + constant[:, None, :, None]
    expected = other(grouped.flatten(0, 3)).view_as(grouped)
    single = [values.detach().float().requires_grad_(), constant.detach().float().requires_grad_()]
    scale, shift = NeighbourStatistics(*single, frames, index).affine(one.float())
    got = (single[0][frames[:, :, None, None], index] + single[1][:, None, :, None]) * scale + shift
    torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-3)
    weight = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(seed))
    (expected * weight).sum().backward()
    (got * weight).sum().backward()
    for ours, theirs in zip(single, (values, constant)):
        largest = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-2, atol=1e-3 * largest)
    torch.testing.assert_close(one.running_mean.double(), other.running_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.running_var.double(), other.running_var, rtol=1e-3, atol=1e-3)
    assert int(one.num_batches_tracked) == int(other.num_batches_tracked) == 1


@pytest.mark.parametrize("width", [1.0, 20.0, 400.0])
def test_scenes_many_radii_wide_have_the_statistics_of_their_neighbourhoods(width):
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
    grouped = values.double()[frames[:, :, None, None], index] + constant.double()[:, None, :, None]
    mean, variance = NeighbourStatistics(values, constant, frames, index)._moments()
    wanted = grouped.flatten(0, 3)
    torch.testing.assert_close(mean.double(), wanted.mean(0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        variance.double(), wanted.var(0, unbiased=False), rtol=1e-3, atol=0.0
    )


def test_neighbourhoods_of_the_anchor_alone_have_no_variance_and_no_nan():
    points = torch.rand(2, 50, 3) * 100
    index = torch.arange(50).view(1, 1, 50, 1).expand(2, 1, 50, 1)
    _, variance = NeighbourStatistics(points, -points, torch.arange(2)[:, None], index)._moments()
    assert (variance >= 0).all() and (variance < 1e-3).all()


def test_in_evaluation_it_takes_what_it_has_learnt():
    values, constant, frames, index = case(0, False)
    made = norm().eval()
    before = made.running_mean.clone()
    scale, shift = NeighbourStatistics(values, constant, frames, index).affine(made)
    assert torch.equal(made.running_mean, before)
    torch.testing.assert_close(values * scale + shift, normalise(made, values))


def test_affine_is_the_norm_in_evaluation():
    made = norm().eval()
    nn.init.uniform_(made.running_mean, -1, 1)
    nn.init.uniform_(made.running_var, 0.5, 2)
    values = torch.randn(2, 7, 6, dtype=torch.float64)
    scale, shift = affine(made)
    torch.testing.assert_close(values * scale + shift, made(values.flatten(0, 1)).view_as(values))


def test_normalise_asks_for_channels_last():
    with pytest.raises(RuntimeError):
        normalise(norm(), torch.zeros(2, 6, 7, dtype=torch.float64))
