"""What each answer took, on topics for plots: ~/debug/..."""

from __future__ import annotations

import time

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from std_msgs.msg import Float64

from fourd_perception.nodes.health import is_latency
from fourd_perception.nodes.outputs import has_subscribers

_DEPTH = 10


class DebugTimes:
    """processing_time_ms, pipeline_latency_ms and cyclic_time_ms, named after Autoware's.

    Its Float64Stamped is in no distribution's common packages; std_msgs/Float64 is, and every
    plotter takes it. Published where somebody listens, and from the thread that answers.
    """

    def __init__(self, node: LifecycleNode, below: str) -> None:
        """below: the name that the topics begin with."""
        self._node = node
        self._publishers: dict[str, LifecyclePublisher] = {
            name: node.create_lifecycle_publisher(Float64, f"{below}/{name}", _DEPTH)
            for name in ("processing_time_ms", "pipeline_latency_ms", "cyclic_time_ms")
        }
        self._last: float | None = None

    def restart(self) -> None:
        """The next answer has no predecessor."""
        self._last = None

    def tell(self, latency_ms: float, processing_ms: float) -> None:
        """Of an answer: stamp to answer on the node's clock, and what computing it took.

        A latency that cannot be one is left out, as in the diagnostics.
        """
        now, last = time.monotonic(), self._last
        self._last = now
        values = {"processing_time_ms": processing_ms}
        if is_latency(latency_ms):
            values["pipeline_latency_ms"] = latency_ms
        if last is not None:
            values["cyclic_time_ms"] = (now - last) * 1e3
        for name, value in values.items():
            if has_subscribers(self._publishers[name]):
                self._publishers[name].publish(Float64(data=float(value)))

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
