"""Answers to ROS messages. The one module here that needs ROS message packages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import (
    Classification,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)
from visualization_msgs.msg import Marker, MarkerArray

from fourd_perception.answers import PeopleActions
from fourd_perception.messages import overlays
from fourd_perception.messages.clouds import CloudLayout, to_fields
from fourd_perception.messages.labelled_clouds import to_layout
from fourd_perception.pipeline import FrameActions, Recognition, Segmentation
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame

_SHOWN = Duration(sec=1)
"""How long a marker is shown that no newer one replaces: then its class is out of view."""
_WHITE = (255, 255, 255)
_LETTERS = {"classes": 0.08, "action": 0.16, "people": 0.12}
"""Height of what is written, metres, by namespace."""
_SEE_THROUGH = 0.25


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
    return Classification(
        header=_header(recognition.stamp, recognition.frame_id),
        results=_hypotheses(recognition, classes, k, min_score, class_id),
    )


def people(
    answer: PeopleActions, classes: Sequence[str], k: int, min_score: float, class_id: str = "name"
) -> Detection3DArray:
    """A detection for each person: `id` their number, `bbox` their box along the axes of the
    cloud's frame, `results` as `classification` has them, each with the middle of the box.
    """
    message = Detection3DArray(header=_header(answer.stamp, answer.frame_id))
    for one in answer.people:
        box = overlays.person_box(one.person)
        found = Detection3D(header=message.header, id=str(one.person.number))
        found.bbox.center.position = Point(x=box.centre[0], y=box.centre[1], z=box.centre[2])
        found.bbox.size = Vector3(x=box.size[0], y=box.size[1], z=box.size[2])
        for hypothesis in _hypotheses(one.recognition, classes, k, min_score, class_id):
            result = ObjectHypothesisWithPose(hypothesis=hypothesis)
            result.pose.pose = found.bbox.center
            found.results.append(result)
        message.detections.append(found)
    return message


def people_markers(answer: PeopleActions, classes: Sequence[str], min_score: float) -> MarkerArray:
    """Over each person, their number and what they do: "3 wave hand 93 %"; nothing is believed:
    their number alone. A marker's id is the person's."""
    markers = []
    for one in answer.people:
        number = one.person.number
        best = one.recognition.top(1, min_score)
        text = f"{number} {_said(classes, *best[0])}" if best else str(number)
        header, place = _header(answer.stamp, answer.frame_id), overlays.person_box(one.person)
        markers.append(_text(header, "people", number, place.above, _WHITE, text))
    return MarkerArray(markers=markers)


def _hypotheses(
    recognition: Recognition, classes: Sequence[str], k: int, min_score: float, class_id: str
) -> list[ObjectHypothesis]:
    return [
        ObjectHypothesis(class_id=classes[index] if class_id == "name" else str(index), score=score)
        for index, score in recognition.top(k, min_score)
    ]


def _said(classes: Sequence[str], number: int, score: float) -> str:
    return f"{classes[number].replace('_', ' ')} {100 * score:.0f} %"


def _header(stamp: int, frame_id: str) -> Header:
    return Header(stamp=to_stamp(stamp), frame_id=frame_id)


def segmentation(answer: Segmentation, colours: NDArray[np.uint8]) -> PointCloud2:
    """The points as `labelled_clouds.to_layout` has them, with the frame's header."""
    return _cloud(to_layout(answer, colours), answer.frame)


def shown_points(frame: Frame) -> PointCloud2:
    """The points of a frame that models are shown, x y z, in one row, with the frame's header."""
    return _cloud(to_fields(frame.visible), frame)


def _cloud(layout: CloudLayout, frame: Frame) -> PointCloud2:
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
    message.header.stamp = to_stamp(frame.stamp)
    message.header.frame_id = frame.frame_id
    return message


def class_markers(
    answer: Segmentation, classes: Sequence[str], colours: NDArray[np.uint8]
) -> MarkerArray:
    """A box around the points of each class, with the class's name over it.

    Namespaces "boxes" and "classes"; a marker's id is the class's number. colours: as for
    `segmentation`.
    """
    markers = []
    header = _header(answer.frame.stamp, answer.frame.frame_id)
    for box in overlays.class_boxes(answer, len(classes)):
        colour = colours[box.number].tolist()
        shape = _marker(header, "boxes", box.number, box.centre, colour)
        shape.type, shape.color.a = Marker.CUBE, _SEE_THROUGH
        shape.scale = Vector3(x=box.size[0], y=box.size[1], z=box.size[2])
        name = classes[box.number]
        markers += [shape, _text(header, "classes", box.number, box.above, colour, name)]
    return MarkerArray(markers=markers)


def action_marker(answer: FrameActions, classes: Sequence[str], min_score: float) -> MarkerArray:
    """What is done in the newest frame, written over its points; none if nothing is believed."""
    best = answer.frames[-1].top(1, min_score)
    place = overlays.above(answer.newest.points)
    if not best or place is None:
        return MarkerArray()
    header = _header(answer.newest.stamp, answer.newest.frame_id)
    text = _said(classes, *best[0])
    return MarkerArray(markers=[_text(header, "action", 0, place, _WHITE, text)])


def _text(
    header: Header, namespace: str, number: int, place: overlays.Place, colour: Sequence[int],
    text: str,
) -> Marker:  # fmt: skip
    marker = _marker(header, namespace, number, place, colour)
    marker.type, marker.text, marker.scale.z = Marker.TEXT_VIEW_FACING, text, _LETTERS[namespace]
    return marker


def _marker(
    header: Header, namespace: str, number: int, place: overlays.Place, colour: Sequence[int]
) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, lifetime=_SHOWN)
    marker.pose.position = Point(x=place[0], y=place[1], z=place[2])
    red, green, blue = (value / 255 for value in colour)
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    return marker


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
