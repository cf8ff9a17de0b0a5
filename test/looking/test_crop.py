from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.crop import Crop
from fourd_perception.looking.transforms import Transform
from fourd_perception.parameters import ConfigError, from_mapping

coordinates = st.floats(-8, 8, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0])
clouds = hnp.arrays(np.float32, st.tuples(st.integers(0, 40), st.just(3)), elements=coordinates)
corners = st.tuples(*(st.floats(-5, 4.5, width=32) for _ in range(3)))
sizes = st.tuples(*(st.floats(0.125, 5, width=32) for _ in range(3)))


@given(clouds, corners, sizes, st.floats(0, 3), st.just(0.0) | st.floats(0.1, 6))
def test_a_point_is_kept_if_it_returned_and_is_in_the_range_and_in_the_box(
    points, low, size, nearest, depth
):
    high = tuple(one + other for one, other in zip(low, size))
    config = LookConfig(
        min_range=nearest, max_range=nearest + depth if depth else 0.0, crop_box=(*low, *high)
    )
    wide = points.astype(np.float64)
    with np.errstate(invalid="ignore"):
        away = (wide**2).sum(axis=1)
        expected = (
            np.isfinite(wide).all(axis=1)
            & (away >= nearest**2)
            & (away <= (config.max_range or np.inf) ** 2)
            & ((wide >= low) & (wide <= high)).all(axis=1)
        )
    assert Crop(config).inside(points).tolist() == expected.tolist()


@given(clouds, st.integers(0, 2**32 - 1))
def test_the_box_is_tested_in_its_own_frame_and_the_range_in_the_clouds(points, seed):
    random = np.random.default_rng(seed)
    turn, place = Rotation.random(random_state=seed), random.normal(0, 1, 3)
    crop = Crop(LookConfig(max_range=4.0, crop_box=(-1, -2, -1.5, 2, 1, 3)))
    got = crop.inside(points, Transform(turn.as_matrix(), place))
    finite = np.isfinite(points).all(axis=1)
    known = points[finite].astype(np.float64)
    there = turn.apply(known) + place if len(known) else known
    slack = np.abs(
        there[:, :, None] - np.array([(-1, 2), (-2, 1), (-1.5, 3)]).T[None].swapaxes(1, 2)
    )
    decided = (slack > 1e-9).all(axis=(1, 2))  # rounding may decide on the border
    inside = ((there >= (-1, -2, -1.5)) & (there <= (2, 1, 3))).all(axis=1)
    inside &= (known**2).sum(axis=1) <= 16
    assert not got[~finite].any()
    assert got[finite][decided].tolist() == inside[decided].tolist()


@given(clouds)
def test_without_limits_all_that_returned_is_kept(points):
    assert Crop(LookConfig()).inside(points).tolist() == np.isfinite(points).all(axis=1).tolist()


@pytest.mark.parametrize(
    ("given_values", "said"),
    [
        ({"crop_box": [0, 0, 0, 1, 1, -1]}, "the smallest corner .* is not below the largest"),
        ({"crop_box": [0, 0, 0, 1, 1, 0]}, "the smallest corner .* is not below the largest"),
        ({"crop_box": [0, 0, float("nan"), 1, 1, 1]}, r"crop_box\[2\]: expected a finite number"),
        ({"crop_box": [0, 0, 1, 1]}, "crop_box: expected 6 numbers, got 4"),
        ({"crop_frame": "base_link"}, "crop_frame: 'base_link' needs a crop_box"),
        ({"min_range": 2.0, "max_range": 1.0}, "max_range: expected more than min_range, 2 m"),
        ({"background_method": "pixel"}, "did you mean 'pixels'"),
        ({"person_smallest": 3.0}, "person_smallest: expected less than person_largest, 2.6 m"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given_values, said):
    with pytest.raises(ConfigError, match=said) as caught:
        from_mapping(LookConfig, given_values, "recognizer")
    assert "\n" not in str(caught.value)


def test_a_box_of_no_numbers_made_by_hand_is_refused_too():
    with pytest.raises(ValueError, match="is not below"):
        LookConfig(crop_box=(0, 0, float("nan"), 1, 1, 1))
