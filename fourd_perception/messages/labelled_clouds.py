"""A frame's points with their labels, as a PointCloud2 is laid out. No ROS here."""

from __future__ import annotations

import numpy as np

from fourd_perception.messages.clouds import CloudLayout, to_fields
from fourd_perception.messages.colours import class_colours
from fourd_perception.pipeline import Segmentation


def to_layout(answer: Segmentation, classes: int) -> CloudLayout:
    """The frame's points in their order and rows: x y z rgb, label UINT32, confidence FLOAT32.

    label: the number of the class, UNLABELLED where there is none. rgb: the class's colour.
    """
    frame = answer.frame
    shape = (frame.rows, -1) if frame.rows > 1 else (-1,)
    colours = class_colours(classes)
    number = np.minimum(answer.labels, classes).astype(np.intp)  # UNLABELLED is the last colour
    extra = {
        "label": answer.labels.reshape(shape),
        "confidence": answer.confidence.reshape(shape),
    }
    return to_fields(frame.points.reshape(*shape, 3), colours[number].reshape(*shape, 3), extra)
