"""Messages of a recording, without ROS: a rosbag2 (a folder, or a lone .mcap or .db3 file), or a
ROS 1 bag."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag2 import Reader as Ros2Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from fourd_perception.errors import InputError
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.recordings.cut_off_mcap import CutOffMcap, is_cut_off

_STORAGE = (".mcap", ".db3")
_ZSTD = b"\x28\xb5\x2f\xfd"
_LARGEST_MESSAGE = 1 << 30
"""Of a message that is compressed; what unpacks to more is taken for a bomb."""


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


@dataclass(frozen=True)
class _Storage:
    """One file of a bag. reader: rosbags' or a CutOffMcap. start_time, end_time: as Bag has them,
    where there are messages."""

    reader: Any
    connections: tuple[Connection, ...]
    start_time: int
    end_time: int
    message_count: int


class Bag:
    """An open bag of either ROS, of one storage file or of several.

    connections: a topic and its type each. start_time, end_time: nanoseconds, when the first
    message was recorded, and the one after the last; both 0 in an empty bag. trouble: what is wrong
    with the bag, in words, although it can be read; empty where nothing is.
    """

    def __init__(
        self, path: Path, storages: Sequence[_Storage], trouble: Sequence[str] = ()
    ) -> None:
        self.path = path
        self.trouble = list(trouble)
        self.ros1 = path.suffix == ".bag"
        self._storages = sorted(storages, key=lambda one: one.start_time)
        self._cut_off = any(isinstance(one.reader, CutOffMcap) for one in storages)
        self._cdr_types = get_typestore(Stores.ROS2_JAZZY)
        self._types = get_typestore(Stores.ROS1_NOETIC) if self.ros1 else self._cdr_types
        self._merged: dict[tuple[int, int], Connection] = {}
        self.connections = self._merge()
        self.message_count = sum(one.message_count for one in self._storages)
        filled = [one for one in self._storages if one.message_count]
        self.start_time = min((one.start_time for one in filled), default=0)
        self.end_time = max((one.end_time for one in filled), default=0)

    @property
    def duration(self) -> int:
        """Nanoseconds from the first message to the one after the last."""
        return self.end_time - self.start_time

    @property
    def topics(self) -> dict[str, str]:
        """The type of each topic that has messages, such as sensor_msgs/msg/PointCloud2."""
        return {one.topic: one.msgtype for one in self.connections if one.msgcount}

    def of_topics(self, topics: Collection[str]) -> list[Connection]:
        """Their connections. Raises BagError on a topic that the bag does not have."""
        known = {connection.topic for connection in self.connections}
        for topic in topics:
            if topic not in known:
                raise BagError(f"{self.path}: no topic {topic}; it has {', '.join(sorted(known))}")
        return [one for one in self.connections if one.topic in topics]

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time of recording (nanoseconds) and bytes, in the order of the times.

        connections: those wanted; none: all. start, stop: from this time on, and up to, without it,
        this one. The bytes are CDR, of a ROS 1 bag those of ROS 1.
        Raises what rosbags runs into where the bag is damaged; `raw_messages` makes that a line.
        """
        wanted = {one.id for one in connections or self.connections}
        streams = []
        for number, storage in enumerate(self._storages):
            own = [one for one in storage.connections if self._of(number, one).id in wanted]
            if own:
                streams.append(self._stream(number, storage, own, start, stop))
        for connection, time, data in heapq.merge(*streams, key=lambda one: one[1]):
            if connection is not None:
                yield connection, time, data

    def deserialize(self, connection: Connection, data: bytes) -> Any:
        """The message of these bytes. Raises BagError where they are none, or are of a type that
        neither rosbags nor the bag itself describes."""
        kind = connection.msgtype
        try:
            _learn(self._types, connection)
            if self.ros1:
                return self._types.deserialize_ros1(data, kind)
            return self._types.deserialize_cdr(data, kind)
        except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
            raise _damaged(self.path, error) from None

    def to_cdr(self, connection: Connection, data: bytes) -> bytes:
        """The bytes as ROS 2 has them. Raises BagError as `deserialize`."""
        if not self.ros1:
            return data
        try:
            _learn(self._cdr_types, connection)
            return bytes(self._cdr_types.ros1_to_cdr(data, connection.msgtype))
        except Exception as error:  # noqa: BLE001 - as above
            raise _damaged(self.path, error) from None

    def check_end(self) -> None:
        """Raises BagError if the bag is cut off: said after everything before the cut was read."""
        if self._cut_off:
            raise BagError(
                f"{self.path}: damaged: cut off, as by a crash while recording, and read up to the "
                "cut; `ros2 bag reindex` may mend it"
            )

    def _merge(self) -> list[Connection]:
        """A connection for each topic and type, whatever files they are in."""
        found: dict[tuple[str, str], Connection] = {}
        places: dict[tuple[int, int], tuple[str, str]] = {}
        for number, storage in enumerate(self._storages):
            for one in storage.connections:
                key = places[number, one.id] = (one.topic, one.msgtype)
                counted = one.msgcount + (found[key].msgcount if key in found else 0)
                first = found.get(key, one._replace(id=len(found) + 1))
                found[key] = first._replace(msgcount=counted)
        self._merged = {place: found[key] for place, key in places.items()}
        return list(found.values())

    def _of(self, number: int, connection: Connection) -> Connection:
        return self._merged[number, connection.id]

    def _stream(
        self,
        number: int,
        storage: _Storage,
        own: list[Connection],
        start: int | None,
        stop: int | None,
    ) -> Iterator[tuple[Connection | None, int, bytes]]:
        yield None, storage.start_time, b""  # so that a file is not read before its time has come
        for connection, time, data in storage.reader.messages(own, start, stop):
            if data[:4] == _ZSTD and not self.ros1:  # no CDR begins so: compressed by message
                data = _decompress(data)
            yield self._of(number, connection), time, data


