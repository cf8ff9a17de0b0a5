"""The norm inside the maximum against the grouped tensor that it spares."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fourd_perception.models.batch_norm import (
    affine,
    affine_of_neighbours,
    normalise,
    rectified,
)


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
    scale, shift = affine_of_neighbours(one.float(), *single, frames, index)
    got = (single[0][frames[:, :, None, None], index] + single[1][:, None, :, None]) * scale + shift
    torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-3)
    weight = torch.randn(grouped.shape, generator=torch.Generator().manual_seed(seed))
    (expected * weight).sum().backward()
    (got * weight).sum().backward()
    for ours, theirs in zip(single, (values, constant)):
        largest = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-3, atol=1e-4 * largest)
    torch.testing.assert_close(one.running_mean.double(), other.running_mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.running_var.double(), other.running_var, rtol=1e-3, atol=1e-3)
    assert int(one.num_batches_tracked) == int(other.num_batches_tracked) == 1


def test_in_evaluation_it_takes_what_it_has_learnt():
    values, constant, frames, index = case(0, False)
    made = norm().eval()
    before = made.running_mean.clone()
    scale, shift = affine_of_neighbours(made, values, constant, frames, index)
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


def test_rectified_is_normalised_and_rectified():
    made, other = norm(), norm()
    other.load_state_dict(made.state_dict())
    values = torch.randn(2, 7, 6, dtype=torch.float64)
    mine, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    out, expected = rectified(made, mine), torch.relu(normalise(other, theirs))
    torch.testing.assert_close(out, expected)
    (out.square().sum() + expected.square().sum()).backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    assert torch.equal(made.running_var, other.running_var)
