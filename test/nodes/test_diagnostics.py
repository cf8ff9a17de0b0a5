"""What /diagnostics and the log say of a recognizer's input."""

from __future__ import annotations

import pytest
import rclpy
from node_bench import FRAMES, PERIOD, START, cloud, stream
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from fourd_perception.stream.frame import SECOND


def test_a_camera_that_is_too_slow_is_told_what_to_do(make_bench):
    bench = make_bench()
    bench.activate()
    bench.send(*[cloud(START + index * 2 * PERIOD) for index in range(4)])
    report, values = bench.report()
    assert report.level == b"\x01"
    assert (
        "small wants 4 frames at 10 Hz; /points runs at 5 Hz: raise the camera's rate, "
        "or set frame_step to 2" in report.message
    )
    assert values["input rate by stamps [Hz]"] == "5.0"


def test_a_filling_window_is_told(make_bench):
    bench = make_bench()
    bench.activate()
    bench.send(*stream(2))
    report, _ = bench.report()
    assert report.level == b"\x00" and "the window fills: 2 of 4 frames" in report.message


def silent(bench, monkeypatch):
    """The diagnostics' words on a silent input, without waiting for the silence."""
    monkeypatch.setattr("fourd_perception.nodes.diagnostics.SILENT_AFTER", 0.0)
    report, _ = bench.report()
    assert report.level == b"\x01"
    return report.message


def test_silence_names_the_topics_that_are_there(make_bench, monkeypatch):
    bench = make_bench()
    bench.probe.destroy_publisher(bench.points)
    bench.recognizer.start()
    other = bench.probe.create_publisher(PointCloud2, "/camera/depth/points", 10)
    bench.until(lambda: bench.recognizer.count_publishers(other.topic_name) == 1)
    bench.until(lambda: bench.recognizer.count_publishers("/points") == 0)
    assert "sensor_msgs/msg/PointCloud2 is on /camera/depth/points" in silent(bench, monkeypatch)


def test_silence_by_another_type_is_explained(make_bench, monkeypatch):
    bench = make_bench()
    bench.probe.destroy_publisher(bench.points)
    bench.recognizer.start()
    context = Context()  # one participant of DDS refuses two types on a topic
    rclpy.init(args=[], context=context)
    camera = Node("camera", context=context)
    camera.create_publisher(Image, "points", 10)
    bench.until(lambda: bench.recognizer.count_publishers("/points") == 1)
    assert "carries sensor_msgs/msg/Image" in silent(bench, monkeypatch)
    camera.destroy_node()
    context.try_shutdown()


def test_a_qos_that_does_not_fit_is_explained(make_bench):
    overrides = {"qos_overrides__/points.subscription.durability": "transient_local"}
    bench = make_bench(**overrides)
    bench.recognizer.start()
    bench.until(lambda: any("does not fit" in one.message for one in bench.reports))
    (report,) = [one for one in bench.reports if "does not fit" in one.message][:1]
    assert "durability" in report.message and "volatile" in report.message


def test_a_qos_that_does_not_fit_is_told_until_its_publisher_is_gone(make_bench, monkeypatch):
    monkeypatch.setattr("fourd_perception.nodes.inputs._GRAPH_SETTLES", 0.5)
    bench = make_bench(**{"qos_overrides__/points.subscription.reliability": "reliable"})
    bench.activate()
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

    def told() -> bool:
        report, _ = bench.report()
        return "a publisher's reliability does not fit ours" in report.message

    for _ in range(2):  # a driver that is restarted, again and again
        other = bench.probe.create_publisher(PointCloud2, "points", best_effort)
        bench.until(told)
        bench.report()
        assert told()
        bench.probe.destroy_publisher(other)
        bench.until(lambda: not told())
    bench.send(*stream(FRAMES))
    bench.answered(1)


def test_health_is_reported_before_it_is_configured(make_bench):
    report, values = make_bench().report()
    assert report.message == values["state"] == "unconfigured"


def test_silent_images_are_told_once_and_why(make_bench, monkeypatch, capfd):
    bench = make_bench(use_image=True)
    bench.activate()
    bench.send(cloud(START))
    monkeypatch.setattr(bench.recognizer._health, "_silent_since", float("inf"))
    told = silent(bench, monkeypatch)
    assert "nothing on /image for " in told and "s: nobody publishes it" in told
    assert "/points" not in told
    bench.report()
    assert capfd.readouterr().err.count("nothing on /image") == 1


def test_images_are_not_missed_where_none_are_wanted(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    assert "/image" not in silent(bench, monkeypatch)


def test_frames_that_come_late_are_counted(make_bench):
    bench = make_bench()
    bench.activate()
    bench.send(cloud(START), cloud(START + PERIOD // 2))
    assert "late or repeated frames ignored" not in bench.report()[1]
    bench.send(cloud(START + PERIOD // 4))
    assert bench.report()[1]["late or repeated frames ignored"] == "1"


@pytest.mark.parametrize(
    "stamps",
    [
        [START + second * SECOND for second in range(5)],  # a slow camera
        [START + index * PERIOD + index % 2 * 9 * SECOND for index in range(5)],  # two drivers
    ],
)
def test_a_stream_that_never_fills_the_window_is_logged_once(make_bench, capfd, stamps):
    bench = make_bench()
    bench.activate()
    bench.send(*map(cloud, stamps))
    assert bench.report()[1]["window resets"] == "4"
    log = capfd.readouterr().err
    assert log.count("the window starts again") == 1
    assert log.count("the window fills") == 2  # at the start, and when it starts again

    bench.send(*stream(FRAMES, stamps[-1] + SECOND))
    bench.answered(1)
    bench.send(cloud(stamps[-1] + 60 * SECOND))  # from a full window it is told again
    bench.report()
    assert capfd.readouterr().err.count("the window starts again") == 1
