from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.ops import farthest_point
from fourd_perception.ops.farthest_point import farthest_point_sample

# Few different coordinates: many points coincide, many distances are equal.
clouds = st.integers(1, 20).flatmap(
    lambda n: arrays(np.float32, (2, n, 3), elements=st.sampled_from([0.0, 0.1, 0.25, 1.0, -3.0]))
)


@given(clouds, st.data())
def test_equals_the_textbook(cloud, data):
    count = data.draw(st.integers(1, cloud.shape[1]))
    index = farthest_point_sample(torch.from_numpy(cloud), count)
    assert index.tolist() == [oracles.farthest_point_sample(one, count) for one in cloud]


def test_back_ends_give_the_same_indices():
    points = torch.randn(4, 300, 3, generator=torch.Generator().manual_seed(1))
    on_cpu = farthest_point_sample(points, 120)
    assert torch.equal(on_cpu, farthest_point._sample_torch(points, 120))


def test_sampling_again_from_its_order_takes_a_prefix():
    """What lets a network's later layers sample without searching."""
    points = torch.randn(3, 200, 3, generator=torch.Generator().manual_seed(2))
    order = farthest_point_sample(points, 100)
    ordered = points.gather(1, order[:, :, None].expand(-1, -1, 3))
    assert torch.equal(farthest_point_sample(ordered, 40), torch.arange(40).expand(3, -1))


def test_takes_any_memory_layout():
    points = torch.randn(2, 3, 50).transpose(1, 2)
    assert torch.equal(
        farthest_point_sample(points, 10), farthest_point_sample(points.contiguous(), 10)
    )


@pytest.mark.parametrize(
    ("points", "count", "says"),
    [
        (torch.zeros(2, 5, 3), 6, "1 to 5"),
        (torch.zeros(2, 5, 3), 0, "1 to 5"),
        (torch.zeros(5, 3), 1, r"\(5, 3\)"),
        (torch.zeros(2, 5, 3, dtype=torch.float64), 1, "float64"),
    ],
)
def test_refuses_what_does_not_fit(points, count, says):
    with pytest.raises(ValueError, match=says):
        farthest_point_sample(points, count)
