"""Hears what is sent to a recognizer and what it answers, with the middleware's own times."""

from __future__ import annotations

import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Classification

from fourd_perception.messages.stamps import from_stamp
from fourd_perception.stream.frame import SECOND

_DEPTH = 100
_ASK_AGAIN_AFTER = 2.0


@dataclass(frozen=True)
class HeardAnswer:
    """A Classification. top: (class, score), best first; may be empty.

    latency_ms: from the sending of the cloud whose stamp it bears to its own arrival in this
    process; None where that cloud was not heard.
    """

    stamp: int
    top: tuple[tuple[str, float], ...]
    latency_ms: float | None


class Listener(Node):
    """Notes when clouds are sent, and keeps what is answered."""

    def __init__(
        self, cloud_topic: str, recognizer: str = "/recognizer", context: Context | None = None
    ) -> None:
        super().__init__("listener", context=context, start_parameter_services=False)
        self.heard: deque[HeardAnswer] = deque()
        """Answers in the order in which they came, to be taken out by whoever wants them."""
        self._sent: dict[int, int] = {}
        self._state = self.create_client(GetState, f"{recognizer}/get_state")
        self._asked: Future[Any] | None = None
        self._asked_at = 0.0
        best_effort = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT
        )
        # Raw: of a cloud, nothing but the stamp is wanted.
        self.create_subscription(PointCloud2, cloud_topic, self._on_cloud, best_effort, raw=True)
        self.create_subscription(
            Classification, f"{recognizer}/action", self._on_classification, _DEPTH
        )

    def recognizer_is_active(self) -> bool:
        """Whether the recognizer has just said so; to be asked again and again while spinning."""
        if self._asked is not None and self._asked.done():
            reply = self._asked.result()
            self._asked = None
            return reply is not None and reply.current_state.id == State.PRIMARY_STATE_ACTIVE
        # A reply may be lost while the two sides still discover each other.
        overdue = time.monotonic() > self._asked_at + _ASK_AGAIN_AFTER
        if (self._asked is None or overdue) and self._state.service_is_ready():
            self._asked = self._state.call_async(GetState.Request())
            self._asked_at = time.monotonic()
        return False

    def _on_cloud(self, serialized: bytes, info: dict[str, Any]) -> None:
        self._sent[header_stamp(serialized)] = info["source_timestamp"]

    def _on_classification(self, message: Classification, info: dict[str, Any]) -> None:
        stamp = from_stamp(message.header.stamp)
        sent = self._sent.get(stamp)
        top = tuple((one.class_id, one.score) for one in message.results)
        latency_ms = None if sent is None else (info["received_timestamp"] - sent) / 1e6
        self.heard.append(HeardAnswer(stamp, top, latency_ms))


def header_stamp(serialized: bytes) -> int:
    """The stamp, nanoseconds, of a serialized (CDR) message that begins with a Header."""
    order = "<" if serialized[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", serialized, 4)
    return int(seconds) * SECOND + int(nanoseconds)
