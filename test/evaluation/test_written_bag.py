"""The copy of a bag with predictions: all that was there, and what the model said of it."""

from __future__ import annotations

from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
import small_model
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.written_bag import (
    ACTION,
    DEFINITIONS,
    LABEL_INFO,
    SEGMENTATION,
    prediction_bag,
)
from fourd_perception.messages import clouds
from fourd_perception.messages.point_labels import labels_of
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import open_bag, read_messages

ROOT = Path(__file__).resolve().parents[2]


def predict(bag: Path, out: Path, model: Path) -> BagResult:
    loaded = checkpoint.load(model)
    with prediction_bag(out, loaded.card.classes, loaded.card.colours) as copy:
        return evaluate(bag, make_pipeline(loaded), tap=copy.copy, on_result=copy.predict)


def raw(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as bag:
        return [(one.topic, time, bytes(data)) for one, time, data in bag.messages()
                if not one.topic.startswith("/prediction/")]  # fmt: skip


def test_actions(tmp_path: Path) -> None:
    bag, out = cases.clouds(tmp_path / "bag"), tmp_path / "out"
    result = predict(bag, out, small_model.save(tmp_path / "m.safetensors"))
    assert raw(out) == raw(bag)
    said = list(read_messages(out, ACTION))
    assert [one.stamp for one in said] == [one.stamp for one in result.session.answers]
    assert [one.time for one in said] == result.recorded.tolist()
    for one, answer in zip(said, result.session.answers):
        assert tuple((best.class_id, best.score) for best in one.message.results) == answer.top
        assert one.message.header.frame_id == camera.OPTICAL_FRAME
    (table,) = read_messages(out, LABEL_INFO)
    assert [one.class_name for one in table.message.class_map] == list(small_model.CLASSES)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_frames(tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = small_model.save_frame_model(tmp_path / "m.safetensors")
    result = predict(cases.clouds(tmp_path / "bag"), out, model)
    stamps = [one.stamp for one in read_messages(out, ACTION)]
    assert stamps == [one.stamp for one in result.session.answers]


def test_labelled_clouds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = small_model.save_segmenter(tmp_path / "m.safetensors")
    result = predict(cases.clouds(tmp_path / "bag", 12), out, model)
    said = list(read_messages(out, SEGMENTATION))
    assert [one.stamp for one in said] == [one.stamp for one in result.frames]
    for one, frame in zip(said, result.frames):
        labels = labels_of(one.message)
        assert labels is not None
        counts = np.bincount(np.minimum(labels, 3), minlength=4)
        assert tuple(counts) == frame.counts
        number = round((one.stamp - cases.START) / cases.PERIOD)
        np.testing.assert_array_equal(clouds.from_message(one.message), cases.points(number))


def test_a_bag_with_predictions_gets_new_ones(tmp_path: Path) -> None:
    model = small_model.save(tmp_path / "m.safetensors")
    predict(cases.clouds(tmp_path / "bag"), tmp_path / "once", model)
    predict(tmp_path / "once", tmp_path / "twice", model)
    assert len(list(read_messages(tmp_path / "twice", ACTION))) == len(
        list(read_messages(tmp_path / "once", ACTION))
    )


def test_other_types_are_copied_with_their_definition(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("int32 count", "own_msgs/msg/Own"))
    bag = tmp_path / "bag"
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        own = writer.add_connection("/own", "own_msgs/msg/Own", typestore=types)
        points = writer.add_connection(camera.POINTS, cases.CLOUD, typestore=types)
        for number in range(60):
            one = cases.cloud(number)
            message = types.types["own_msgs/msg/Own"](count=number)
            writer.write(own, one.time, types.serialize_cdr(message, "own_msgs/msg/Own"))
            writer.write(points, one.time, types.serialize_cdr(one.message, cases.CLOUD))
    predict(bag, tmp_path / "out", small_model.save(tmp_path / "m.safetensors"))
    counts = [one.message.count for one in read_messages(tmp_path / "out", "/own")]
    assert counts == list(range(60))


def test_a_ros1_bag_becomes_a_ros2_bag(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    with Ros1Writer(path) as writer:
        connection = writer.add_connection(camera.POINTS, cases.CLOUD, typestore=types)
        for number in range(60):
            one = cases.cloud(number)
            data = types.serialize_ros1(ros1_cloud(types, one.message), cases.CLOUD)
            writer.write(connection, one.time, data)
    model = small_model.save(tmp_path / "m.safetensors")
    old = predict(path, tmp_path / "out", model)
    new = predict(cases.clouds(tmp_path / "bag"), tmp_path / "new", model)
    np.testing.assert_array_equal(old.scores, new.scores)
    assert raw(tmp_path / "out") == raw(tmp_path / "bag")


def ros1_cloud(types, message):
    head = message.header
    time = types.types["builtin_interfaces/msg/Time"](head.stamp.sec, head.stamp.nanosec)
    header = types.types["std_msgs/msg/Header"](seq=0, stamp=time, frame_id=head.frame_id)
    fields = [types.types["sensor_msgs/msg/PointField"](**vars(one)) for one in message.fields]
    return types.types[cases.CLOUD](**(vars(message) | {"header": header, "fields": fields}))


def test_the_definitions_are_those_of_vision_msgs() -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    for kind, text in DEFINITIONS.items():
        types.register(get_types_from_msg(text, kind))
    hashes = dict(line.split() for line in (ROOT / "ros/type_hashes.txt").read_text().splitlines())
    ours = {kind: hashes[kind] for kind in DEFINITIONS}
    assert {kind: types.hash_rihs01(kind) for kind in DEFINITIONS} == ours


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    bag = cases.clouds(tmp_path / "bag", 3)  # too few for a window
    model = small_model.save(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="too few"):
        predict(bag, tmp_path / "out" / "copy", model)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_there_and_is_no_bag_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    model = small_model.save(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="is there and is not a bag"):
        predict(cases.clouds(tmp_path / "bag"), tmp_path / "out", model)
    with open_bag(tmp_path / "bag") as bag:
        assert bag.message_count == 60
