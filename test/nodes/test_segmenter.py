from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
from node_bench import PERIOD, RATE, START, Bench, cloud, stream
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Classification, LabelInfo
from visualization_msgs.msg import MarkerArray

from fourd_perception import checkpoint
from fourd_perception.messages import clouds
from fourd_perception.messages.colours import class_colours
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.segmenter import Segmenter
from fourd_perception.pipeline import (
    FrameActionConfig,
    FrameActionPipeline,
    SegmentationConfig,
    SegmentationPipeline,
)
from fourd_perception.stream.frame import UNLABELLED, Frame

CONFIG = SegmentationConfig(max_distance=0.3)


@pytest.fixture(scope="module")
def segmenter_model(tmp_path_factory):
    clip = small_model.ClipConfig(frames=3, frame_step=1, rate=RATE)
    path = tmp_path_factory.mktemp("nodes") / "points.safetensors"
    return small_model.save_segmenter(path, clip=clip)


@pytest.fixture(scope="module")
def frame_model(tmp_path_factory):
    clip = small_model.ClipConfig(frames=6, frame_step=1, rate=RATE)
    path = tmp_path_factory.mktemp("nodes") / "frames.safetensors"
    return small_model.save_frame_model(path, clip=clip)


@pytest.fixture
def make_segmenter(segmenter_model, ros):
    made = []

    def make(**parameters):
        given = {"model": str(segmenter_model), "max_distance": 0.3, **parameters}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        node = Segmenter(parameter_overrides=overrides)
        made.append(Bench(node, PointCloud2, "/segmenter/segmentation"))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def table(message):
    kinds = {7: "<f4", 6: "<u4"}
    fields = [(one.name, kinds[one.datatype]) for one in message.fields]
    return np.frombuffer(bytes(message.data), fields).reshape(message.height, message.width)


def expected(model, messages, config=CONFIG):
    pipeline = SegmentationPipeline(checkpoint.load(model), config)
    frames = [
        Frame(from_stamp(one.header.stamp), "camera", clouds.from_message(one)) for one in messages
    ]
    return [one for one in map(pipeline.push, frames) if one]


def test_the_cloud_comes_back_with_the_pipelines_labels(make_segmenter, segmenter_model):
    bench, messages = make_segmenter(), stream(5)
    bench.activate()
    for number, message in enumerate(messages, start=1):
        bench.send(message)
        bench.answered(max(0, number - 2))
    colours = class_colours(len(small_model.CLASSES))
    for answer, sent, truth in zip(
        bench.answers, messages[2:], expected(segmenter_model, messages), strict=True
    ):
        assert answer.header == sent.header
        got = table(answer)
        assert got.dtype.names == ("x", "y", "z", "rgb", "label", "confidence")
        points = np.stack([got[axis] for axis in "xyz"], -1)[0]
        np.testing.assert_array_equal(points, clouds.from_message(sent))
        np.testing.assert_array_equal(got["label"][0], truth.labels)
        np.testing.assert_array_equal(got["confidence"][0], truth.confidence)
        packed = got["rgb"][0].view(np.uint32)
        wanted = colours[np.minimum(truth.labels, len(small_model.CLASSES))].astype(np.uint32)
        np.testing.assert_array_equal(packed, wanted[:, 0] << 16 | wanted[:, 1] << 8 | wanted[:, 2])
        assert {UNLABELLED} < set(truth.labels.tolist())


def test_an_organised_cloud_stays_one_and_its_holes_have_no_label(make_segmenter):
    bench = make_segmenter(max_distance=10.0)
    bench.activate()
    for message in stream(3):
        points = clouds.from_message(message)
        points[7] = np.nan
        message.data = points.tobytes()
        message.height, message.width, message.row_step = 5, 10, 120
        bench.send(message)
    bench.answered(1)
    answer = bench.answers[0]
    assert (answer.height, answer.width, answer.is_dense) == (5, 10, False)
    assert answer.row_step == 10 * answer.point_step
    got = table(answer)
    assert (got["label"] == UNLABELLED).nonzero() == (np.array([0]), np.array([7]))
    assert got["confidence"][0, 7] == 0


def test_a_cloud_that_changes_its_size_and_an_empty_one_are_answered(make_segmenter):
    bench = make_segmenter()
    bench.activate()
    sizes = [50, 50, 50, 20, 0, 90]
    for number, size in enumerate(sizes):
        bench.send(cloud(START + number * PERIOD, size))
        bench.answered(max(0, number - 1))
    assert [one.height * one.width for one in bench.answers] == sizes[2:]


def test_the_class_table_is_there_for_whoever_comes_late(make_segmenter):
    bench = make_segmenter()
    bench.activate()
    tables: list[LabelInfo] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.probe.create_subscription(LabelInfo, "/segmenter/label_info", tables.append, latched)
    bench.until(lambda: tables)
    assert [one.class_name for one in tables[0].class_map] == list(small_model.CLASSES)


def test_a_model_of_actions_is_refused(make_segmenter, model):
    bench = make_segmenter(model=str(model))
    assert not bench.recognizer.start()


def test_its_own_cloud_is_not_proposed_as_its_input(make_segmenter, monkeypatch):
    monkeypatch.setattr("fourd_perception.nodes.diagnostics.SILENT_AFTER", 0.0)
    bench = make_segmenter()
    bench.probe.destroy_publisher(bench.points)
    assert bench.recognizer.start()
    bench.until(lambda: bench.recognizer.count_publishers("/points") == 0)
    bench.until(lambda: bench.recognizer.count_publishers(bench.topic) == 1)
    report, _ = bench.report()
    assert "nobody publishes it, nor any other sensor_msgs/msg/PointCloud2" in report.message


