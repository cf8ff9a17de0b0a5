from __future__ import annotations

import torch

from fourd_perception.ops.neighbour_max import neighbour_max


def _inputs():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 10, 6, generator=generator)
    frame = torch.tensor([[0, 1], [2, 3], [1, 1]])
    index = torch.randint(0, 10, (3, 2, 5, 4), generator=generator)
    return values, frame, index


def _grouped(values, frame, index):
    return values[frame[:, :, None, None], index].amax(dim=3).transpose(1, 2)


def test_equals_grouping_and_then_pooling():
    values, frame, index = _inputs()
    assert torch.equal(neighbour_max(values, frame, index), _grouped(values, frame, index))


def test_gradient_equals_that_of_grouping_and_then_pooling():
    values, frame, index = _inputs()
    ours, plain = values.clone().requires_grad_(), values.clone().requires_grad_()
    out = neighbour_max(ours, frame, index)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weight).sum().backward()
    (_grouped(plain, frame, index) * weight).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_of_equal_neighbours_one_gets_the_gradient():
    values = torch.ones(1, 3, 2, requires_grad=True)
    out = neighbour_max(values, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[[2, 1, 1]]]]))
    out.sum().backward()
    assert values.grad.tolist() == [[[0, 0], [0, 0], [1, 1]]]
