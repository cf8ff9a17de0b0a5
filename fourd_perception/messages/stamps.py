"""The stamp of a message's header."""

from __future__ import annotations

from typing import Any

from fourd_perception.stream.frame import SECOND


def from_stamp(time: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time, or of anything with `sec` and `nanosec`."""
    return int(time.sec) * SECOND + int(time.nanosec)
