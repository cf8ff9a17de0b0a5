"""Messages of a rosbag2 (a folder, or a lone .mcap or .db3 file), without ROS."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
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
    with open_bag(path) as bag:
        known = {connection.topic for connection in bag.connections}
        for topic in topics:
            if topic not in known:
                raise BagError(f"{path}: no topic {topic}; it has {', '.join(sorted(known))}")
        wanted = [one for one in bag.connections if one.topic in topics]
        for connection, time, data in raw_messages(bag, wanted):
            try:
                message = types.deserialize_cdr(data, connection.msgtype)
            except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
                raise _damaged(path, error) from None
            yield BagMessage(connection.topic, time, message)


@contextmanager
def open_bag(path: str | Path) -> Iterator[Reader]:
    """A bag, open while the block lasts. Raises BagError where it cannot be opened."""
    try:
        bag = Reader(Path(path))
        stack = ExitStack()
        stack.enter_context(bag)
    except FileNotFoundError:
        raise BagError(
            f"{path}: no such bag; expected a rosbag2 folder, or a .mcap or .db3 file"
        ) from None
    except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
        raise BagError(
            f"{path}: not a rosbag2, or damaged or cut off ({_reason(error)}); "
            "`ros2 bag reindex` may mend it"
        ) from None
    with stack:  # outside of the try: what the block raises is its own
        yield bag


def raw_messages(
    bag: Reader, connections: Collection[Connection]
) -> Iterator[tuple[Connection, int, bytes]]:
    """Connection, time of recording (nanoseconds) and CDR of the messages of an open bag.

    Raises BagError where the bag is damaged, after the messages before the damage.
    """
    try:
        yield from bag.messages(connections)
    except Exception as error:  # noqa: BLE001 - as above; what the caller raises does not get here
        raise _damaged(bag.path, error) from None


def _damaged(path: object, error: Exception) -> BagError:
    return BagError(f"{path}: damaged, and read up to the damage ({_reason(error)})")


def _reason(error: Exception) -> str:
    """In one line, and never empty."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
