"""A frame's points with their labels, as a PointCloud2 is laid out. No ROS here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourd_perception.messages.clouds import CloudLayout, to_fields
from fourd_perception.pipeline import Segmentation


def to_layout(answer: Segmentation, colours: NDArray[np.uint8]) -> CloudLayout:
    """The frame's points in their order and rows: x y z rgb, label UINT32, confidence FLOAT32.

    label: the number of the class, UNLABELLED where there is none. rgb: the class's of `colours`,
    (K + 1, 3) uint8, as `class_colours` gives them.
    """
    frame = answer.frame
    shape = (frame.rows, -1) if frame.rows > 1 else (-1,)
    last = len(colours) - 1  # what has no label
    number = np.minimum(answer.labels, last).astype(np.intp)
    extra = {
        "label": answer.labels.reshape(shape),
        "confidence": answer.confidence.reshape(shape),
    }
    return to_fields(frame.points.reshape(*shape, 3), colours[number].reshape(*shape, 3), extra)
