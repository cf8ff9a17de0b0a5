"""What the readers of sensor messages share: nothing that a header claims is believed unchecked."""

from __future__ import annotations

import operator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError


class BadMessage(InputError):
    """A sensor message that cannot be read.

    reason: a few words, the same for every message with this fault, to count by.
    """

    kind: ClassVar[str] = "message"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{self.kind}: {reason}: {detail}")
        self.reason = reason


def attribute(message: Any, name: str, bad: type[BadMessage]) -> Any:
    """`message.name`; raises `bad` where there is none."""
    try:
        return getattr(message, name)
    except AttributeError:
        kind = type(message).__name__
        raise bad(f"not a {bad.kind}", f"expected an attribute {name}, got {kind}") from None


def whole(message: Any, name: str, bad: type[BadMessage]) -> int:
    """`message.name` as a Python int, so that no product of two sizes overflows."""
    value = attribute(message, name, bad)
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise bad(f"bad {name}", f"expected a whole number from 0, got {value!r:.40}")
    return number


def buffer(message: Any, bad: type[BadMessage]) -> NDArray[np.uint8]:
    """`message.data` as bytes, not copied: bytes, array.array, memoryview or numpy alike."""
    data = attribute(message, "data", bad)
    try:
        return np.frombuffer(data, np.uint8)
    except (TypeError, ValueError, BufferError):
        kind = type(data).__name__
        raise bad("data is not bytes", f"expected a contiguous buffer, got {kind}") from None


def row_stride(
    message: Any, name: str, height: int, row: int, size: int, bad: type[BadMessage]
) -> int:
    """Bytes from one row to the next, from the message's `name`; checks that the rows are there.

    height: at least 1. row: bytes of a row without padding. size: bytes of all data; what lies
    beyond the last row is tolerated, as some drivers publish a whole buffer that they fill in part.
    0 or the size of the whole cloud says nothing (many drivers publish these): no padding then.
    Nor is a single row's distance to the next one asked for, which may be any number.
    """
    claimed = whole(message, name, bad)
    if 0 < claimed < row:
        raise bad(f"{name} too small", f"expected at least {row}, got {claimed}")
    stride = claimed if claimed and height > 1 else row
    if claimed in (height * row, size) and (height - 1) * claimed + row > size:
        stride = row
    needed = (height - 1) * stride + row
    if needed > size:
        raise bad("data too short", f"expected {needed} bytes ({height} rows), got {size}")
    return stride
