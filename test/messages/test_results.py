from __future__ import annotations

import numpy as np
import pytest

from fourd_perception.answers import PeopleActions, PersonAction
from fourd_perception.messages.colours import class_colours
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.pipeline import FrameActions, Recognition, Segmentation
from fourd_perception.stream.frame import Frame, Person

pytest.importorskip("vision_msgs.msg")
results = pytest.importorskip("fourd_perception.messages.results")

CLASSES = ("idle", "wave", "sit", "stand")
STAMP = 1_700_000_000_123_456_789


def recognition(*scores: float) -> Recognition:
    return Recognition(STAMP, "camera_optical", STAMP - 10**9, np.float32(scores), 1.0)


def found(message) -> list[tuple[str, float]]:
    return [(one.class_id, one.score) for one in message.results]


def test_the_best_classes_by_name_best_first():
    message = results.classification(recognition(0.125, 0.5, 0.0, 0.375), CLASSES, 2, 0.0)
    assert found(message) == [("wave", 0.5), ("stand", 0.375)]
    assert message.header.frame_id == "camera_optical"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(STAMP, 10**9)


def test_classes_by_number_and_all_of_them():
    message = results.classification(
        recognition(0.125, 0.5, 0.0, 0.375), CLASSES, 0, 0.125, class_id="number"
    )
    assert found(message) == [("1", 0.5), ("3", 0.375), ("0", 0.125)]


def two_people() -> PeopleActions:
    people = []
    for number, scores in ((3, (0.0, 0.75, 0.25, 0.0)), (7, (0.25, 0.25, 0.25, 0.25))):
        low, high = np.array([number, -1.0, 2.0]), np.array([number + 0.5, 0.75, 2.5])
        person = Person(number, np.empty(0, np.bool_), low, high)
        people.append(PersonAction(person, recognition(*scores)))
    return PeopleActions(STAMP, "camera_optical", tuple(people), None, 1.0)


def test_people_have_their_numbers_their_boxes_and_the_classes_that_are_believed():
    message = results.people(two_people(), CLASSES, 1, 0.5, class_id="number")
    assert from_stamp(message.header.stamp) == STAMP
    assert [one.id for one in message.detections] == ["3", "7"]
    assert [one.header for one in message.detections] == [message.header] * 2
    first, second = message.detections
    assert [(one.hypothesis.class_id, one.hypothesis.score) for one in first.results] == [
        ("1", 0.75)
    ]
    assert second.results == []
    centre, size = first.bbox.center.position, first.bbox.size
    assert (centre.x, centre.y, centre.z) == (3.25, -0.125, 2.25)
    assert (size.x, size.y, size.z) == (0.5, 1.75, 0.5)


def test_over_people_stands_their_number_and_what_is_believed_of_them():
    first, second = results.people_markers(two_people(), CLASSES, 0.5).markers
    assert (first.text, first.id, second.text, second.id) == ("3 wave 75 %", 3, "7", 7)
    assert first.pose.position.y == pytest.approx(-1.1)  # y points down
    assert first.header.frame_id == "camera_optical" and first.lifetime.sec == 1


def test_nothing_believed_is_an_empty_answer_with_a_header():
    message = results.classification(recognition(0.25, 0.25, 0.25, 0.25), CLASSES, 3, 0.5)
    assert found(message) == []
    assert from_stamp(message.header.stamp) == STAMP


def test_the_class_table():
    message = results.label_info(CLASSES, STAMP, 0.25)
    assert [(one.class_id, one.class_name) for one in message.class_map] == list(enumerate(CLASSES))
    assert message.threshold == 0.25
    assert from_stamp(message.header.stamp) == STAMP


def test_the_number_of_unlabelled_points_is_no_class():
    classes = [str(number) for number in range(65536)]
    assert results.label_info(classes[:65535], 0, 0.0).class_map[-1].class_id == 65534
    with pytest.raises(ValueError, match="65536"):
        results.label_info(classes, 0, 0.0)


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 10**9, STAMP, -1, (2**31 - 1) * 10**9])
def test_stamps_come_back(stamp):
    assert from_stamp(results.to_stamp(stamp)) == stamp


def block(count: int = 100) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3)).astype(np.float32)


def test_markers_of_classes_lie_where_their_points_do():
    frame = Frame(STAMP, "camera_optical", block())
    labels = np.array([1] * 50 + [3] * 50, np.uint32)
    answer = Segmentation(frame, labels, np.ones(100, np.float32), 1.0)
    colours = class_colours(4, ("#000000", "#ff0000", "#000000", "#00ff00"))
    shapes = results.class_markers(answer, CLASSES, colours).markers
    assert [(one.ns, one.id, one.text) for one in shapes] == [
        ("boxes", 1, ""), ("classes", 1, "wave"), ("boxes", 3, ""), ("classes", 3, "stand"),
    ]  # fmt: skip
    assert {(one.header.frame_id, from_stamp(one.header.stamp)) for one in shapes} == {
        ("camera_optical", STAMP)
    }
    box, name = shapes[:2]
    assert (box.color.r, box.color.g, box.color.b) == (1.0, 0.0, 0.0)
    assert 0 < box.color.a < name.color.a == 1.0
    assert box.type == box.CUBE
    assert 0.8 < box.scale.x <= 1.0
    assert name.type == name.TEXT_VIEW_FACING
    assert name.pose.position.y < box.pose.position.y < 1
    assert all(one.lifetime.sec >= 1 for one in shapes)  # what is out of view goes away


def test_the_marker_of_an_action_says_the_best_class_of_the_newest_frame():
    newest = Frame(STAMP, "camera_optical", block())
    older = recognition(0.0, 0.0, 1.0, 0.0)
    answer = FrameActions((older, recognition(0.125, 0.5, 0.0, 0.375)), newest, 1.0)
    (marker,) = results.action_marker(answer, ("idle", "high_wave", "sit", "stand"), 0.0).markers
    assert (marker.ns, marker.text) == ("action", "high wave 50 %")
    assert marker.header.frame_id == "camera_optical"
    assert results.action_marker(answer, CLASSES, 0.6).markers == []
    nothing = FrameActions(answer.frames, Frame(STAMP, "", block(0)), 1.0)
    assert results.action_marker(nothing, CLASSES, 0.0).markers == []
