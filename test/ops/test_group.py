from __future__ import annotations

import pytest
import torch

from fourd_perception.ops.group import group


def test_takes_the_rows_of_neighbours():
    values = torch.arange(12.0).view(2, 3, 2)
    index = torch.tensor([[[2, 0]], [[1, 1]]])
    assert group(values, index).tolist() == [[[[4, 5], [0, 1]]], [[[8, 9], [8, 9]]]]


def test_gradients_of_repeated_neighbours_add_up():
    values = torch.zeros(1, 3, 1, requires_grad=True)
    group(values, torch.tensor([[[2, 0], [2, 2]]])).sum().backward()
    assert values.grad.flatten().tolist() == [1, 0, 3]


def test_takes_any_memory_layout_and_type():
    values = torch.randn(2, 4, 9).transpose(1, 2).double()
    index = torch.randint(0, 9, (5, 3, 2)).permute(2, 0, 1)
    expected = torch.stack([one[at] for one, at in zip(values, index)])
    assert torch.equal(group(values, index), expected)
    assert group(values, index[:, :0]).shape == (2, 0, 3, 4)


@pytest.mark.parametrize(
    ("values", "index", "says"),
    [
        (torch.zeros(3, 2), torch.zeros(1, 1, 1).long(), r"values: expected \(B, N, C\)"),
        (torch.zeros(1, 3, 2), torch.zeros(1, 1).long(), r"index: .*\(1, 1\)"),
        (torch.zeros(1, 3, 2), torch.zeros(1, 1, 1).int(), "index: expected int64"),
        (torch.zeros(1, 3, 2), torch.zeros(2, 1, 1).long(), "index: expected 1 of them, .* got 2"),
        (torch.zeros(1, 3, 2), torch.full((1, 1, 1), 3), "index: expected indices from 0 to 2"),
        (torch.zeros(1, 3, 2), torch.full((1, 1, 1), -1), "index: expected indices from 0 to 2"),
    ],
)
def test_refuses_what_does_not_fit(values, index, says):
    with pytest.raises(ValueError, match=says):
        group(values, index)