def frame_bench(node):
    return Bench(node, Classification, "/segmenter/frame_action")


def test_every_frame_is_answered_once_with_its_own_stamp(frame_model, ros):
    given = {"action_model": str(frame_model), "action_stride": 1, "action_latency_frames": 1}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    bench, messages = frame_bench(Segmenter(parameter_overrides=overrides)), stream(8)
    try:
        bench.activate()
        for number, message in enumerate(messages, start=1):
            bench.send(message)
            bench.answered(number - 1 if number >= 6 else 0)
        pipeline = FrameActionPipeline(
            checkpoint.load(frame_model), FrameActionConfig(stride=1, latency_frames=1)
        )
        frames = [
            Frame(from_stamp(one.header.stamp), "camera", clouds.from_message(one))
            for one in messages
        ]
        truth = [one for answer in map(pipeline.push, frames) if answer for one in answer.frames]
        assert [one.header for one in bench.answers] == [one.header for one in messages[:7]]
        for answer, one in zip(bench.answers, truth, strict=True):
            got = {each.class_id: each.score for each in answer.results}
            wanted = dict(zip(small_model.CLASSES, one.scores.tolist()))
            assert got == pytest.approx(wanted)
    finally:
        bench.close()


def test_both_tasks_at_once_have_windows_and_class_tables_of_their_own(
    make_segmenter, frame_model, segmenter_model
):
    bench = make_segmenter(action_model=str(frame_model), action_stride=1)
    actions: list[Classification] = []
    tables: dict[str, LabelInfo] = {}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.probe.create_subscription(Classification, "/segmenter/frame_action", actions.append, 100)
    for name in ("label_info", "frame_action/label_info"):
        bench.probe.create_subscription(
            LabelInfo, f"/segmenter/{name}", lambda one, name=name: tables.update({name: one}),
            latched,
        )  # fmt: skip
    bench.activate()
    node = bench.recognizer
    bench.until(lambda: all(node._wanted(lane.pipeline) for lane in node._lanes))
    messages = stream(7)
    for number, message in enumerate(messages, start=1):
        bench.send(message)
        bench.answered(max(0, number - 2))
        bench.until(lambda number=number: len(actions) >= (number if number >= 6 else 0))
    assert [one.header for one in bench.answers] == [one.header for one in messages[2:]]
    assert [one.header for one in actions] == [one.header for one in messages]
    bench.until(lambda: len(tables) == 2)
    report, values = bench.report()
    assert report.hardware_id == "small, small"
    assert (values["window"], values["small: window"]) == ("3 of 3 frames", "6 of 6 frames")


def test_markers_come_where_they_are_asked_for(make_segmenter, frame_model):
    bench = make_segmenter(
        action_model=str(frame_model), action_stride=1, markers=True, max_distance=10.0
    )
    shown: list[MarkerArray] = []
    bench.probe.create_subscription(MarkerArray, "/segmenter/markers", shown.append, 100)
    bench.activate()
    node = bench.recognizer
    bench.until(lambda: node._draws() and len(node._lanes) == 2)
    for number, message in enumerate(stream(7), start=1):
        bench.send(message)
        # Windows of 3 and of 6 frames, each shown before a newer one could take its place.
        due = max(0, number - 2) + max(0, number - 5)
        bench.until(lambda due=due: len(shown) == due)
    spaces = {one.ns for array in shown for one in array.markers}
    assert spaces == {"boxes", "classes", "action"}
    assert {one.text for array in shown for one in array.markers if one.ns == "classes"} <= set(
        small_model.CLASSES
    )
    node.set_parameters([Parameter("markers", value=False)])
    bench.send(cloud(START + 7 * PERIOD))
    bench.answered(6)
    assert len(shown) == 7


def test_it_looks_closer_where_it_is_asked_to(make_segmenter, segmenter_model, tmp_path, capfd):
    bench = make_segmenter(closer_look=True)
    assert not bench.recognizer.start()
    assert "closer_look: small does not say which of its classes" in capfd.readouterr().err
    loaded = checkpoint.load(segmenter_model)
    knows = tmp_path / "knows.safetensors"
    card = replace(loaded.card, background=small_model.CLASSES[:2])
    checkpoint.save(knows, loaded.model, card)
    bench, messages = make_segmenter(model=str(knows), closer_look=True), stream(5)
    bench.activate()
    for number, message in enumerate(messages, start=1):
        bench.send(message)
        bench.answered(max(0, number - 2))
    wanted = expected(knows, messages, replace(CONFIG, closer_look=True))
    for answer, truth in zip(bench.answers, wanted, strict=True):
        np.testing.assert_array_equal(table(answer)["label"][0], truth.labels)
        np.testing.assert_array_equal(table(answer)["confidence"][0], truth.confidence)


def test_without_any_model_it_says_which_parameters_to_set(ros, capfd):
    bench = frame_bench(Segmenter())
    try:
        assert not bench.recognizer.start()
    finally:
        bench.close()
    assert "model, action_model: no checkpoint is given" in capfd.readouterr().err


def test_models_are_for_their_own_tasks(make_segmenter, frame_model, segmenter_model, capfd):
    bench = make_segmenter(action_model=str(segmenter_model))
    assert not bench.recognizer.start()
    assert "action_model: expected one for the task 'action_segmentation'" in capfd.readouterr().err
