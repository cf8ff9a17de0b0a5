from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fourd_perception.ops import linear as module
from fourd_perception.ops.linear import linear

SHAPES = [(3,), (1, 3), (5, 3), (2, 7, 3), (2, 3, 4, 67), (5000, 16), (0, 3), (2, 0, 5)]
ways = pytest.mark.parametrize("product", [True, False], ids=["product", "convolution"])


def case(shape, bias, dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=random, dtype=dtype)
    weight = torch.randn(11, shape[-1], generator=random, dtype=dtype)
    return values, weight, torch.randn(11, generator=random, dtype=dtype) if bias else None


@ways
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_is_pytorchs_in_values_and_gradients(monkeypatch, shape, bias, product):
    if not product:
        monkeypatch.setattr(module, "_PRODUCT", None)
    given = case(shape, bias)
    exact = [None if one is None else one.double().requires_grad_() for one in given]
    expected = functional.linear(*exact)
    with torch.no_grad():
        out = linear(*given)
    assert out.shape == expected.shape and out.dtype == torch.float32 and out.is_contiguous()
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)
    ours = [None if one is None else one.requires_grad_() for one in given]
    slope = torch.randn(expected.shape, dtype=torch.float64)
    expected.backward(slope)
    linear(*ours).backward(slope.float())
    for got, wanted in zip(ours, exact):
        if got is not None:
            torch.testing.assert_close(got.grad.double(), wanted.grad, rtol=1e-3, atol=1e-3)


@ways
def test_takes_strided_values_and_weights(monkeypatch, product):
    if not product:
        monkeypatch.setattr(module, "_PRODUCT", None)
    values, weight, bias = case((6, 5, 4), True)
    strided, wide = values.transpose(0, 1), torch.cat((weight, weight), 1)[:, 4:]
    with torch.no_grad():
        out = linear(strided, wide, bias)
        torch.testing.assert_close(out, functional.linear(strided, wide, bias))


@ways
@pytest.mark.parametrize("rows", [7, 5000])
def test_computes_no_gradient_but_those_asked_for(monkeypatch, rows, product):
    if not product:
        monkeypatch.setattr(module, "_PRODUCT", None)
    for asked in range(3):
        given = case((rows, 4), True)
        given[asked].requires_grad_()
        out = linear(*given).relu_()  # in place, which a view of something else would copy
        assert not out._is_view()
        out.mean().backward()  # a gradient that is one number, expanded
        exact = [one.detach().double() for one in given]
        exact[asked].requires_grad_()
        functional.linear(*exact).relu().mean().backward()
        torch.testing.assert_close(given[asked].grad.double(), exact[asked].grad)
        assert sum(one.grad is not None for one in given) == 1


def test_under_autocast_it_is_what_autocast_makes_of_pytorchs():
    given = case((4, 3), True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, expected = linear(*given), functional.linear(*given)
    assert out.dtype == torch.bfloat16 and torch.equal(out, expected)


def test_leaves_to_pytorch_what_is_not_float32_or_may_be_rounded():
    values, weight, bias = case((4, 3), True, torch.float64)
    assert torch.equal(linear(values, weight, bias), functional.linear(values, weight, bias))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        given = case((4, 3), True)
        assert torch.equal(linear(*given), functional.linear(*given))
    finally:
        torch.set_float32_matmul_precision(before)
    assert linear(torch.empty(2, 3, device="meta"), torch.empty(4, 3, device="meta")).shape == (
        2,
        4,
    )


def test_refuses_what_does_not_fit_as_pytorch_does():
    with pytest.raises(RuntimeError):
        linear(torch.zeros(2, 3), torch.zeros(4, 5))
