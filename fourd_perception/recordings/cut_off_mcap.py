"""An mcap whose writer did not come to its end: what stands before the cut can be read.

A recorder that crashes leaves chunks without the index at the file's end that readers begin with.
The `mcap` package's stream reader needs none: it goes through the records from the front.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)

from fourd_perception.errors import InputError

_MAGIC = b"\x89MCAP0\r\n"
_DEFINITIONS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


def is_cut_off(path: Path) -> bool:
    """Whether the file begins as an mcap and does not end as one. Raises OSError."""
    with path.open("rb") as file:
        begins = file.read(len(_MAGIC)) == _MAGIC
        file.seek(max(0, path.stat().st_size - len(_MAGIC)))
        return begins and file.read() != _MAGIC


class CutOffMcap:
    """The messages before the cut, in the order of the file. Looks like a storage of rosbags.

    Opening goes through the whole file once, for the topics and the times.
    Raises InputError where the `mcap` package is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.message_count = 0
        self.start_time, self.end_time = 2**63 - 1, 0
        self._by_channel: dict[int, Connection] = {}
        counts: dict[int, int] = {}
        for channel, message in self._records():
            time = message.log_time
            self.message_count += 1
            counts[channel.id] = counts.get(channel.id, 0) + 1
            self.start_time = min(self.start_time, time)
            self.end_time = max(self.end_time, time + 1)
        self.connections = [
            one._replace(msgcount=counts.get(one.id, 0)) for one in self._by_channel.values()
        ]

    def messages(
        self,
        connections: Collection[Connection] = (),
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """As rosbags' readers: connection, time of recording (nanoseconds), CDR."""
        wanted = {one.id: one for one in connections or self.connections}
        for channel, message in self._records():
            time = message.log_time
            in_time = (start is None or time >= start) and (stop is None or time < stop)
            if channel.id in wanted and in_time:
                yield wanted[channel.id], time, message.data

    def _records(self) -> Iterator[tuple[Any, Any]]:
        """(channel, message) of every message before the cut."""
        try:
            from mcap.records import Channel, Message, Schema
            from mcap.stream_reader import StreamReader
        except ImportError:
            raise InputError(
                f"{self.path}: cut off, as by a crash while recording; to read what is there: "
                "pip install mcap; or `ros2 bag reindex`"
            ) from None
        schemas: dict[int, Any] = {}
        channels: dict[int, Any] = {}
        with self.path.open("rb") as file:
            records = StreamReader(file).records
            while True:
                try:
                    record = next(records)
                except Exception:  # noqa: BLE001 - whatever the reader meets at the cut
                    return
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                    self._meet(record, schemas.get(record.schema_id))
                elif isinstance(record, Message) and record.channel_id in channels:
                    yield channels[record.channel_id], record

    def _meet(self, channel: Any, schema: Any) -> None:
        if channel.id in self._by_channel or schema is None:
            return
        kind = _DEFINITIONS.get(schema.encoding, MessageDefinitionFormat.NONE)
        text = schema.data.decode("utf-8", "replace")
        self._by_channel[channel.id] = Connection(
            channel.id,
            channel.topic,
            schema.name,
            MessageDefinition(kind, text),
            "",
            0,
            ConnectionExtRosbag2(channel.message_encoding, []),
            self,
        )
