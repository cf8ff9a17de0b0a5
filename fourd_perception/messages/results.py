"""Answers to ROS messages. The one module here that needs ROS message packages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from builtin_interfaces.msg import Time
from sensor_msgs.msg import PointCloud2, PointField
from vision_msgs.msg import Classification, LabelInfo, ObjectHypothesis, VisionClass

from fourd_perception.messages.labelled_clouds import to_layout
from fourd_perception.pipeline import Recognition, Segmentation
from fourd_perception.stream.frame import SECOND, UNLABELLED


def to_stamp(nanoseconds: int) -> Time:
    """Stamps before 1970 have a negative `sec` and a `nanosec` from 0, as in rclpy."""
    seconds, rest = divmod(nanoseconds, SECOND)
    return Time(sec=seconds, nanosec=rest)


def classification(
    recognition: Recognition,
    classes: Sequence[str],
    k: int,
    min_score: float,
    class_id: str = "name",
) -> Classification:
    """The best k classes (0: all) that score `min_score` or more, best first; there may be none.

    class_id: what ObjectHypothesis.class_id holds: the class's "name" or its "number" in `classes`.
    The header is that of the window's newest frame.
    """
    message = Classification()
    message.header.stamp = to_stamp(recognition.stamp)
    message.header.frame_id = recognition.frame_id
    message.results = [
        ObjectHypothesis(class_id=classes[index] if class_id == "name" else str(index), score=score)
        for index, score in recognition.top(k, min_score)
    ]
    return message


def segmentation(answer: Segmentation, classes: int) -> PointCloud2:
    """The points as `labelled_clouds.to_layout` has them, with the frame's header."""
    layout = to_layout(answer, classes)
    message = PointCloud2(
        height=layout.height,
        width=layout.width,
        fields=[PointField(**vars(field)) for field in layout.fields],
        is_bigendian=layout.is_bigendian,
        point_step=layout.point_step,
        row_step=layout.row_step,
        is_dense=layout.is_dense,
    )
    message.data = array("B", layout.data)  # a bytes object would be gone through byte by byte
    message.header.stamp = to_stamp(answer.frame.stamp)
    message.header.frame_id = answer.frame.frame_id
    return message


def label_info(classes: Sequence[str], stamp: int, threshold: float) -> LabelInfo:
    """The class table: numbers to names. threshold: the score below which a class is left out.

    Raises ValueError where the classes do not fit into the message's 16 bits.
    """
    if len(classes) > UNLABELLED:
        raise ValueError(f"classes: expected at most {UNLABELLED}, got {len(classes)}")
    message = LabelInfo(threshold=float(threshold))
    message.header.stamp = to_stamp(stamp)
    message.class_map = [
        VisionClass(class_id=number, class_name=name) for number, name in enumerate(classes)
    ]
    return message
