"""The input side of a perception node: messages in, checked and paired frames out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ModuleNotFoundError:  # up to Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from fourd_perception.errors import InputError
from fourd_perception.messages import clouds, compressed_depth, images
from fourd_perception.messages.depth_images import BadCameraInfo, DepthReader, is_rectified
from fourd_perception.messages.reading import BadMessage
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.faults import Faults
from fourd_perception.nodes.health import Health
from fourd_perception.nodes.node_parameters import NodeParameters
from fourd_perception.nodes.silence import misfit, qos_remedy
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.synchronizer import Pair, Synchronizer, synchronizer

_DEPTH = 5
_GRAPH_SETTLES = 5.0
"""Seconds by which the graph may learn of a publisher later than the event that it causes."""
_OVERRIDABLE = (
    QoSPolicyKind.DEPTH, QoSPolicyKind.DURABILITY, QoSPolicyKind.HISTORY, QoSPolicyKind.RELIABILITY,
)  # fmt: skip


class SensorInput:
    """Subscribes to `points`, or to `depth` and `camera_info`, and, if it is wanted, to `image`.

    All of it is the executor's thread's. deliver: called with every frame, and when it arrived on
    the monotonic clock.
    Raises InputError on QoS overrides that make no sense.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        health: Health,
        deliver: Callable[[Frame, float], None],
    ) -> None:
        self.listening = False
        """The gate: while it is shut, messages are dropped unread."""
        self._misfits: dict[str, tuple[str, float]] = {}
        """By topic: a publisher that the subscription cannot hear, and when it was seen."""
        self._node = node
        self._health = health
        self._faults = Faults(node.get_logger(), health)
        self._deliver = deliver
        self._parameters = parameters
        self._last_stamp = 0
        self._last_image = self._last_info = 0.0
        self._judged = 0, 0
        self.synchronizer: Synchronizer[Frame, Any] | None = None
        """None without images, and before the first `listen`."""
        self._subscriptions: list[Subscription] = []
        self._info: CameraInfo | None = None
        self._camera: Subscription | None = None
        if parameters.use_depth:
            transport = parameters.depth_image_transport
            self.points = self._subscribe_images("depth", transport, self._on_depth)
            self._camera = self._subscribe(CameraInfo, "camera_info", self._on_camera_info)
            if transport == compressed_depth.TRANSPORT:
                compressed_depth.warm_up()
            rectified = is_rectified(node.resolve_topic_name("depth"))
            self._depth = DepthReader(rectified=rectified, transport=transport)
        else:
            self.points = self._subscribe(PointCloud2, "points", self._on_points)
        self.image: Subscription | None = None
        if parameters.use_image:
            transport = parameters.image_transport
            self._decode_image = images.DECODERS[transport]
            self.image = self._subscribe_images("image", transport, self._on_image)

    def listen(self) -> None:
        """Open the gate. What came before it was last shut is forgotten."""
        self._last_stamp = 0
        self._last_image = self._last_info = time.monotonic()
        self._judged = 0, 0
        if self.image is not None:
            self.synchronizer = synchronizer(self._parameters)
        self.listening = True

    def qos_worries(self) -> list[str]:
        """Of each topic with a publisher that the subscription cannot hear, while it is there."""
        for subscription in self._subscriptions:
            topic = subscription.topic_name
            if topic not in self._misfits:
                continue
            settled = time.monotonic() > self._misfits[topic][1] + _GRAPH_SETTLES
            if settled and misfit(self._node, subscription) is None:
                del self._misfits[topic]
        return [text for text, _ in self._misfits.values()]

    def missed(self) -> list[tuple[Subscription, float]]:
        """What is wanted besides `points`, and for how many seconds nothing has come on it.

        A camera's calibration is not missed any more once it has come.
        """
        now = time.monotonic()
        found = [] if self.image is None else [(self.image, now - self._last_image)]
        if self._camera is not None and self._info is None:
            found.append((self._camera, now - self._last_info))
        return found

    def why_unpaired(self) -> str | None:
        """Why no cloud has had an image since the last call, although both come; None if one has.

        To be called once in a report.
        """
        if self.synchronizer is None or self.image is None:
            return None
        counts, lead = self.synchronizer.counts, self.synchronizer.image_lead
        paired, unpaired = self._judged
        self._judged = counts.paired, counts.unpaired
        if lead is None or counts.paired > paired or counts.unpaired == unpaired:
            return None
        if abs(lead) <= self.synchronizer.slop:
            return None
        apart = f"{abs(lead) / SECOND:.2f} s {'younger' if lead > 0 else 'older'}"
        return (
            f"{self.image.topic_name}: no cloud gets an image: the newest is {apart} than the "
            "newest cloud: set the drivers' clocks (or raise sync_slop and image_timeout)"
        )

    def destroy(self) -> None:
        """Destroy the subscriptions. Not to be called while another thread spins the node."""
        self.listening = False
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe_images(
        self, topic: str, transport: str, callback: Callable[[Any], None]
    ) -> Subscription:
        """As image_transport has it: the plain topic is remapped, the transport's is below it."""
        if transport == "raw":
            return self._subscribe(Image, topic, callback)
        below = f"{self._node.resolve_topic_name(topic)}/{transport}"
        return self._subscribe(CompressedImage, below, callback)

    def _subscribe(self, kind: type, topic: str, callback: Callable[[Any], None]) -> Subscription:
        name = self._node.resolve_topic_name(topic)
        # Best effort fits every publisher; a reliable subscription hears nothing of most cameras.
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )

        def on_incompatible_qos(event: Any) -> None:
            policy = event.last_policy_kind.name.lower()
            self._tell_qos(name, policy.removeprefix("rmw_qos_policy_"))

        try:
            subscription = self._node.create_subscription(
                kind,
                topic,
                self._faults.guard(callback, "a message is lost"),
                qos,
                event_callbacks=SubscriptionEventCallbacks(incompatible_qos=on_incompatible_qos),
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
            )
        except (RuntimeError, ValueError, TypeError) as error:
            self.destroy()
            raise InputError(f"qos_overrides of {name}: {error}") from None
        self._subscriptions.append(subscription)
        return subscription

    def _on_points(self, message: PointCloud2) -> None:
        self._on_frame(message, _points_of_cloud)

    def _on_depth(self, message: Image | CompressedImage) -> None:
        self._on_frame(message, self._points_of_depth)

    def _points_of_depth(self, message: Image | CompressedImage) -> tuple[NDArray[np.float32], int]:
        if self._info is None:
            assert self._camera is not None  # subscribed together
            raise BadCameraInfo(
                "none yet", f"nothing on {self._camera.topic_name} yet, which depth images need"
            )
        return self._depth.points(message, self._info), self._depth.rows

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_frame(
        self, message: Any, read: Callable[[Any], tuple[NDArray[np.float32], int]]
    ) -> None:
        """A message that makes a frame; read: to its points and their rows, raises BadMessage."""
        if not self.listening:
            return
        arrived = self._health.arrived()
        stamp = from_stamp(message.header.stamp)
        if stamp == 0:
            self._reject("no stamp", "the header's stamp is 0: the camera's driver must set it")
            return
        if stamp == self._last_stamp:
            self._reject("stamp repeated", "a frame has the stamp of the one before")
            return
        self._last_stamp = stamp
        try:
            points, rows = read(message)
        except BadMessage as error:
            self._reject(error.reason, str(error))
            return
        frame = Frame(stamp, message.header.frame_id, points, rows=rows)
        if self.synchronizer is None:
            self._deliver(frame, arrived)
        else:
            self._deliver_pairs(self.synchronizer.put_points(stamp, frame), arrived)

    def _on_image(self, message: Image | CompressedImage) -> None:
        if not self.listening or self.synchronizer is None:
            return
        self._last_image = time.monotonic()
        stamp = from_stamp(message.header.stamp)
        if stamp == 0:
            self._reject("no stamp on an image", "the header's stamp is 0: the driver must set it")
            return
        try:
            image = self._decode_image(message)
        except images.BadImage as error:
            self._reject(error.reason, str(error))
            return
        self._deliver_pairs(self.synchronizer.put_image(stamp, image), self._last_image)

    def _deliver_pairs(self, pairs: list[Pair[Frame, Any]], arrived: float) -> None:
        for pair in pairs:
            self._deliver(replace(pair.cloud, image=pair.image), arrived)

    def _reject(self, reason: str, text: str) -> None:
        if self._health.reject(reason):
            self._node.get_logger().warning(f"rejected, and counted from now on: {text}")

    def _tell_qos(self, topic: str, policy: str) -> None:
        trouble = f"{topic}: a publisher's {policy} does not fit ours: {qos_remedy(topic)}"
        if topic not in self._misfits or self._misfits[topic][0] != trouble:
            self._node.get_logger().warning(trouble)
        self._misfits[topic] = trouble, time.monotonic()


def _points_of_cloud(message: PointCloud2) -> tuple[NDArray[np.float32], int]:
    """Of an organised cloud its rows, of another 1. Raises BadCloud."""
    points = clouds.from_message(message)
    return points, message.height if len(points) else 1
