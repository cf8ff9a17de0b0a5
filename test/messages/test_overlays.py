from __future__ import annotations

import numpy as np
import pytest

from fourd_perception.messages import overlays
from fourd_perception.messages.colours import class_colours
from fourd_perception.pipeline import Segmentation
from fourd_perception.stream.frame import UNLABELLED, Frame


def labelled(points, labels) -> Segmentation:
    frame = Frame(7, "camera", np.asarray(points, np.float32))
    return Segmentation(frame, np.asarray(labels, np.uint32), np.ones(len(labels), np.float32), 1.0)


def block(centre, size, count=5000, seed=0):
    sides = np.random.default_rng(seed).random((count, 3)) - 0.5
    return np.asarray(centre) + sides * np.asarray(size)


def test_each_class_that_is_there_has_a_box_around_its_points():
    first, second = block((0, 0, 2), (0.4, 1.0, 0.2)), block((1, -0.5, 3), (0.2, 0.2, 0.2), seed=1)
    labels = [0] * len(first) + [2] * len(second)
    boxes = overlays.class_boxes(labelled(np.vstack([first, second]), labels), 3)
    assert [box.number for box in boxes] == [0, 2]
    for box, centre, size in zip(
        boxes, ((0, 0, 2), (1, -0.5, 3)), ((0.4, 1.0, 0.2), (0.2, 0.2, 0.2))
    ):
        assert box.centre == pytest.approx(centre, abs=0.02)
        # 2 % at either end are cut off: 96 % of the sides are left
        assert box.size == pytest.approx(tuple(0.96 * one for one in size), abs=0.02)
        x, y, z = box.above
        assert (x, z) == (box.centre[0], box.centre[2])
        assert y < box.centre[1] - box.size[1] / 2  # y points down


def test_a_few_wrong_labels_do_not_make_a_box_large():
    points = block((0, 0, 2), (0.4, 0.4, 0.4))
    far = block((5, 5, 9), (1, 1, 1), count=40)
    one = overlays.class_boxes(labelled(np.vstack([points, far]), [1] * 5040), 2)[0]
    assert max(one.size) < 0.45


def test_points_without_a_label_and_handfuls_have_no_box():
    points = block((0, 0, 2), (1, 1, 1), count=109)
    labels = [UNLABELLED] * 100 + [0] * 9
    assert overlays.class_boxes(labelled(points, labels), 1) == []


def test_the_place_above_a_cloud_with_holes():
    points = block((0.5, 0, 2), (0.4, 1.0, 0.2)).astype(np.float32)
    points[::3] = np.nan
    place = overlays.above(points)
    assert place == pytest.approx((0.5, -0.48 - 0.1, 2.0), abs=0.03)
    assert overlays.above(np.full((50, 3), np.nan, np.float32)) is None


def test_colours_are_what_the_checkpoint_says_or_all_different():
    told = class_colours(2, ("#ff0080", "#010203"))
    assert told.tolist() == [[255, 0, 128], [1, 2, 3], [110, 110, 110]]
    drawn = class_colours(20)
    assert len({tuple(row) for row in drawn.tolist()}) == 21
    assert class_colours(0).shape == (1, 3)
