"""The clouds of a camera's bag, rosbag2 or ROS 1, without ROS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.typesys import Stores, get_typestore

from fourd_perception.errors import InputError
from fourd_perception.messages import clouds
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.recordings.bag_reader import BagError, open_bag
from fourd_perception.stream.frame import SECOND

_CLOUD = "sensor_msgs/msg/PointCloud2"


@dataclass(frozen=True)
class BagCloud:
    """A cloud of a bag. stamp: nanoseconds. points: (N, 3) float32, metres, finite."""

    stamp: int
    points: NDArray[np.float32]


def read_clouds(
    path: str | Path, start: float = 0.0, end: float = float("inf")
) -> Iterator[BagCloud]:
    """The clouds that were recorded from `start` to `end` (excluded), seconds from the bag's start.

    So count `ros2 bag play --start-offset` and Foxglove. Raises BagError where the bag cannot be
    read or has not exactly one topic of clouds, and InputError on a cloud that cannot be read.
    """
    with _opened(path) as (bag, deserialize):
        connections = [one for one in bag.connections if one.msgtype == _CLOUD]
        topics = sorted({one.topic for one in connections})
        if len(topics) != 1:
            raise BagError(
                f"{path}: expected one topic of {_CLOUD}, got {', '.join(topics) or 'none'}; "
                "record the camera's cloud, and that alone"
            )
        first = bag.start_time + round(start * SECOND)
        last = None if end == float("inf") else bag.start_time + round(end * SECOND)
        for time, message in _messages(bag, connections, first, last, deserialize):
            try:
                points = clouds.from_message(message)
            except clouds.BadCloud as error:
                seconds = (time - bag.start_time) / SECOND
                raise InputError(f"{path}, {seconds:.3f} s, {topics[0]}: {error}") from None
            finite = points[np.isfinite(points).all(axis=1)]
            yield BagCloud(from_stamp(message.header.stamp), finite)


def _messages(
    bag: Any, connections: list[Any], start: int, stop: int | None, deserialize: Callable[..., Any]
) -> Iterator[tuple[int, Any]]:
    try:
        for _, time, data in bag.messages(connections, start=start, stop=stop):
            yield time, deserialize(data)
    except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
        raise BagError(f"{bag.path}: damaged ({_reason(error)}); copy it again") from None


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Callable[[bytes], Any]]]:
    """A bag, open while the block lasts, and what makes a cloud of its bytes."""
    if Path(path).suffix != ".bag":
        types = get_typestore(Stores.ROS2_JAZZY)
        with open_bag(path) as rosbag2:
            yield rosbag2, partial(types.deserialize_cdr, typename=_CLOUD)
        return
    types = get_typestore(Stores.ROS1_NOETIC)
    try:
        stack = ExitStack()
        rosbag1 = stack.enter_context(Ros1Reader(Path(path)))
    except Exception as error:  # noqa: BLE001 - as above
        raise BagError(
            f"{path}: not a ROS 1 bag, or damaged or cut off ({_reason(error)}); "
            "`rosbag reindex` may mend it"
        ) from None
    with stack:  # outside of the try: what the block raises is its own
        yield rosbag1, partial(types.deserialize_ros1, typename=_CLOUD)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
