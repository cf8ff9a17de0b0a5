"""Recognitions to ROS messages. The one module here that needs ROS message packages."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from vision_msgs.msg import Classification, LabelInfo, ObjectHypothesis, VisionClass

from fourd_perception.pipeline import Recognition
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
