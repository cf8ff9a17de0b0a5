"""Hears what is sent to perception nodes and what they answer, with the middleware's own times."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Classification

from fourd_perception.evaluation.live_difference import labels_digest
from fourd_perception.messages.point_labels import labels_of
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.stream.frame import SECOND

_DEPTH = 500
_ASK_AGAIN_AFTER = 2.0


@dataclass(frozen=True, eq=False)
class Heard:
    """An answer. topic: whose. stamp: what it speaks of, nanoseconds.

    latency_ms: from the sending of the cloud whose stamp it bears to its own arrival in this
    process; None where that cloud was not heard.
    """

    topic: str
    stamp: int
    latency_ms: float | None


@dataclass(frozen=True, eq=False)
class HeardClasses(Heard):
    """A Classification. top: (class, score), best first; may be empty."""

    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class HeardLabels(Heard):
    """A labelled cloud. labels: (N,) int64, in the order of its points."""

    labels: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """To be compared with another run's."""
        return labels_digest(self.labels)


class Listener(Node):
    """Notes when clouds are sent, and keeps what is answered."""

    def __init__(
        self,
        frames_topic: str,
        nodes: Sequence[str] = ("recognizer",),
        kind: type = PointCloud2,
        context: Context | None = None,
    ) -> None:
        """nodes: the names of those that are listened to, recognizer and segmenter. kind: of the
        messages that make the frames."""
        super().__init__("listener", context=context, start_parameter_services=False)
        self.heard: deque[HeardClasses | HeardLabels] = deque()
        """Answers in the order in which they came, to be taken out by whoever wants them."""
        self._sent: dict[int, int] = {}
        self._watched = [_Watched(self, name) for name in nodes]
        best_effort = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT
        )
        # Raw: of a cloud, nothing but the stamp is wanted.
        self.create_subscription(kind, frames_topic, self._on_cloud, best_effort, raw=True)
        if "recognizer" in nodes:
            self._hear(Classification, "/recognizer/action")
        if "segmenter" in nodes:
            self._hear(Classification, "/segmenter/frame_action")
            self._hear(PointCloud2, "/segmenter/segmentation")

    def all_are_active(self) -> bool:
        """Whether all nodes have said so; to be asked again and again while spinning."""
        active = [one.is_active() for one in self._watched]  # each is asked in each turn
        return all(active)

    def _hear(self, kind: type, topic: str) -> None:
        # rclpy looks at the callback's signature for `info`: a partial of two arguments has it.
        self.create_subscription(kind, topic, partial(self._on_answer, topic), _DEPTH)

    def _on_cloud(self, serialized: bytes, info: dict[str, Any]) -> None:
        self._sent[header_stamp(serialized)] = info["source_timestamp"]

    def _on_answer(self, topic: str, message: Any, info: dict[str, Any]) -> None:
        stamp = from_stamp(message.header.stamp)
        sent = self._sent.get(stamp)
        latency_ms = None if sent is None else (info["received_timestamp"] - sent) / 1e6
        if isinstance(message, Classification):
            top = tuple((one.class_id, one.score) for one in message.results)
            self.heard.append(HeardClasses(topic, stamp, latency_ms, top))
            return
        labels = labels_of(message)
        assert labels is not None  # ~/segmentation has them
        self.heard.append(HeardLabels(topic, stamp, latency_ms, labels))


class _Watched:
    """A lifecycle node that is asked for its state until it says that it is active."""

    def __init__(self, listener: Node, name: str) -> None:
        self._state = listener.create_client(GetState, f"/{name}/get_state")
        self._asked: Future[Any] | None = None
        self._asked_at = 0.0
        self._active = False

    def is_active(self) -> bool:
        """Whether it has said so by now."""
        if self._active:
            return True
        if self._asked is not None and self._asked.done():
            reply = self._asked.result()
            self._asked = None
            self._active = (
                reply is not None and reply.current_state.id == State.PRIMARY_STATE_ACTIVE
            )
            return self._active
        # A reply may be lost while the two sides still discover each other.
        overdue = time.monotonic() > self._asked_at + _ASK_AGAIN_AFTER
        if (self._asked is None or overdue) and self._state.service_is_ready():
            self._asked = self._state.call_async(GetState.Request())
            self._asked_at = time.monotonic()
        return False


def header_stamp(serialized: bytes) -> int:
    """The stamp, nanoseconds, of a serialized (CDR) message that begins with a Header."""
    order = "<" if serialized[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", serialized, 4)
    return int(seconds) * SECOND + int(nanoseconds)
