from __future__ import annotations

import numpy as np
import oracles
import pytest

from fourd_perception.ops.boxes import cut_into_boxes


@pytest.mark.parametrize("shape", oracles.SHAPES)
@pytest.mark.parametrize("points", [1, 31, 32, 33, 1000])
def test_every_point_is_in_one_box_and_within_its_ends(shape, points):
    axes = np.ascontiguousarray(oracles.cloud(shape, 2, points).permute(2, 0, 1).numpy())
    cut = cut_into_boxes(axes, 32)
    assert cut.original.shape == (2, -(-points // 32), 32)
    for cloud in range(2):
        filled = cut.original[cloud] < points
        assert sorted(cut.original[cloud][filled]) == list(range(points))
        assert np.isinf(cut.axes[:, cloud, ~filled]).all()
        for axis in range(3):
            there = axes[axis, cloud, cut.original[cloud][filled]]
            assert (cut.axes[axis, cloud][filled] == there).all()
            of_box = [axes[axis, cloud, box[box < points]] for box in cut.original[cloud]]
            assert [one.min() for one in of_box] == cut.low[axis, cloud].tolist()
            assert [one.max() for one in of_box] == cut.high[axis, cloud].tolist()


def test_near_points_share_a_box():
    cloud = oracles.cloud("uniform", 1, 4096) - 0.5  # coordinates of both signs
    axes = np.ascontiguousarray(cloud.permute(2, 0, 1).numpy())
    cut = cut_into_boxes(axes, 64)  # 64 boxes: a quarter of the cloud long on every side
    assert (cut.high - cut.low).max() < 0.35
