"""The frames of a bag, in bag order, as the live node would make them of the messages."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_source import (
    IMAGE,
    TRANSFORMS,
    BagSource,
    first_message,
    is_static,
)
from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.messages import clouds, images
from fourd_perception.messages.depth_images import DepthReader, is_rectified
from fourd_perception.messages.point_labels import labels_of
from fourd_perception.messages.reading import BadMessage
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.messages.transforms import BadTransform, put_message
from fourd_perception.recordings.bag_reader import Bag, BagError
from fourd_perception.stream.frame import Frame
from fourd_perception.stream.synchronizer import (
    Counts,
    Pair,
    PairConfig,
    Synchronizer,
    synchronizer,
)

Tap = Callable[[Connection, int, bytes], None]


@dataclass(frozen=True, eq=False)
class BagFrame:
    """A frame of a bag. recorded: nanoseconds, when its message was. labels: (N,) int64, the truth
    of its points, where the cloud has a field `label`. read_ms: what reading it took."""

    frame: Frame
    recorded: int
    labels: NDArray[np.int64] | None
    read_ms: float


def _with_image(pair: Pair[BagFrame, NDArray[np.uint8]]) -> BagFrame:
    return replace(pair.cloud, frame=replace(pair.cloud.frame, image=pair.image))


class BagFrames:
    """Goes through the frames of an open bag, once, one at a time.

    A cloud with the stamp of the one before, and one that cannot be read, are left out and counted;
    a stamp of 0 is replaced by the time of recording, and counted. The end of a damaged bag is
    where its damage begins.
    """

    def __init__(
        self,
        bag: Bag,
        source: BagSource,
        tap: Tap | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        pairing: PairConfig | None = None,
        transforms: TransformBuffer | None = None,
    ) -> None:
        """source: as `find_source` gives it. tap: called with every message of the bag, of all its
        topics, as CDR, in order: frames come after the messages that they are made of. start, stop:
        nanoseconds; only what was recorded from this time on and before this one. pairing: by which
        frames get the images of the source; None: they have none. transforms: where
        the bag's go: all that are static before the first frame, as they are latched; the others as
        they come."""
        self.messages = 0
        """Of the topic that makes the frames."""
        self.zero_stamps = 0
        self.left_out: Counter[str] = Counter()
        """Messages that made no frame, by the reason."""
        self.images = 0
        """Messages of the images' topic, where there is pairing."""
        self.images_left_out: Counter[str] = Counter()
        """Those that are no image, by the reason."""
        self.damage = ""
        """Why the bag ended early."""
        self._details: dict[str, str] = {}
        self._bag = bag
        self._source = source
        self._tap = tap
        self._span = (start, stop)
        self._transforms = transforms
        self._last_stamp: int | None = None
        self._depth = DepthReader(
            rectified=is_rectified(source.depth_name), transport=source.depth_transport
        )
        self._info = first_message(bag, source.camera_info) if source.camera_info else None
        self._synchronizer: Synchronizer[BagFrame, Any] | None = None
        if pairing is not None and source.image:
            self._synchronizer = synchronizer(pairing)

    def __iter__(self) -> Iterator[BagFrame]:
        source, bag = self._source, self._bag
        pictures = source.image if self._synchronizer is not None else None
        topics = [one for one in (source.frames, source.camera_info, pictures) if one]
        if self._transforms is not None:
            tf = [topic for topic, kind in bag.topics.items() if kind == TRANSFORMS]
            self._take_static([one for one in tf if is_static(one)])
            topics += [one for one in tf if not is_static(one)]
        connections = bag.connections if self._tap else bag.of_topics(topics)
        started = time.perf_counter()
        messages = bag.messages(connections, *self._span)
        while True:
            try:
                connection, recorded, data = next(messages)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - rosbags lets through what damage runs into
                text = " ".join(str(error).split())
                self.damage = f"{bag.path}: damaged, and read up to the damage ({text:.120})"
                break
            if self._tap:
                self._copy(self._tap, connection, recorded, data)
            if connection.topic in topics:
                for made in self._take(connection, recorded, data):
                    took = (time.perf_counter() - started) * 1e3
                    yield replace(made, read_ms=took)
                    started = time.perf_counter()
        if self._synchronizer is not None:
            yield from map(_with_image, self._synchronizer.flush())
        try:
            if not self.damage:
                bag.check_end()
        except BagError as error:
            self.damage = str(error)

    def said(self) -> list[str]:
        """What there is to say of the bag's messages, a line each."""
        where = f"{self._bag.path}: {self._source.frames}"
        lines = list(self._bag.trouble)
        if self.zero_stamps:
            lines.append(
                f"{where}: {self.zero_stamps} of {self.messages} messages have stamp 0: the time "
                "of their recording is taken"
            )
        lines += [
            f"{where}: {count} of {self.messages} messages left out: {self._details[reason]}"
            for reason, count in sorted(self.left_out.items())
        ]
        if self._synchronizer is not None:
            lines += self._said_of_images(where, self._synchronizer.counts)
        return lines + [self.damage] * bool(self.damage)

    def _said_of_images(self, where: str, counts: Counts) -> Iterator[str]:
        topic = f"{self._bag.path}: {self._source.image}"
        for reason, count in sorted(self.images_left_out.items()):
            yield (f"{topic}: {count} of {self.images} images left out: {self._details[reason]}")
        if counts.unpaired:
            yield (
                f"{where}: {counts.unpaired} of {counts.unpaired + counts.paired} frames have no "
                f"image of {self._source.image} that came in time: see sync_slop and image_timeout"
            )
        if late := counts.late_clouds + counts.duplicate_clouds:
            yield f"{where}: {late} clouds came late, out of order, and were left out"

    def _take(self, connection: Connection, recorded: int, data: bytes) -> list[BagFrame]:
        """The frames that a message completes."""
        makes_frames = connection.topic == self._source.frames
        self.messages += makes_frames
        try:
            message = self._bag.deserialize(connection, data)
        except BagError:
            self._leave_out("cannot be decoded", f"{connection.topic}: bytes that are no message")
            return []
        if connection.msgtype == TRANSFORMS:
            self._place(connection, message)
            return []
        if connection.topic == self._source.camera_info:
            self._info = message
            return []
        if not makes_frames:
            return self._picture(connection, recorded, message)
        stamp = from_stamp(message.header.stamp)
        if stamp == 0:
            self.zero_stamps += 1
            stamp = recorded
        if stamp == self._last_stamp:
            self._leave_out("stamp repeated", "a cloud has the stamp of the one before")
            return []
        self._last_stamp = stamp
        try:
            frame, labels = self._frame(stamp, message)
        except InputError as error:
            self._leave_out(getattr(error, "reason", "unreadable"), str(error))
            return []
        made = BagFrame(frame, recorded, labels, 0.0)
        if self._synchronizer is None:
            return [made]
        return [_with_image(pair) for pair in self._synchronizer.put_points(stamp, made)]

    def _picture(self, connection: Connection, recorded: int, message: Any) -> list[BagFrame]:
        """The frames that an image completes. Its stamp of 0 is replaced as a cloud's is."""
        assert self._synchronizer is not None
        self.images += 1
        decode = images.DECODERS["raw" if connection.msgtype == IMAGE else "compressed"]
        stamp = from_stamp(message.header.stamp) or recorded
        try:
            image = decode(message)
        except images.BadImage as error:
            self.images_left_out[error.reason] += 1
            self._details.setdefault(error.reason, str(error))
            return []
        return [_with_image(pair) for pair in self._synchronizer.put_image(stamp, image)]

    def _take_static(self, topics: list[str]) -> None:
        """What is wrong with the bag, going through its frames will say."""
        connections = self._bag.of_topics(topics)
        with contextlib.suppress(Exception):
            for connection, _, data in self._bag.messages(connections) if connections else ():
                self._place(connection, self._bag.deserialize(connection, data))

    def _place(self, connection: Connection, message: Any) -> None:
        assert self._transforms is not None
        try:
            put_message(message, self._transforms, static=is_static(connection.topic))
        except BadTransform as error:
            self._leave_out(error.reason, str(error))

    def _frame(self, stamp: int, message: Any) -> tuple[Frame, NDArray[np.int64] | None]:
        labels = None
        if self._source.points:
            points = clouds.from_message(message)
            labels = labels_of(message)
        elif self._info is None:
            raise BadMessage("no CameraInfo", "none that can be read comes with the depth images")
        else:
            points = self._depth.points(message, self._info)
        rows = max(1, int(message.height) if self._source.points else self._depth.rows)
        return Frame(stamp, str(message.header.frame_id), points, rows=rows), labels

    def _copy(self, tap: Tap, connection: Connection, recorded: int, data: bytes) -> None:
        try:
            cdr = self._bag.to_cdr(connection, data)
        except BagError:  # of ROS 1, and of a type that nobody knows in ROS 2
            self._leave_out(f"{connection.topic} not copied", f"{connection.msgtype} is not known")
            return
        tap(connection, recorded, cdr)

    def _leave_out(self, reason: str, detail: str) -> None:
        self.left_out[reason] += 1
        self._details.setdefault(reason, detail)
