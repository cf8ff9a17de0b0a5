from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from fourd_perception.ops import attention as module
from fourd_perception.ops.attention import attention


def case(queries=5, keys=7, values=6):
    """(B, H, n, C), (B, H, m, C), (B, H, m, C') and a mask that leaves every query a key."""
    random = torch.Generator().manual_seed(0)
    sizes = ((2, 3, queries, 4), (2, 3, keys, 4), (2, 3, keys, values))
    mask = torch.rand(2, 1, queries, keys, generator=random) < 0.5
    mask[..., 0] = True
    return [torch.randn(size, generator=random) for size in sizes], mask


def learnt(call, given, mask, slope):
    leaves = [one.detach().clone().requires_grad_() for one in given]
    out = call(*leaves, mask)
    out.float().backward(slope.to(out.device).float())
    return out, [one.grad for one in leaves]


@pytest.fixture
def rounded():
    """Products may be rounded, until the test is over."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("keys", [1, 7, 300])
def test_is_pytorchs_in_values_and_gradients_to_rounding(rounded, keys, masked):
    given, mask = case(keys=keys)
    mask = mask if masked else None
    slope = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    exactly = [one.double() for one in given]
    expected, slopes = learnt(
        lambda *a: scaled_dot_product_attention(*a[:3], attn_mask=a[3]), exactly, mask, slope
    )
    out, gradients = learnt(attention, given, mask, slope)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.02)
    for got, wanted in zip(gradients, slopes):
        torch.testing.assert_close(got.double(), wanted, rtol=0.05, atol=0.05)


def test_a_mask_may_be_of_keys_alone(rounded):
    given, mask = case()
    heeded = mask[:, :, :1]
    out = attention(*given, heeded)
    expected = scaled_dot_product_attention(*given, attn_mask=heeded)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)


def test_what_must_be_exact_is_pytorchs_bit_for_bit():
    given, mask = case()
    expected = scaled_dot_product_attention(*given, attn_mask=mask)
    assert torch.equal(attention(*given, mask), expected)


def test_no_table_is_made_of_many_keys(rounded, monkeypatch):
    given, mask = case()
    asked = []
    monkeypatch.setattr(module, "_FEW_KEYS", 6)  # of the case's 7
    monkeypatch.setattr(
        module, "scaled_dot_product_attention", lambda *_, attn_mask: asked.append(attn_mask)
    )
    attention(*given, mask)
    assert asked == [mask]


def test_under_autocast_it_is_in_the_reduced_type():
    given, mask = case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(*given, mask)
        expected = scaled_dot_product_attention(*given, attn_mask=mask)
    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected, rtol=0.05, atol=0.05)
