from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from fourd_perception.parameters import from_mapping
from training import data, datasets
from training.config import DataConfig
from training.datasets.msr_action3d import depth_images


def person(frames: int = 3) -> np.ndarray:
    """A slab that steps to the right, nearer on its left side, 8 rows by 4 columns."""
    depth = np.zeros((frames, 30, 40), np.float32)
    for number in range(frames):
        depth[number, 10:18, 5 + number : 9 + number] = np.linspace(2.0, 3.0, 4)
    return depth


def test_an_image_is_a_square_around_the_person_in_all_frames():
    images = depth_images(person())
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8
    assert (images[..., 0] == images[..., 1]).all() and (images[..., 0] == images[..., 2]).all()
    # Six columns of the 40 are ever used, one more is on either side of them.
    seen = [np.flatnonzero(image.any((0, 2))).tolist() for image in images]
    assert seen == [[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]


def test_nearer_is_brighter_on_one_scale_and_nobody_is_black():
    depth = person()
    depth[2] = np.where(depth[2] > 0, depth[2] - 0.5, 0)
    images = depth_images(depth)[..., 0].astype(int)
    assert (np.diff(images[0, 0, 1:5]) < 0).all()
    assert (images[2, :, 3:7] > images[0, :, 1:5]).all()
    assert images.max() == 255
    assert images[images > 0].min() == 64


def test_a_stray_return_sets_no_scale():
    depth = np.zeros((1, 40, 40), np.float32)
    depth[0, 5:35, 5:35] = np.linspace(2.0, 2.3, 30)
    stray = depth.copy()
    stray[0, 5, 5] = 9.0
    difference = np.abs(depth_images(depth).astype(int) - depth_images(stray))
    assert np.median(difference) <= 3


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_nobody_or_a_flat_one_is_no_error(value):
    images = depth_images(np.full((2, 6, 9), value, np.float32))
    assert len(images) == 2 and images.max() <= 255
    assert bool(images.any()) == (value > 0)


@pytest.fixture
def root(tmp_path):
    raw = np.zeros((240, 320, 2), np.uint16)
    raw[100:140, 150:170] = np.arange(400, 420)[:, None]
    scipy.io.savemat(tmp_path / "a02_s01_e01_sdepth.mat", {"depth": raw})
    return tmp_path


def config(root, **values):
    whole = {"dataset": "msr_action3d", "root": str(root), "prepared": str(root / "prepared")}
    return from_mapping(DataConfig, whole | values, "test")


def test_images_are_prepared_where_they_are_asked_for(root):
    asked = config(root, image_size=[16, 16])
    assert any("no colour" in remark for remark in datasets.open_data_set(asked).remarks)
    videos = data.open_videos(asked, workers=1)
    frame = videos.frame(videos.videos[0], 1)
    assert frame.image is not None and frame.image.shape == (16, 16, 3)
    assert frame.image[:, 8].min() > 60  # the person, from head to foot
    assert frame.points.shape == (40 * 20, 3)


def test_points_are_the_same_with_images_or_without(root):
    plain = data.open_videos(config(root), workers=1)
    with_images = data.open_videos(
        config(root, image_size=[8, 8], prepared=str(root / "images")), workers=1
    )
    frames = [one.frame(one.videos[0], 0) for one in (plain, with_images)]
    assert np.array_equal(frames[0].points, frames[1].points)
    assert frames[0].image is None
    assert not datasets.open_data_set(config(root)).remarks
