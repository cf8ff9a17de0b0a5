from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.parameters import ConfigError, from_mapping
from training.image_views import AS_IT_IS, ImageViewConfig, image_view

seeds = st.integers(0, 10_000)


def images_of(length, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (length, height, width, 3), np.uint8)


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 50), st.integers(1, 50), st.integers(1, 40), seeds)
def test_images_of_any_size_become_squares_alike_in_all_frames(length, height, width, size, seed):
    still = np.repeat(images_of(1, height, width), length, 0)
    made = image_view(still, size, ImageViewConfig(), np.random.default_rng(seed))
    assert made.shape == (length, 3, size, size)
    assert made.dtype == np.float32
    assert 0 <= made.min() <= made.max() <= 1
    # Frames that are one stay one: the crop and the colours are the clip's.
    np.testing.assert_array_equal(made, np.broadcast_to(made[:1], made.shape))


def test_nothing_asked_for_only_scales():
    images = images_of(2, 16, 16)
    made = image_view(images, 16, AS_IT_IS, np.random.default_rng(0))
    np.testing.assert_allclose(made, images.transpose(0, 3, 1, 2) / 255, atol=2e-6)


def test_a_crop_is_a_part_of_the_image_in_place():
    # Red tells the column and green the row, so corners tell where the crop lies.
    column, row = np.meshgrid(np.arange(256), np.arange(256))
    image = np.stack([column, row, np.zeros_like(row)], -1).astype(np.uint8)
    config = replace(AS_IT_IS, crop=0.25)
    lefts, sides = [], []
    for seed in range(30):
        made = image_view(image[None], 64, config, np.random.default_rng(seed))[0] * 255
        across, down = made[0, 0], made[1, :, 0]
        side = (across[-1] - across[0]) * 64 / 63 / 255
        assert side == pytest.approx((down[-1] - down[0]) * 64 / 63 / 255, abs=0.02)
        np.testing.assert_allclose(np.diff(across), np.diff(across).mean(), atol=1.5)
        lefts.append(across[0] / 255)
        sides.append(side)
    assert 0.5 - 0.02 <= min(sides) < max(sides) <= 1.02
    assert min(lefts) >= 0 and np.std(lefts) > 0.05


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_every_change_of_colours_is_made(name):
    images = images_of(2, 8, 8) // 2 + 64
    config = replace(AS_IT_IS, **{name: 0.3})
    before = images.transpose(0, 3, 1, 2) / 255
    after = image_view(images, 8, config, np.random.default_rng(1))
    assert np.abs(after - before).max() > 0.01
    weights = np.array([0.299, 0.587, 0.114])
    grey_before, grey_after = (np.einsum("c,lchw->lhw", weights, one) for one in (before, after))
    if name == "brightness":
        ratio = after / before
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)
    elif name == "contrast":
        # Differences change alike, and the mean grey stays.
        slope = np.polyfit(before.ravel(), after.ravel(), 1)[0]
        np.testing.assert_allclose(np.diff(after), slope * np.diff(before), atol=1e-4)
        assert grey_after.mean() == pytest.approx(grey_before.mean(), abs=1e-4)
    else:
        np.testing.assert_allclose(grey_after, grey_before, atol=3e-3)


def test_grey_images_have_no_hue_nor_saturation_to_change():
    depth = np.repeat(images_of(2, 8, 8)[..., :1], 3, -1)
    made = image_view(depth, 8, replace(AS_IT_IS, saturation=1, hue=0.5), np.random.default_rng(2))
    np.testing.assert_allclose(made, depth.transpose(0, 3, 1, 2) / 255, atol=3e-3)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 3, 4, 4), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match=r"expected \(L, H, W, 3\) uint8, got"):
        image_view(images, 8, ImageViewConfig(), np.random.default_rng(0))


def test_a_bad_configuration_is_refused():
    with pytest.raises(ConfigError, match="crop: expected 0.01 to 1, got 0"):
        from_mapping(ImageViewConfig, {"crop": 0.0}, "run.yaml")
