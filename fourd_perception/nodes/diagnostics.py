"""A perception node's health on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.subscription import Subscription
from std_msgs.msg import Header

from fourd_perception.checkpoint import ModelCard
from fourd_perception.nodes.health import SILENT_AFTER, Health, Level, rate_advice
from fourd_perception.nodes.inputs import SensorInput
from fourd_perception.nodes.looking import Looker
from fourd_perception.nodes.silence import why_silent
from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.synchronizer import Synchronizer
from fourd_perception.stream.window import SlidingWindow


class Diagnostics:
    """Judges and publishes; called in the executor's thread, once a second."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._silence_told: set[str] = set()
        self._pairing_told = False

    def report(
        self,
        state: str,
        health: Health,
        source: SensorInput | None,
        models: Sequence[tuple[ModelCard, SlidingWindow]],
        looker: Looker | None,
        more: Mapping[str, str],
    ) -> None:
        """Publish how things are. source: None, and no models, until the node is configured.
        looker: None where all points are shown to the models.

        Of several models the values of the second and later are named after them. more: values that
        this node alone has.
        """
        found = health.worries()
        values = {"state": state, **more, **health.values()}
        if source is not None:
            found += [(Level.WARN, trouble) for trouble in source.qos_worries()]
        if source is not None:
            for number, (card, window) in enumerate(models):
                named = f"{card.name}: " if number else ""
                values |= {named + key: value for key, value in _window_values(window).items()}
            if source.synchronizer is not None:
                values |= _image_values(source.synchronizer)
            if looker is not None:
                values |= looker.look.values()
            if source.listening:
                found += looker.worries() if looker is not None else []
                found += self._input(health, source, models)
        found.sort(key=lambda one: -one[0])
        status = DiagnosticStatus(
            level=bytes([found[0][0] if found else Level.OK]),
            name=f"{self._node.get_fully_qualified_name()[1:]}: perception",
            message="; ".join(text for _, text in found) or state,
            hardware_id=", ".join(card.name for card, _ in models),
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(DiagnosticArray(header=header, status=[status]))

    def _input(
        self,
        health: Health,
        source: SensorInput,
        models: Sequence[tuple[ModelCard, SlidingWindow]],
    ) -> list[tuple[Level, str]]:
        found = self._silence(source.points, health.silence)
        clouds_come = not found
        for subscription, seconds in source.missed():
            found += self._silence(subscription, seconds)
        if source.image is not None:
            found += self._pairing(source)
        if not clouds_come:
            return found
        for card, window in models:
            rate, topic = window.camera_rate, source.points.topic_name
            advice = rate_advice(card, window.clip, rate, topic) if rate else None
            if advice:
                found.append((Level.WARN, advice))
            if window.filled < window.clip.frames:
                found.append((Level.OK, f"the window fills: {_fill(window)}"))
        return found

    def _pairing(self, source: SensorInput) -> list[tuple[Level, str]]:
        """That images come and fit no cloud; logged when it begins."""
        text = source.why_unpaired()
        if text is not None and not self._pairing_told:
            self._node.get_logger().warning(text)
        self._pairing_told = text is not None
        return [] if text is None else [(Level.WARN, text)]

    def _silence(self, subscription: Subscription, seconds: float) -> list[tuple[Level, str]]:
        """That a topic is silent, if it has been for too long; logged when it begins."""
        topic = subscription.topic_name
        if seconds < SILENT_AFTER:
            self._silence_told.discard(topic)
            return []
        text = f"nothing on {topic} for {seconds:.0f} s: {why_silent(self._node, subscription)}"
        if topic not in self._silence_told:
            self._silence_told.add(topic)
            self._node.get_logger().warning(text)
        return [(Level.WARN, text)]


def _window_values(window: SlidingWindow) -> dict[str, str]:
    rate = window.camera_rate
    values = {
        "input rate by stamps [Hz]": f"{rate:.1f}" if rate else "not known",
        "rate the model wants [Hz]": f"{SECOND / window.clip.period:.1f}",
        "window": _fill(window),
        "window resets": str(window.resets),
        "last reset": window.reset_reason,
    }
    if window.ignored:
        values["late or repeated frames ignored"] = str(window.ignored)
    return values


def _image_values(synchronizer: Synchronizer[Any, Any]) -> dict[str, str]:
    """What the pairing has done since the node was activated."""
    values = {
        f"images: {name.replace('_', ' ')}": str(count)
        for name, count in asdict(synchronizer.counts).items()
        if count or name in ("paired", "unpaired", "resets")
    }
    return {**values, "images: last reset": synchronizer.reset_reason}


def _fill(window: SlidingWindow) -> str:
    return f"{window.filled} of {window.clip.frames} frames"
