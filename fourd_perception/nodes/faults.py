"""Exceptions that nobody would catch: in callbacks, in the worker, in lifecycle transitions."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rclpy.impl.rcutils_logger import RcutilsLogger

from fourd_perception.nodes.health import Health


class Faults:
    """Counts them in a node's health, and logs the first of each type."""

    def __init__(self, logger: RcutilsLogger, health: Health) -> None:
        self._logger = logger
        self._health = health

    def guard(self, callback: Callable[..., None], consequence: str) -> Callable[..., None]:
        """The callback, with what it raises counted and told instead of ending the node."""

        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - a defect in one message is not the node's end
                self.count(consequence, error)

        return call

    def count(self, consequence: str, error: Exception) -> None:
        """Count an exception; log it if it is the first of its type."""
        if self._health.fail(error):
            self.tell(consequence, error)

    def tell(self, consequence: str, error: Exception) -> None:
        """Log an exception in one line, with where it was raised."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())
        self._logger.error(
            f"{consequence}: {type(error).__name__}: {text} ({where.filename}:{where.lineno})"
        )
