"""Bags: what is written can be read again, is the same every time, and is there whole or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader

from fourd_perception.messages import clouds
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import BagError, read_messages
from fourd_perception.recordings.bag_writer import BagContent, start_stamp, write_bag
from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.recordings.truth import (
    FILE_NAME,
    POINT_CLASSES_NAME,
    read_point_classes,
    read_truth,
)
from fourd_perception.stream.frame import SECOND, UNLABELLED

CAMERA = Intrinsics(width=8, height=6, fx=10.0, fy=12.0, cx=4.0, cy=3.0)
START = 1_764_000_000 * SECOND
PERIOD = SECOND // 10


def recording(frames: int = 5, *, colour: bool = True, breaks_at: int = -1) -> Recording:
    """A wall at 3 m with a hole in it, and somebody at 2 m before it."""

    def make() -> Iterator[RecordedFrame]:
        for index in range(frames):
            if index == breaks_at:
                raise OSError("the disk is full")
            depth = np.full((6, 8), 3.0, np.float32)
            depth[0, 0] = 0
            foreground = np.zeros((6, 8), np.bool_)
            foreground[2:4, index : index + 2] = True
            depth[foreground] = 2.0 + 0.001 * index
            image = np.full((6, 8, 3), (10, 20, index), np.uint8)
            yield RecordedFrame(index * PERIOD, depth, foreground, image if colour else None)

    truth = (Interval(0, 2 * PERIOD, "bend"), Interval(2 * PERIOD, max(frames, 3) * PERIOD, "wave"))
    return Recording("test", 10.0, CAMERA, ("bend", "wave"), truth, frames, make)


def messages(path: Path, *topics: str) -> list:
    return list(read_messages(path, *topics))


def test_a_bag_holds_what_a_camera_publishes(tmp_path: Path) -> None:
    path = tmp_path / "bags" / "one"
    summary = write_bag(path, recording(), start=START)
    assert (summary.frames, summary.seconds, summary.actions) == (5, 0.5, 2)
    assert [one.name for one in path.parent.iterdir()] == ["one"], "nothing temporary is left"
    with Reader(path) as bag:
        counts = {topic: info.msgcount for topic, info in bag.topics.items()}
        types = {topic: info.msgtype for topic, info in bag.topics.items()}
    assert counts == {camera.TF_STATIC: 1, **{topic: 5 for topic in types if "camera" in topic}}
    assert types == camera.MESSAGE_TYPES
    stamps = [one.stamp for one in messages(path, camera.POINTS)]
    assert stamps == [START + index * PERIOD for index in range(5)]
    assert read_truth(path / FILE_NAME) == (
        Interval(START, START + 2 * PERIOD, "bend"),
        Interval(START + 2 * PERIOD, START + 5 * PERIOD, "wave"),
    )


def test_the_cloud_is_the_foreground_in_the_optical_frame(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", recording(), start=START)
    cloud = messages(tmp_path / "bag", camera.POINTS)[0].message
    assert (cloud.height, cloud.width, cloud.is_dense) == (1, 4, True)
    assert cloud.header.frame_id == camera.OPTICAL_FRAME
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb"]
    # Pixel (row 2, column 0) at 2 m: x = (0 - 4) / 10 * 2, y = (2 - 3) / 12 * 2.
    np.testing.assert_allclose(clouds.from_message(cloud)[0], [-0.8, -1 / 6, 2.0], rtol=1e-6)
    rgb = np.frombuffer(cloud.data, np.uint32)[3]
    assert rgb == (10 << 16 | 20 << 8 | 0)


def test_the_whole_room_is_an_organised_cloud(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", recording(), start=START, content=BagContent(whole_room=True))
    cloud = messages(tmp_path / "bag", camera.POINTS)[0].message
    assert (cloud.height, cloud.width, cloud.is_dense) == (6, 8, False)
    points = clouds.from_message(cloud)
    assert np.isnan(points[0]).all() and np.isfinite(points[1:]).all()


def test_images_and_their_camera(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", recording(), start=START)
    depth = messages(tmp_path / "bag", camera.DEPTH)[3].message
    assert (depth.encoding, depth.height, depth.width, depth.step) == ("16UC1", 6, 8, 16)
    millimetres = depth.data.view("<u2").reshape(6, 8)
    assert (millimetres[0, 0], millimetres[0, 1], millimetres[2, 3]) == (0, 3000, 2003)
    color = messages(tmp_path / "bag", camera.COLOR)[3].message
    assert (color.encoding, color.step, color.data[:3].tolist()) == ("rgb8", 24, [10, 20, 3])
    info = messages(tmp_path / "bag", camera.DEPTH_INFO)[3].message
    assert (info.header.stamp, info.width, info.height) == (depth.header.stamp, 8, 6)
    assert info.k.tolist() == [10, 0, 4, 0, 12, 3, 0, 0, 1]
    assert info.p.tolist() == [10, 0, 4, 0, 0, 12, 3, 0, 0, 0, 1, 0]


def test_the_optical_frame_looks_forward(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", recording(1), start=START)
    (placed,) = messages(tmp_path / "bag", camera.TF_STATIC)[0].message.transforms
    assert (placed.header.frame_id, placed.child_frame_id) == ("camera_link", camera.OPTICAL_FRAME)
    rotation = placed.transform.rotation
    q = np.array([rotation.x, rotation.y, rotation.z])

    def turned(v: list[float]) -> list[float]:
        t = 2 * np.cross(q, v)
        return (v + rotation.w * t + np.cross(q, t)).tolist()

    # REP-103: the optical z is the body's x (forward), the optical x is to the body's -y (right).
    assert turned([0.0, 0.0, 1.0]) == pytest.approx([1, 0, 0])
    assert turned([1.0, 0.0, 0.0]) == pytest.approx([0, -1, 0])
    assert turned([0.0, 1.0, 0.0]) == pytest.approx([0, 0, -1])


def test_offered_qos_is_recorded(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", recording(1), start=START)
    with Reader(tmp_path / "bag") as bag:
        (points,) = bag.topics[camera.POINTS].connections
        (transforms,) = bag.topics[camera.TF_STATIC].connections
    assert points.ext.offered_qos_profiles[0].reliability is QosReliability.BEST_EFFORT
    assert transforms.ext.offered_qos_profiles[0].durability is QosDurability.TRANSIENT_LOCAL


def test_small_bags(tmp_path: Path) -> None:
    write_bag(tmp_path / "a", recording(), start=START, content=BagContent(("points",)))
    write_bag(tmp_path / "b", recording(colour=False), start=START)
    with Reader(tmp_path / "a") as bag:
        assert set(bag.topics) == {camera.POINTS, camera.TF_STATIC}
    with Reader(tmp_path / "b") as bag:
        assert camera.COLOR not in bag.topics and camera.COLOR_INFO not in bag.topics
        assert camera.DEPTH in bag.topics
    write_bag(tmp_path / "c", recording(), start=START, content=BagContent(image_step=2))
    images = [one.stamp for one in messages(tmp_path / "c", camera.DEPTH)]
    assert images == [START, START + 2 * PERIOD, START + 4 * PERIOD]
    assert len(messages(tmp_path / "c", camera.POINTS)) == 5
    with pytest.raises(BagError, match="image step: expected at least 1, got 0"):
        BagContent(image_step=0)
    with pytest.raises(BagError, match="expected some of points, depth, color; got colour"):
        BagContent(("colour",))
    with pytest.raises(BagError, match="got none"):
        BagContent(())


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_bag(tmp_path / name, recording(), start=start_stamp(7))

    def raw(name: str) -> list:
        with Reader(tmp_path / name) as bag:
            return [(one.topic, time, bytes(data)) for one, time, data in bag.messages()]

    assert raw("first") == raw("second")
    assert start_stamp(7) != start_stamp(8)


def test_a_bag_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    write_bag(path, recording(2), start=START)
    with pytest.raises(BagError, match="is there already; .* --force"):
        write_bag(path, recording(3), start=START)
    assert len(messages(path, camera.POINTS)) == 2
    write_bag(path, recording(3), start=START, force=True)
    assert len(messages(path, camera.POINTS)) == 3
    home = tmp_path / "home"
    home.mkdir()
    (home / "letters.txt").write_text("dear")
    with pytest.raises(BagError, match="is not a bag"):
        write_bag(home, recording(2), start=START, force=True)
    assert (home / "letters.txt").read_text() == "dear"


def test_a_failure_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    write_bag(path, recording(2), start=START)
    with pytest.raises(OSError, match="disk is full"):
        write_bag(path, recording(5, breaks_at=3), start=START, force=True)
    assert [one.name for one in tmp_path.iterdir()] == ["bag"]
    assert len(messages(path, camera.POINTS)) == 2, "the old bag is still whole"


def test_a_bag_that_would_hold_no_sensors_topic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="test has no colour"):
        write_bag(
            tmp_path / "bag", recording(colour=False), start=START, content=BagContent(("color",))
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, whole, flipped",
    [
        ("metadata.yaml", b"sensor_msgs", b"\xffensor_msgs"),
        ("bag.mcap", b"sensor_msgs", b"\xffensor_msgs"),
        ("bag.mcap", b"\0\0camera_optical", b"\xff\x7fcamera_optical"),  # the text's length
    ],
)
def test_flipped_bytes_are_damage(tmp_path: Path, name: str, whole: bytes, flipped: bytes) -> None:
    write_bag(tmp_path / "bag", recording(2), start=START)
    file = tmp_path / "bag" / name
    assert whole in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(whole, flipped))
    with pytest.raises(BagError, match="bag: .*damaged") as caught:
        messages(tmp_path / "bag", camera.POINTS)
    assert "\n" not in str(caught.value)


def test_bags_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="no such bag"):
        messages(tmp_path / "nowhere", camera.POINTS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BagError, match="no such bag"):
        messages(empty, camera.POINTS)
    path = tmp_path / "bag"
    write_bag(path, recording(2), start=START, content=BagContent(("points",)))
    with pytest.raises(BagError, match="no topic /lidar; it has /camera/points, /tf_static"):
        messages(path, "/lidar")
    with pytest.raises(BagError, match="/lidar"):
        messages(path, camera.POINTS, "/lidar")
    mcap = path / "bag.mcap"
    assert len(messages(mcap, camera.POINTS)) == 2, "a lone file is a bag as well"
    mcap.write_bytes(mcap.read_bytes()[:300])
    with pytest.raises(BagError, match="not a rosbag2, or damaged"):
        messages(path, camera.POINTS)


def test_labels_go_with_their_points_and_their_names_beside_the_truth(tmp_path: Path) -> None:
    plain = recording()

    def labelled() -> Iterator[RecordedFrame]:
        for frame in plain.frames():
            labels = np.where(frame.foreground, 0, 1).astype(np.uint16)
            yield replace(frame, labels=np.where(frame.depth > 0, labels, UNLABELLED))

    whole = replace(plain, frames=labelled, point_classes=("person", "wall"))
    for whole_room, expected in ((False, [0, 0, 0, 0]), (True, [UNLABELLED, *[1] * 7])):
        path = tmp_path / f"bag_{whole_room}"
        content = BagContent(("points",), whole_room=whole_room, labels=True)
        write_bag(path, whole, start=START, content=content)
        cloud = messages(path, camera.POINTS)[0].message
        assert cloud.fields[-1].name == "label"
        label = np.frombuffer(cloud.data, np.uint32).reshape(-1, cloud.point_step // 4)[:, -1]
        assert label.tolist()[:8] == expected
        assert read_point_classes(path / POINT_CLASSES_NAME) == ("person", "wall")
    with pytest.raises(BagError, match="test has no labels for points"):
        write_bag(tmp_path / "none", plain, start=START, content=BagContent(labels=True))
    assert not (tmp_path / "none").exists()
