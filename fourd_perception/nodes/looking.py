"""Where a node looks: frames on their way from its input to its windows, and their transforms.

What is left of each frame is published on ~/shown, for whoever sets up a box or a background.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import PointCloud2

from fourd_perception.errors import InputError
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import LEARNING, Look, Sight
from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.messages.reading import BadMessage
from fourd_perception.messages.results import shown_points
from fourd_perception.messages.transforms import put_message
from fourd_perception.nodes.faults import Faults
from fourd_perception.nodes.health import Health, Level
from fourd_perception.nodes.outputs import has_subscribers
from fourd_perception.stream.frame import Frame

_TRANSFORMS_KEPT = 100  # as tf2's listeners have it
_SHOWN_DEPTH = 5


class Looker:
    """A node's `Look`, fed with /tf and /tf_static where there is a crop_frame.

    All of it is the executor's thread's. deliver: called with every frame that is ready, and when
    it arrived on the monotonic clock.
    Raises InputError where the transforms' message type is not installed.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: LookConfig,
        health: Health,
        deliver: Callable[[Frame, float], None],
    ) -> None:
        self._node = node
        self._health = health
        self._deliver = deliver
        self._listening = False
        self._transforms = TransformBuffer()
        self.look = Look(config, self._transforms)
        self._arrived: WeakKeyDictionary[Frame, float] = WeakKeyDictionary()
        self._told = {LEARNING}
        self._restarts_told = 0
        self._reported: Counter[str] = Counter()
        self._subscriptions: list[Subscription] = []
        self._shown = node.create_lifecycle_publisher(PointCloud2, "~/shown", _SHOWN_DEPTH)
        if config.crop_frame:
            try:
                self._subscribe(Faults(node.get_logger(), health))
            except InputError:
                self.destroy()
                raise
        self.look.warm_up()

    def listen(self) -> None:
        """Begin anew: nothing is learnt, nobody followed."""
        self.look.clear()
        self._listening = True
        seconds = self.look.config.background_seconds
        if seconds:
            self._node.get_logger().info(
                f"learning the background: no answer for the first {seconds:g} s of the stream"
            )

    def destroy(self) -> None:
        """Destroy the subscriptions. Not to be called while another thread spins the node."""
        self._listening = False
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._node.destroy_lifecycle_publisher(self._shown)

    def take(self, frame: Frame, arrived: float) -> None:
        """A frame of the input."""
        self._arrived[frame] = arrived
        self._pass_on(self.look.push(frame))

    def worries(self) -> list[tuple[Level, str]]:
        """What went wrong since this was last asked, and what there is to wait for."""
        now = Counter(self.look.skipped)
        new, self._reported = now - self._reported, now
        found = [
            (Level.WARN, f"{count} frames left out: {reason}")
            for reason, count in new.items()
            if reason != LEARNING
        ]
        return found + ([(Level.OK, self.look.state)] if self.look.state else [])

    def _subscribe(self, faults: Faults) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            raise InputError(
                f"crop_frame: transforms need the package tf2_msgs ({error}): install "
                "ros-<distribution>-tf2-msgs, or give the box in the cloud's own frame"
            ) from None
        for topic, static in (("/tf", False), ("/tf_static", True)):
            kept = DurabilityPolicy.TRANSIENT_LOCAL if static else DurabilityPolicy.VOLATILE
            qos = QoSProfile(
                depth=_TRANSFORMS_KEPT, reliability=ReliabilityPolicy.RELIABLE, durability=kept
            )
            callback = faults.guard(partial(self._on_transforms, static), "a transform is lost")
            self._subscriptions.append(
                self._node.create_subscription(TFMessage, topic, callback, qos)
            )

    def _on_transforms(self, static: bool, message: Any) -> None:
        try:
            put_message(message, self._transforms, static=static)
        except BadMessage as error:
            if self._health.reject(error.reason):
                self._node.get_logger().warning(f"rejected, and counted from now on: {error}")
        if self._listening:
            self._pass_on(self.look.poll())

    def _pass_on(self, ready: Sequence[Sight]) -> None:
        for line in self.look.said(besides=self._told):
            self._node.get_logger().warning(f"counted from now on: {line}")
        self._told |= self.look.skipped.keys()
        if self.look.restarts != self._restarts_told:
            self._restarts_told = self.look.restarts
            self._node.get_logger().info(f"looks anew: {self.look.restart_reason}")
        for sight in ready:
            if has_subscribers(self._shown):
                self._shown.publish(shown_points(sight.frame))
            self._deliver(sight.frame, self._arrived.pop(sight.of))
