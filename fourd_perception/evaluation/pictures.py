"""Pictures of a bag at some of its moments."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.evaluation import charts
from fourd_perception.evaluation.session import Picture
from fourd_perception.messages import clouds
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import read_messages

_MARGIN = 1.15


def read_pictures(bag: str | Path, image_topic: str, stamps: Collection[int]) -> list[Picture]:
    """The frames with these stamps that have an image (rgb8 or 16UC1) and a cloud, in order.

    Raises BagError where the bag cannot be read or lacks a topic.
    """
    images: dict[int, NDArray[np.uint8]] = {}
    points: dict[int, NDArray[np.float32]] = {}
    for one in read_messages(bag, image_topic, camera.POINTS):
        if one.stamp not in stamps:
            continue
        if one.topic == image_topic:
            images[one.stamp] = _image(one.message)
        else:
            points[one.stamp] = clouds.from_message(one.message)
    both = sorted(images.keys() & points.keys())
    return [Picture(stamp, images[stamp], points[stamp]) for stamp in both]


def _image(message: Any) -> NDArray[np.uint8]:
    if message.encoding == "rgb8":
        return np.asarray(message.data).reshape(message.height, message.width, 3)
    depth = np.asarray(message.data).view("<u2").reshape(message.height, message.width)
    return charts.shade_depth(_around_what_is_there(depth).astype(np.float32))


def _around_what_is_there(depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The part of a depth image around all its returns, in the image's own proportions."""
    height, width = depth.shape
    rows, columns = np.nonzero(depth)
    if not len(rows):
        return depth
    middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    share = _MARGIN * float(max(np.ptp(rows) / height, np.ptp(columns) / width))
    share = min(max(share, 1 / min(depth.shape)), 1.0)
    top = round(min(max(middle[0] - share * height / 2, 0), height * (1 - share)))
    left = round(min(max(middle[1] - share * width / 2, 0), width * (1 - share)))
    return depth[top : top + round(share * height), left : left + round(share * width)]
