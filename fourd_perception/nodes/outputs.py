"""The output side of a perception node: how classes are named, and whether somebody listens."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.lifecycle import LifecyclePublisher

from fourd_perception.parameters import param


@dataclass(frozen=True)
class AnswerParameters:
    """What every node takes that names classes."""

    min_score: float = param(
        0.0, "classes that score less are left out of an answer",
        at_least=0.0, at_most=1.0, changeable=True,
    )  # fmt: skip
    top_k: int = param(
        5, "classes in an answer, best first; 0: all", at_least=0, at_most=10_000, changeable=True
    )
    class_id: str = param(
        "name", "what a result's class_id holds: the class's name, or its number as text",
        choices=("name", "number"),
    )  # fmt: skip


def has_subscribers(publisher: LifecyclePublisher | None) -> bool:
    """Whether there is a publisher, and somebody who listens to it."""
    return publisher is not None and publisher.get_subscription_count() > 0
