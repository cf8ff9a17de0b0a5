"""TFMessage to a buffer of transforms, for any object that has the message's attributes."""

from __future__ import annotations

from typing import Any

from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.messages.reading import BadMessage, attribute
from fourd_perception.messages.stamps import from_stamp


class BadTransform(BadMessage):
    """A TFMessage of which a part cannot be used; `reason` is for counting."""

    kind = "TFMessage"


def put_message(message: Any, buffer: TransformBuffer, *, static: bool) -> None:
    """Every transform of a tf2_msgs/TFMessage into the buffer. static: it came on /tf_static.

    Raises BadTransform on the first that is none; the others are taken all the same.
    """
    bad: BadTransform | None = None
    for one in attribute(message, "transforms", BadTransform):
        try:
            place, turn = one.transform.translation, one.transform.rotation
            buffer.put(
                str(one.header.frame_id), str(one.child_frame_id), from_stamp(one.header.stamp),
                (place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w), static=static,
            )  # fmt: skip
        except (AttributeError, TypeError, ValueError) as error:
            bad = bad or BadTransform("bad transform", " ".join(str(error).split()))
    if bad is not None:
        raise bad