def read_messages(path: str | Path, *topics: str) -> Iterator[BagMessage]:
    """The messages of `topics` in the order of their recording.

    Raises BagError where the bag cannot be read, and on a topic that it does not have; of a damaged
    one after what can be read.
    """
    with open_bag(path) as bag:
        for connection, time, data in _read(bag, bag.of_topics(topics)):
            yield BagMessage(connection.topic, time, bag.deserialize(connection, data))


@contextmanager
def open_bag(path: str | Path) -> Iterator[Bag]:
    """A bag, open while the block lasts. Raises BagError where it cannot be opened."""
    path = Path(path)
    stack = ExitStack()
    try:
        storages, trouble = _open(path, stack)
    except FileNotFoundError:
        raise BagError(
            f"{path}: no such bag; expected a rosbag2 folder, or a .mcap, .db3 or .bag file"
        ) from None
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
        kind, mend = ("ROS 1 bag", "rosbag") if path.suffix == ".bag" else ("rosbag2", "ros2 bag")
        raise BagError(
            f"{path}: not a {kind}, or damaged or cut off ({_reason(error)}); "
            f"`{mend} reindex` may mend it"
        ) from None
    with stack:  # outside of the try: what the block raises is its own
        yield Bag(path, storages, trouble)


def raw_messages(
    bag: Bag, connections: Collection[Connection]
) -> Iterator[tuple[Connection, int, bytes]]:
    """Connection, time of recording (nanoseconds) and CDR of the messages of an open bag.

    Raises BagError where the bag is damaged or cut off, after the messages before that.
    """
    for connection, time, data in _read(bag, connections):
        yield connection, time, bag.to_cdr(connection, data)


def _read(bag: Bag, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
    try:
        yield from bag.messages(connections) if connections else ()
    except Exception as error:  # noqa: BLE001 - as above; what the caller raises does not get here
        raise _damaged(bag.path, error) from None
    bag.check_end()


def _open(path: Path, stack: ExitStack) -> tuple[list[_Storage], list[str]]:
    """Storages that are closed with the stack, and what is wrong with the bag."""
    if path.suffix == ".bag":
        return [_storage(stack.enter_context(Ros1Reader(path)))], []
    if not path.is_dir():
        return _open_file(path, stack), []
    files = sorted(
        (one for one in path.iterdir() if one.suffix in _STORAGE and one.is_file()), key=_natural
    )
    missing = not (path / "metadata.yaml").is_file()
    if not missing and not any(is_cut_off(one) for one in files):
        return _of_rosbag2(stack.enter_context(Ros2Reader(path))), []
    if not files and any(path.glob("*.zstd")):
        raise BagError(
            f"{path}: compressed files, and no metadata.yaml; unpack them (`zstd -d FILE`), "
            "and open the folder again"
        )
    if not files:
        raise FileNotFoundError(path)
    return [storage for one in files for storage in _open_file(one, stack)], (
        [f"{path}: no metadata.yaml; its {len(files)} storage file(s) are read without"]
        if missing
        else []
    )


def _open_file(path: Path, stack: ExitStack) -> list[_Storage]:
    """A lone storage file; where it is an mcap that is cut off, what can be read of it."""
    if path.suffix == ".mcap" and is_cut_off(path):
        salvaged = CutOffMcap(path)
        if salvaged.message_count:
            return [_storage(salvaged)]
    return _of_rosbag2(stack.enter_context(Ros2Reader(path)))


def _of_rosbag2(reader: Ros2Reader) -> list[_Storage]:
    """The files of an open rosbag2.

    They are read one by one, because rosbags' reader of folders gives nothing of a topic whose QoS
    metadata.yaml writes in another way than the file, and says nothing either.
    """
    files = getattr(reader.storage, "storages", [reader.storage])
    return [_storage(one, one.metadata) for one in files]


def _storage(reader: Any, times: Any = None) -> _Storage:
    """times: what has the times and the count, where the reader itself has not."""
    times = times or reader
    return _Storage(
        reader, tuple(reader.connections), times.start_time, times.end_time, times.message_count
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    """So that bag_10 comes after bag_9."""
    return [(int(part), "") if part.isdigit() else (-1, part)
            for part in re.split(r"(\d+)", path.name)]  # fmt: skip


def _learn(types: Any, connection: Connection) -> None:
    """Take a type from the definition that the bag brings with it, where it is not known yet."""
    if connection.msgtype in types.fielddefs:
        return
    definition = connection.msgdef
    if definition.format == MessageDefinitionFormat.MSG:
        found = get_types_from_msg(definition.data, connection.msgtype)
    elif definition.format == MessageDefinitionFormat.IDL:
        found = get_types_from_idl(definition.data)
    else:
        raise ValueError(f"{connection.topic}: nobody knows {connection.msgtype}")
    types.register({name: one for name, one in found.items() if name not in types.fielddefs})


def _decompress(data: bytes) -> bytes:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd  # what rosbags itself uses before
    unpacking = zstd.ZstdDecompressor()
    message = bytes(unpacking.decompress(data, _LARGEST_MESSAGE))
    if not unpacking.eof:
        raise ValueError(f"a compressed message of more than {_LARGEST_MESSAGE >> 20} MiB")
    return message


def _damaged(path: object, error: Exception) -> BagError:
    return BagError(f"{path}: damaged, and read up to the damage ({_reason(error)})")


def _reason(error: Exception) -> str:
    """In one line, and never empty."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
