"""The faults of a soak: what is done to a stream, and what the node is to make of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from benchmarks.soak_node import POINTS, RATE, Soak, moved
from fourd_perception.stream.frame import SECOND

MILLISECOND = SECOND // 1000
SEEK = 5 * RATE


@dataclass(frozen=True)
class Fault:
    """inject: does it at a frame of the bag, and says with which frame the bag goes on.

    told: whether the node's counters, by how much they went up, speak of it. lasting: whether
    windows that saw it may have other answers; else not one answer may change.
    """

    name: str
    did: str
    inject: Callable[[Soak, int, random.Random], int]
    told: Callable[[Counter[str]], bool]
    lasting: bool = True


def _nothing(soak: Soak, index: int, chance: random.Random) -> int:
    return index


def _lose(soak: Soak, index: int, chance: random.Random) -> int:
    return index + chance.randint(1, 3)


def _silence(soak: Soak, index: int, chance: random.Random) -> int:
    return index + 2 * RATE


def _seek_back(soak: Soak, index: int, chance: random.Random) -> int:
    return index - SEEK


def _seek_ahead(soak: Soak, index: int, chance: random.Random) -> int:
    return index + SEEK


def _swap(soak: Soak, index: int, chance: random.Random) -> int:
    soak.frame(index + 1)
    soak.frame(index)
    return index + 2


def _jitter(soak: Soak, index: int, chance: random.Random) -> int:
    for one in range(index, index + 2 * RATE):
        late = chance.randint(-16, 16) * MILLISECOND
        soak.frame(one, moved(soak.clouds[one], late))
    return index + 2 * RATE


def _empty(soak: Soak, index: int, chance: random.Random) -> int:
    for one in range(index, index + 5):
        cloud = deepcopy(soak.clouds[one])
        cloud.data = np.full((POINTS, 3), np.nan, np.float32).tobytes()
        soak.frame(one, cloud)
    return index + 5


def _damage_clouds(soak: Soak, index: int, chance: random.Random) -> int:
    for number, damage in enumerate((_without_x, _cut_off, _wrong_type, _outside), start=1):
        cloud = moved(soak.clouds[index - 1], number * MILLISECOND)
        damage(cloud)
        soak.cloud(cloud)
    return index


def _without_x(cloud: PointCloud2) -> None:
    cloud.fields = cloud.fields[1:]


def _cut_off(cloud: PointCloud2) -> None:
    cloud.data = cloud.data[:-1]


def _wrong_type(cloud: PointCloud2) -> None:
    cloud.fields[0].datatype = 2


def _outside(cloud: PointCloud2) -> None:
    cloud.fields[2].offset = 4_000_000_000


def _no_stamp(soak: Soak, index: int, chance: random.Random) -> int:
    for message, put in ((soak.clouds[index], soak.cloud), (soak.images[index], soak.image)):
        unstamped = deepcopy(message)
        unstamped.header.stamp.sec = unstamped.header.stamp.nanosec = 0
        put(unstamped)
    return index


def _twice(soak: Soak, index: int, chance: random.Random) -> int:
    for one in range(index, index + 20):
        soak.frame(one)
        soak.image(soak.images[one])
        soak.cloud(soak.clouds[one])
    return index + 20


def _no_images(soak: Soak, index: int, chance: random.Random) -> int:
    for one in range(index, index + 3 * RATE):
        soak.frame(one, image=False)
    return index + 3 * RATE


def _damage_images(soak: Soak, index: int, chance: random.Random) -> int:
    for one in range(index, index + 10):
        image = deepcopy(soak.images[one])
        if one % 2:
            image.encoding = "plaid"
        else:
            image.data = image.data[:-1]
        soak.image(image)
        soak.frame(one, image=False)
    return index + 10


def _other_qos(soak: Soak, index: int, chance: random.Random) -> int:
    source = soak.node._input
    assert source is not None
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = soak.probe.create_publisher(PointCloud2, "points", qos)
    soak.until(source.qos_worries)
    soak.probe.destroy_publisher(publisher)
    soak.until(lambda: not source.qos_worries())
    return index


def _no_memory(soak: Soak, index: int, chance: random.Random) -> int:
    soak.node.fail_next = 2
    while soak.node.fail_next:
        soak.frame(index)
        index += 1
    return index


def _deactivate(soak: Soak, index: int, chance: random.Random) -> int:
    soak.node.trigger_deactivate()
    for one in range(index, index + RATE):
        soak.frame(one)
    soak.node.trigger_activate()
    return index + RATE


def _configure(soak: Soak, index: int, chance: random.Random) -> int:
    soak.node.trigger_deactivate()
    soak.node.trigger_cleanup()
    soak.node.trigger_configure()
    soak.node.trigger_activate()
    return index


def _always(counted: Counter[str]) -> bool:
    return True


def _no_reset(counted: Counter[str]) -> bool:
    return counted["window resets"] == 0


def _one_reset(counted: Counter[str]) -> bool:
    return counted["window resets"] == 1


LOOP = Fault(
    "the bag starts over (back by a minute)", "empties the window, says so", _nothing, _one_reset
)
"""Not injected: every pass but the first begins with it."""
FAULTS = (
    Fault("1 to 3 frames lost", "the nearest frames stand in", _lose, _no_reset),
    Fault("no frames for 2 s", "empties the window, says so", _silence, _one_reset),
    Fault("seek back by 5 s", "empties the window, says so", _seek_back, _one_reset),
    Fault("seek ahead by 5 s", "empties the window, says so", _seek_ahead, _one_reset),
    Fault(
        "two frames swapped", "ignores the late one, counts it", _swap,
        lambda counted: counted["late clouds"] + counted["frames ignored"] == 1,
    ),
    Fault("stamps jitter by half a period for 2 s", "goes on", _jitter, _no_reset),
    Fault("5 clouds without any return", "their neighbours stand in", _empty, _no_reset),
    Fault(
        "4 damaged clouds in between", "rejects them, counts them by reason", _damage_clouds,
        lambda counted: counted["messages rejected"] == 4, lasting=False,
    ),
    Fault(
        "a cloud and an image without a stamp", "rejects them, counts them", _no_stamp,
        lambda counted: counted["messages rejected"] == 2, lasting=False,
    ),
    Fault(
        "20 frames sent twice", "drops the second ones, counts them", _twice,
        lambda counted: counted["rejected: stamp repeated"] == counted["duplicate images"] == 20,
        lasting=False,
    ),
    Fault(
        "no images for 3 s", "goes on without them, counts it", _no_images,
        lambda counted: counted["unpaired"] >= 2 * RATE, lasting=False,
    ),
    Fault(
        "10 damaged images", "rejects them, goes on without", _damage_images,
        lambda counted: counted["messages rejected"] == 10 <= counted["unpaired"], lasting=False,
    ),
    Fault(
        "a publisher whose QoS does not fit", "says which policy and what to set, until it is gone",
        _other_qos, _no_reset, lasting=False,
    ),
    Fault(
        "out of GPU memory twice", "loses two windows, counts them, empties the cache", _no_memory,
        lambda counted: counted["exception: OutOfMemoryError"] == 2,
    ),
    Fault(
        "deactivated for 1 s", "is deaf, then starts with an empty window", _deactivate, _no_reset
    ),
    Fault(
        "cleaned up and configured again", "loads the model, starts with an empty window",
        _configure, _always,
    ),
)  # fmt: skip
