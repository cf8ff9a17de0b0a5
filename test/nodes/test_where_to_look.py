"""Range, box, background and person of a node, over DDS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small_model
from node_bench import PERIOD, START, Bench, stream
from sensor_msgs.msg import PointCloud2

from fourd_perception import checkpoint
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.messages import clouds
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.parameters import ConfigError
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.stream.frame import Frame

BOX = [0.0, 0.0, 0.0, 0.6, 0.8, 1.0]


def expected(model: Any, config: LookConfig, messages: list[PointCloud2]) -> dict[int, float]:
    """The best score at each stamp, by the core alone."""
    pipeline, look = ActionPipeline(checkpoint.load(model), PipelineConfig(stride=1)), Look(config)
    found = {}
    for one in messages:
        frame = Frame(from_stamp(one.header.stamp), "camera", clouds.from_message(one))
        for sight in look.push(frame):
            answer = pipeline.push(sight.frame)
            if answer is not None:
                found[answer.stamp] = answer.top(1, 0.0)[0][1]
    return found


def heard(bench: Bench) -> dict[int, float]:
    return {from_stamp(one.header.stamp): one.results[0].score for one in bench.answers}


def told(bench: Bench, key: str, value: str) -> None:
    """Wait until a report says so: one that is on its way may be older than what was sent last."""
    bench.until(
        lambda: any(
            one.key == key and one.value == value
            for report in bench.reports
            for one in report.values
        )
    )


def test_a_node_answers_as_the_core_does_for_the_points_in_range_and_box(make_bench, model):
    bench = make_bench(max_range=1.1, min_range=0.2, crop_box=BOX)
    bench.activate()
    messages = stream(7)
    for number, message in enumerate(messages, start=1):
        bench.send(message)
        bench.answered(max(0, number - 3))
    config = LookConfig(max_range=1.1, min_range=0.2, crop_box=tuple(BOX))
    assert heard(bench) == expected(model, config, messages)
    assert heard(bench) != expected(model, LookConfig(), messages)
    points = clouds.from_message(messages[-1])
    away, box = np.linalg.norm(points, axis=1), np.reshape(BOX, (2, 3))
    inside = ((points >= box[0]) & (points <= box[1])).all(axis=1) & (away >= 0.2) & (away <= 1.1)
    told(bench, "look: points shown", f"{inside.sum()} of 50")


def test_what_the_model_is_shown_can_be_looked_at(make_bench):
    bench = make_bench(crop_box=BOX)
    seen = []
    bench.probe.create_subscription(PointCloud2, "/recognizer/shown", seen.append, 10)
    bench.activate()
    bench.until(lambda: bench.recognizer._looker._shown.get_subscription_count())
    [message] = stream(1)
    bench.send(message)
    bench.until(lambda: seen)
    points = clouds.from_message(message)
    inside = ((points >= BOX[:3]) & (points <= BOX[3:])).all(axis=1)
    assert np.array_equal(clouds.from_message(seen[0]), points[inside])
    assert seen[0].header == message.header


def test_it_says_that_it_learns_the_background_and_answers_afterwards(make_bench, model):
    bench = make_bench(background_seconds=1.0, background_voxel=0.05)
    bench.activate()
    messages = stream(16)
    bench.send(*messages[:5])
    told(bench, "look: background", "learning background 0.4/1 s")
    bench.until(lambda: "learning background 0.4/1 s" in bench.reports[-1].message)
    assert bench.reports[-1].level == b"\0"
    for number, message in enumerate(messages[5:], start=6):
        bench.send(message)
        bench.answered(max(0, number - 14))
    config = LookConfig(background_seconds=1.0, background_voxel=0.05)
    assert heard(bench) == expected(model, config, messages)
    told(bench, "look: background", "learnt")
    told(bench, "look: skipped: while the background is learnt", "11")


def test_whoever_is_activated_again_learns_again(make_bench):
    bench = make_bench(background_seconds=0.4)
    bench.activate()
    bench.send(*stream(6))
    bench.recognizer.trigger_deactivate()
    bench.recognizer.trigger_activate()
    bench.send(*stream(2, START + 6 * PERIOD))
    told(bench, "look: background", "learning background 0.1/0.4 s")


def test_a_missing_transform_is_counted_and_said_and_a_late_one_is_waited_for(make_bench):
    tf2 = pytest.importorskip("tf2_msgs.msg", reason="ROS 2 without tf2_msgs")
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile

    bench = make_bench(crop_box=BOX, crop_frame="room")
    bench.activate()
    bench.send(*stream(10))
    missing = "no transform from camera to room"
    told(bench, f"look: skipped: {missing}", "7")  # 0.2 s of them wait at 10 Hz
    warned = [one for one in bench.reports if f"frames left out: {missing}" in one.message]
    assert warned and {one.level for one in warned} == {b"\1"}
    assert not bench.answers

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = bench.probe.create_publisher(tf2.TFMessage, "/tf_static", latched)
    moving = bench.probe.create_publisher(tf2.TFMessage, "/tf", 10)
    bench.until(lambda: moving.get_subscription_count() and static.get_subscription_count())
    placed = TransformStamped(child_frame_id="head")
    placed.header.frame_id, placed.transform.rotation.w = "room", 1.0
    static.publish(tf2.TFMessage(transforms=[placed]))
    look = bench.recognizer._looker.look
    for number, message in enumerate(stream(5, START + 20 * PERIOD), start=1):
        bench.send(message)
        assert look.state == "frames that wait for their transform to room: 1"
        turned = TransformStamped(child_frame_id="camera")
        turned.header.stamp, turned.header.frame_id = message.header.stamp, "head"
        turned.transform.rotation.w = 1.0
        moving.publish(tf2.TFMessage(transforms=[turned]))
        bench.until(lambda: look.state == "")
        bench.answered(max(0, number - 3))
    told(bench, f"look: skipped: {missing}", "10")
    told(bench, "window", "4 of 4 frames")


def test_the_segmenter_publishes_all_points_and_no_label_outside(tmp_path, ros):
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.segmenter import Segmenter

    clip = small_model.ClipConfig(frames=3, frame_step=1, rate=10.0)
    path = small_model.save_segmenter(tmp_path / "a.safetensors", clip=clip)
    given = {"model": str(path), "crop_box": BOX, "max_distance": 10.0}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    bench = Bench(Segmenter(parameter_overrides=overrides), PointCloud2, "/segmenter/segmentation")
    try:
        bench.activate()
        messages = stream(3)
        bench.send(*messages)
        bench.answered(1)
    finally:
        bench.close()
    points = clouds.from_message(messages[-1])
    said = bench.answers[0]
    table = np.frombuffer(bytes(said.data), np.uint8).reshape(-1, said.point_step)
    fields = {one.name: one.offset for one in said.fields}
    label = table[:, fields["label"] : fields["label"] + 4].copy().view("<u4").ravel()
    inside = ((points >= BOX[:3]) & (points <= BOX[3:])).all(axis=1)
    assert np.array_equal(clouds.from_message(said), points)
    assert ((label != 65535) == inside).all() and 0 < inside.sum() < len(points)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"crop_box": [0.0, 0.0, 0.0, 1.0, 1.0, -1.0]}, "crop_box: the smallest corner"),
        ({"crop_box": [0.0, 0.0, float("nan"), 1.0, 1.0, 1.0]}, "expected a finite number"),
        ({"crop_frame": "base"}, "needs a crop_box"),
    ],
)
def test_a_box_that_is_none_is_refused(ros, given, said):
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.recognizer import Recognizer

    overrides = [Parameter(name, value=value) for name, value in given.items()]
    with pytest.raises(ConfigError, match=said):
        Recognizer(parameter_overrides=overrides)
