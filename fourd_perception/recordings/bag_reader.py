"""Messages of a rosbag2 (a folder, or a lone .mcap or .db3 file), without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader, ReaderError
from rosbags.typesys import Stores, get_typestore

from fourd_perception.errors import InputError
from fourd_perception.messages.stamps import from_stamp


class BagError(InputError):
    """A bag cannot be read or written, or lacks a topic."""


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag. time: nanoseconds, when it was recorded."""

    topic: str
    time: int
    message: Any

    @property
    def stamp(self) -> int:
        """The message's header stamp, nanoseconds."""
        return from_stamp(self.message.header.stamp)


def read_messages(path: str | Path, *topics: str) -> Iterator[BagMessage]:
    """The messages of `topics` in the order of their recording.

    Raises BagError where the bag cannot be read, and on a topic that it does not have.
    """
    types = get_typestore(Stores.ROS2_JAZZY)
    try:
        with Reader(Path(path)) as bag:
            known = {connection.topic for connection in bag.connections}
            for topic in topics:
                if topic not in known:
                    raise BagError(f"{path}: no topic {topic}; it has {', '.join(sorted(known))}")
            wanted = [one for one in bag.connections if one.topic in topics]
            for connection, time, data in bag.messages(wanted):
                yield BagMessage(
                    connection.topic, time, types.deserialize_cdr(data, connection.msgtype)
                )
    except FileNotFoundError:
        raise BagError(f"{path}: no such bag; expected a rosbag2 folder or a .mcap file") from None
    except (ReaderError, OSError) as error:
        raise BagError(f"{path}: not a rosbag2, or damaged ({error})") from None
