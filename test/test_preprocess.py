from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from fourd_perception.preprocess import PreprocessConfig, preprocess, preprocess_image
from training.image_views import AS_IT_IS, image_view

coordinates = st.floats(-4, 4, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])


@given(
    st.integers(0, 30).flatmap(lambda n: arrays(np.float32, (n, 3), elements=coordinates)),
    st.integers(1, 40),
    st.booleans(),
)
def test_samples_only_what_is_valid_and_all_of_it_where_it_is_scarce(points, count, crop):
    config = PreprocessConfig(
        points=count, unit_scale=2.0, crop=(-1.0, -1.0, -1.0, 1.0, 1.0, 1.0) if crop else ()
    )
    out = preprocess(points, config, np.random.default_rng(0))
    valid = points[np.isfinite(points).all(axis=1)]
    if crop:
        valid = valid[(np.abs(valid) <= 1).all(axis=1)]
    if not len(valid):
        assert out is None
        return
    assert out.shape == (count, 3)
    assert out.dtype == np.float32
    there = {tuple(row) for row in (valid * np.float32(2)).tolist()}
    got = [tuple(row) for row in out.tolist()]
    assert set(got) <= there
    if count >= len(valid):
        assert set(got) == there


def test_draws_without_repeats_and_by_its_generator_alone():
    points = np.arange(300, dtype=np.float32).reshape(100, 3)
    config = PreprocessConfig(points=60)
    first, again, other = (preprocess(points, config, np.random.default_rng(s)) for s in (1, 1, 2))
    assert len(np.unique(first, axis=0)) == 60
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("crop", [[1, 2, 3], [0, 0, 0, 1, 1, 0]])
def test_a_crop_that_is_no_box_is_refused(crop):
    with pytest.raises(InputError, match="crop"):
        from_mapping(PreprocessConfig, {"crop": crop}, "file.yaml")


def test_an_image_is_what_training_sees_of_it():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (30, 44, 3), np.uint8)
    found = preprocess_image(image, PreprocessConfig(image_size=16))
    expected = image_view(image[None], 16, AS_IT_IS, random)[0]
    assert found.shape == (3, 16, 16) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for wrong in (image[..., :1], image.astype(np.float32), image[:0], image[0]):
        with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
            preprocess_image(wrong, PreprocessConfig())
