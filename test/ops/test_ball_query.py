from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.ops import ball_query as module
from fourd_perception.ops.ball_query import ball_query

coordinates = st.sampled_from([0.0, 0.1, 0.25, 0.5, -0.5])


@given(
    arrays(np.float32, (2, 12, 3), elements=coordinates),
    arrays(np.float32, (2, 5, 3), elements=coordinates),
    st.sampled_from([0.1, 0.25, 0.5, 0.75]),
    st.integers(1, 15),
)
def test_equals_the_textbook_on_every_back_end(points, centres, radius, k):
    expected = [
        [oracles.ball_query(cloud, centre, radius, k) for centre in some]
        for cloud, some in zip(points, centres)
    ]
    cloud, some = torch.from_numpy(points), torch.from_numpy(centres)
    assert ball_query(cloud, some, radius, k).tolist() == expected
    assert module._query_torch(cloud, some, radius, k).tolist() == expected


def test_the_border_is_outside_and_the_first_hits_win():
    points = torch.tensor([[[2.0, 0, 0], [1.0, 0, 0], [0.5, 0, 0], [0.1, 0, 0]]])
    centre = torch.zeros(1, 1, 3)
    assert ball_query(points, centre, 1.0, 3).tolist() == [[[2, 3, 2]]]
    assert ball_query(points, centre, 9.0, 2).tolist() == [[[0, 1]]]
    assert ball_query(points, centre + 50, 1.0, 2).tolist() == [[[0, 0]]]


@pytest.mark.parametrize(
    ("points", "centres", "radius", "k"),
    [
        (torch.zeros(1, 4, 3), torch.zeros(2, 4, 3), 1.0, 1),
        (torch.zeros(1, 0, 3), torch.zeros(1, 4, 3), 1.0, 1),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 2), 1.0, 1),
        (torch.zeros(1, 4, 3).half(), torch.zeros(1, 4, 3), 1.0, 1),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), 0.0, 1),
        (torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), 1.0, 0),
    ],
)
def test_refuses_what_does_not_fit(points, centres, radius, k):
    with pytest.raises(ValueError, match="expected"):
        ball_query(points, centres, radius, k)
