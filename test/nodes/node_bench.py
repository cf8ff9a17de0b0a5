"""A node and somebody to talk to it, in one process, over DDS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from vision_msgs.msg import Classification

from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.stream.frame import SECOND

FRAMES, RATE = 4, 10.0
START = 1_000 * SECOND
PERIOD = round(SECOND / RATE)


def cloud(stamp: int, points: int = 50) -> PointCloud2:
    """A cloud whose points depend on its stamp."""
    data = np.random.default_rng(stamp).random((points, 3), np.float32)
    message = PointCloud2(height=1, width=points, point_step=12, row_step=12 * points)
    message.header.stamp = to_stamp(stamp)
    message.header.frame_id = "camera"
    message.fields = [
        PointField(name=axis, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, axis in enumerate("xyz")
    ]
    message.data = data.tobytes()
    return message


def stream(count: int, start: int = START) -> list[PointCloud2]:
    """Clouds at `RATE`."""
    return [cloud(start + index * PERIOD) for index in range(count)]


class Bench:
    """A recognizer under test, and a probe node that feeds and hears it.

    answer, topic: what it answers, and where; another node's, if it is one.
    """

    def __init__(
        self,
        recognizer: PerceptionNode[Any, Any, Any],
        answer: type = Classification,
        topic: str = "/recognizer/action",
    ) -> None:
        self.answer, self.topic = answer, topic
        self.recognizer = recognizer
        self.probe = Node("probe")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(recognizer)
        self.executor.add_node(self.probe)
        self.answers: list[Any] = []
        self.reports: list[DiagnosticStatus] = []
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self.points = self.probe.create_publisher(PointCloud2, "points", reliable)
        self.probe.create_subscription(
            DiagnosticArray, "/diagnostics", lambda one: self.reports.extend(one.status), 10
        )

    def subscribe(self) -> None:
        self.probe.create_subscription(self.answer, self.topic, self.answers.append, 100)

    def activate(self, subscribe: bool = True) -> None:
        """Up to the state active, and until everybody knows everybody."""
        assert self.recognizer.start()
        if subscribe:
            self.subscribe()
        self.until(
            lambda: (
                self.points.get_subscription_count() == 1
                and self.probe.count_publishers(self.topic) == 1
                and (not subscribe or self.recognizer._wanted(self.recognizer._lanes[0].pipeline))
            )
        )

    def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        """Spin until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s in vain"
            self.executor.spin_once(timeout_sec=0.05)

    def send(self, *messages: PointCloud2) -> None:
        """One after another: each is taken before the next is sent."""
        for message in messages:
            before = self.arrived()
            self.points.publish(message)
            self.until(lambda before=before: self.arrived() > before)

    def arrived(self) -> int:
        return int(self.recognizer._health.values()["messages received"])

    def answered(self, count: int) -> None:
        self.until(lambda: len(self.answers) >= count)

    def report(self) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The next report, and its values."""
        seen = len(self.reports)
        self.until(lambda: len(self.reports) > seen)
        return self.reports[-1], {one.key: one.value for one in self.reports[-1].values}

    def close(self) -> None:
        self.executor.shutdown()
        self.recognizer.close(5.0)
        self.recognizer.destroy_node()
        self.probe.destroy_node()
