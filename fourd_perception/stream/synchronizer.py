"""Pairs clouds with images by stamp; a loop or a seek of the recording never silences it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fourd_perception.parameters import param
from fourd_perception.stream.frame import LATE, SECOND

_CAPACITY = 32
"""Of a stream's synchronizer: more than a second of the fastest cameras."""

Cloud = TypeVar("Cloud")
Image = TypeVar("Image")
Item = TypeVar("Item")


@dataclass(frozen=True)
class PairConfig:
    """Which image belongs to a cloud."""

    sync_slop: float = param(
        0.02, "farthest apart that the stamps of a cloud and its image may be", unit="s",
        at_least=0.0, at_most=1.0,
    )  # fmt: skip
    image_timeout: float = param(
        0.1, "longest wait for a cloud's image; then the cloud goes on without", unit="s",
        at_least=0.0, at_most=5.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Pair(Generic[Cloud, Image]):
    """A cloud and the image that belongs to it, if there is one. stamp: the cloud's."""

    stamp: int
    cloud: Cloud
    image: Image | None


@dataclass
class Counts:
    """What has happened since the start, for diagnostics."""

    paired: int = 0
    """Clouds given out with an image."""
    unpaired: int = 0
    """Clouds given out without one."""
    reordered: int = 0
    """Messages older than their predecessor, by no more than the tolerance."""
    duplicate_clouds: int = 0
    """Clouds dropped because there was one of this stamp."""
    duplicate_images: int = 0
    """Images dropped because there was one of this stamp."""
    late_clouds: int = 0
    """Clouds dropped because a younger one had been given out."""
    stale_images: int = 0
    """Images dropped because they were taken before a jump that the clouds had made."""
    overflows: int = 0
    """Clouds hurried out, and images dropped, because there was no room for more."""
    resets: int = 0
    """Jumps back in time."""


class _Stream(Generic[Item]):
    """The messages of one topic that may still be of use, in the order of their stamps."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stamps: list[int] = []
        self.items: list[Item] = []
        self.newest: int | None = None
        """The largest stamp since the topic last jumped back, of a message kept or not."""

    def insert(self, stamp: int, item: Item) -> bool:
        """False if there is a message of this stamp already."""
        index = bisect_left(self.stamps, stamp)
        if self.stamps[index : index + 1] == [stamp]:
            return False
        self.stamps.insert(index, stamp)
        self.items.insert(index, item)
        return True

    def drop(self, count: int) -> None:
        """Drop the oldest."""
        del self.stamps[:count], self.items[:count]


class Synchronizer(Generic[Cloud, Image]):
    """Gives every cloud once, in the order of stamps, with the image nearest to it.

    Nearest within `slop`, inclusive; of two as near, the older. Where clouds come faster than
    images, an image serves several clouds. A cloud is given as soon as its image cannot get any
    better: an image of its stamp or younger is there; or, as images may be slow or dead, a cloud
    younger by `max_wait` is. It keeps no clock: only messages move time.

    A message older than its topic's newest by more than `reorder` is a jump back (a loop, a seek, a
    restarted driver): the clouds that wait are given out, the images forgotten, and both topics
    start anew. The other topic is expected to jump too: until it does, those of its messages that
    are too far ahead to belong to the new time are taken for the last of the old.

    Nothing is called back, so nothing of the caller's can fail inside. Not thread-safe.
    """

    def __init__(self, slop: int, max_wait: int, capacity: int, *, reorder: int = LATE) -> None:
        """slop, max_wait, reorder: nanoseconds. capacity: clouds, and images, kept at most."""
        if min(slop, max_wait, reorder) < 0 or capacity < 1:
            raise ValueError(
                "expected slop, max_wait and reorder from 0, and capacity from 1; "
                f"got {slop}, {max_wait}, {reorder} and {capacity}"
            )
        self.slop = slop
        self.max_wait = max_wait
        self.capacity = capacity
        self.reorder = reorder
        self.counts = Counts()
        self.reset_reason = ""
        """The last jump."""
        self._clouds: _Stream[Cloud] = _Stream("clouds")
        self._images: _Stream[Image] = _Stream("images")
        self._given: int | None = None  # stamp of the last cloud given, since the clouds jumped
        self._follower: object = None  # the topic that has yet to follow the other's jump

    def put_points(self, stamp: int, cloud: Cloud) -> list[Pair[Cloud, Image]]:
        """Take a cloud; give the pairs that this decides, oldest first. stamp: nanoseconds."""
        left_behind = self._is_left_behind(self._clouds, self._images, stamp)
        pairs = [] if left_behind else self._move_time(self._clouds, self._images, stamp)
        if self._given is not None and stamp < self._given:
            self.counts.late_clouds += 1
        elif stamp == self._given:
            self.counts.duplicate_clouds += 1
        elif left_behind:  # the images of its time are forgotten: nothing to wait for
            pairs.append(self._pair(stamp, cloud, None))
        elif not self._clouds.insert(stamp, cloud):
            self.counts.duplicate_clouds += 1
        return pairs + self._decide()

    def put_image(self, stamp: int, image: Image) -> list[Pair[Cloud, Image]]:
        """Take an image; give the pairs that this decides, oldest first. stamp: nanoseconds."""
        if self._is_left_behind(self._images, self._clouds, stamp):
            self.counts.stale_images += 1
            return []
        pairs = self._move_time(self._images, self._clouds, stamp)
        if not self._images.insert(stamp, image):
            self.counts.duplicate_images += 1
        elif len(self._images.stamps) > self.capacity:
            self._images.drop(1)
            self.counts.overflows += 1
        return pairs + self._decide()

    def flush(self) -> list[Pair[Cloud, Image]]:
        """Give the clouds that wait, each with the best image so far: the stream has ended."""
        return [self._give() for _ in range(len(self._clouds.stamps))]

    @property
    def image_lead(self) -> int | None:
        """How much younger the newest image is than the newest cloud, nanoseconds.

        None until there was one of each since the last jump.
        """
        clouds, images = self._clouds.newest, self._images.newest
        return None if clouds is None or images is None else images - clouds

    def _is_left_behind(self, stream: _Stream[Any], other: _Stream[Any], stamp: int) -> bool:
        """Is the message from before a jump that only the other topic has made?"""
        if self._follower is not stream or stream.newest is None or other.newest is None:
            return False
        has_jumped = stamp < stream.newest - self.reorder
        return not has_jumped and stamp > other.newest + max(self.slop, self.max_wait)

    def _move_time(
        self, stream: _Stream[Any], other: _Stream[Any], stamp: int
    ) -> list[Pair[Cloud, Image]]:
        """Note a message's stamp; give the clouds that a jump back brings out."""
        newest = stream.newest
        follows = self._follower is stream
        if follows:
            self._follower = None
        if newest is None or stamp >= newest - self.reorder:
            self.counts.reordered += newest is not None and stamp < newest
            stream.newest = stamp if newest is None else max(stamp, newest)
            return []
        pairs: list[Pair[Cloud, Image]] = []
        if not follows:
            pairs = self.flush()
            self._images.drop(len(self._images.stamps))
            self._follower = other
            self.counts.resets += 1
            self.reset_reason = f"{stream.name} jumped back by {(newest - stamp) / SECOND:.3f} s"
        stream.newest = stamp
        if stream is self._clouds:
            self._given = None
        return pairs

    def _decide(self) -> list[Pair[Cloud, Image]]:
        """Give every cloud whose image cannot get better, or that has waited long enough."""
        waiting, images = self._clouds.stamps, self._images.stamps
        pairs = []
        while waiting:
            nearest_is_there = bool(images) and images[-1] >= waiting[0]
            waited = waiting[-1] - waiting[0] >= self.max_wait
            if not (nearest_is_there or waited):
                if len(waiting) <= self.capacity:
                    break
                self.counts.overflows += 1
            pairs.append(self._give())
        return pairs

    def _give(self) -> Pair[Cloud, Image]:
        """Give the oldest cloud that waits, and drop the images that no later one can want."""
        stamp, cloud = self._clouds.stamps[0], self._clouds.items[0]
        self._clouds.drop(1)
        self._images.drop(bisect_left(self._images.stamps, stamp - self.slop))
        return self._pair(stamp, cloud, self._nearest_image(stamp))

    def _nearest_image(self, stamp: int) -> Image | None:
        stamps = self._images.stamps
        after = bisect_left(stamps, stamp)
        beside = range(max(after - 1, 0), min(after + 1, len(stamps)))
        index = min(beside, key=lambda index: abs(stamps[index] - stamp), default=None)
        if index is None or abs(stamps[index] - stamp) > self.slop:
            return None
        return self._images.items[index]

    def _pair(self, stamp: int, cloud: Cloud, image: Image | None) -> Pair[Cloud, Image]:
        self._given = stamp
        if image is None:
            self.counts.unpaired += 1
        else:
            self.counts.paired += 1
        return Pair(stamp, cloud, image)


def synchronizer(config: PairConfig) -> Synchronizer[Any, Any]:
    """What pairs a stream as the nodes do."""
    return Synchronizer(
        slop=round(config.sync_slop * SECOND),
        max_wait=round(config.image_timeout * SECOND),
        capacity=_CAPACITY,
    )
