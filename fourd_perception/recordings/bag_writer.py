"""A recording as a rosbag2 (mcap) that looks like the bag of a depth camera, and its truth."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from tqdm import tqdm

from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import BagError
from fourd_perception.recordings.recording import Interval, RecordedFrame, Recording
from fourd_perception.recordings.truth import (
    FILE_NAME,
    OTHERS_NAME,
    POINT_CLASSES_NAME,
    write_point_classes,
    write_truth,
)
from fourd_perception.stream.frame import SECOND

STREAMS = ("points", "depth", "color")
"""What a bag may hold: the cloud; the depth image and its camera_info; the colour image and its."""

_BAG_VERSION: Literal[8] = (
    8  # the newest whose metadata.yaml older distributions than Jazzy read as well
)
_EPOCH = 1_764_000_000 * SECOND
_SEEDS, _BETWEEN_SEEDS = 100_000, 100 * SECOND


@dataclass(frozen=True)
class BagContent:
    """What goes into a bag.

    streams: some of STREAMS. whole_room: the cloud of every pixel, else of the foreground.
    image_step: images with every n-th cloud only, which keeps a bag small. labels: the clouds have
    a field `label`, the truth of their points, and the folder the names that it numbers.
    """

    streams: tuple[str, ...] = STREAMS
    whole_room: bool = False
    image_step: int = 1
    labels: bool = False

    def __post_init__(self) -> None:
        unknown = [one for one in self.streams if one not in STREAMS]
        if unknown or not self.streams:
            got = ", ".join(unknown) or "none"
            raise BagError(f"topics: expected some of {', '.join(STREAMS)}; got {got}")
        if self.image_step < 1:
            raise BagError(f"image step: expected at least 1, got {self.image_step}")


@dataclass(frozen=True)
class BagSummary:
    """What was written."""

    path: Path
    frames: int
    seconds: float
    actions: int
    megabytes: float


def start_stamp(seed: int) -> int:
    """A plausible time of day for a bag to begin, fixed by the seed; nanoseconds."""
    return _EPOCH + seed % _SEEDS * _BETWEEN_SEEDS


def write_bag(
    path: str | Path,
    recording: Recording,
    *,
    start: int,
    content: BagContent | None = None,
    force: bool = False,
) -> BagSummary:
    """Write a recording and its truth as the folder `path`, whole or not at all.

    start: nanoseconds, added to the recording's stamps. The same arguments give the same messages.
    Raises BagError if `path` is there already (with `force`: if it is there and is not a bag), and
    where the recording has nothing of `content`.
    """
    path, content = Path(path), content or BagContent()
    if content.labels and not recording.point_classes:
        raise BagError(f"{path}: {recording.name} has no labels for points; leave them out")
    _check_target(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
        unfinished = Path(scratch) / path.name
        frames = _write_messages(unfinished, recording, start, content)
        write_truth(unfinished / FILE_NAME, _later(recording.truth, start))
        for number, other in enumerate(recording.others, 1):
            write_truth(unfinished / OTHERS_NAME.format(number), _later(other.truth, start))
        if content.labels:
            write_point_classes(unfinished / POINT_CLASSES_NAME, recording.point_classes)
        size = sum(file.stat().st_size for file in unfinished.iterdir())
        if path.exists():
            shutil.rmtree(path)
        unfinished.rename(path)
    return BagSummary(path, frames, frames / recording.rate, len(recording.truth), size / 1e6)


def _later(truth: Sequence[Interval], start: int) -> list[Interval]:
    return [replace(one, start=one.start + start, end=one.end + start) for one in truth]


def _check_target(path: Path, force: bool) -> None:
    if not path.exists():
        return
    if not force:
        raise BagError(f"{path}: is there already; choose another name, or overwrite with --force")
    if not (path / "metadata.yaml").is_file():
        raise BagError(f"{path}: is there and is not a bag; remove it yourself, or choose another")


def _write_messages(path: Path, recording: Recording, start: int, content: BagContent) -> int:
    frames = 0
    with Writer(path, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP) as bag:
        connections: dict[str, Any] = {}

        def write(topic: str, stamp: int, message: Any) -> None:
            if topic not in connections:
                connections[topic] = bag.add_connection(
                    topic,
                    camera.MESSAGE_TYPES[topic],
                    typestore=camera.TYPES,
                    offered_qos_profiles=[_qos(latched=topic == camera.TF_STATIC)],
                )
            data = camera.TYPES.serialize_cdr(message, camera.MESSAGE_TYPES[topic])
            bag.write(connections[topic], stamp, data)

        write(camera.TF_STATIC, start, camera.static_transforms(start, recording.viewpoint))
        bar = tqdm(
            recording.frames(),
            total=recording.frame_count,
            desc=f"writing {path.name}",
            unit="frame",
            disable=None,  # no bar where nobody watches
        )
        for frame in bar:
            stamp = start + frame.stamp
            images = frames % content.image_step == 0
            for topic, message in _messages(frame, recording, stamp, content, images=images):
                write(topic, stamp, message)
            if len(connections) == 1:
                raise BagError(
                    f"{path.name}: would be empty: {recording.name} has no colour; "
                    "ask for points or depth"
                )
            frames += 1
    return frames


def _messages(
    frame: RecordedFrame, recording: Recording, stamp: int, content: BagContent, *, images: bool
) -> Iterator[tuple[str, Any]]:
    pinhole = recording.intrinsics
    if images and "depth" in content.streams:
        yield camera.DEPTH_INFO, camera.camera_info(pinhole, stamp)
        yield camera.DEPTH, camera.depth_image(frame.depth, stamp)
    if images and "color" in content.streams and frame.colour is not None:
        yield camera.COLOR_INFO, camera.camera_info(pinhole, stamp)
        yield camera.COLOR, camera.color_image(frame.colour, stamp)
    if "points" in content.streams:
        cloud = camera.points(
            frame, pinhole, stamp, whole_room=content.whole_room, with_labels=content.labels
        )
        yield camera.POINTS, cloud


def _qos(*, latched: bool) -> Qos:
    """As drivers offer it: sensor data best effort, static transforms kept for latecomers."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 5,
        reliability=QosReliability.RELIABLE if latched else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=QosTime(0, 0),
        lifespan=QosTime(0, 0),
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=QosTime(0, 0),
        avoid_ros_namespace_conventions=False,
    )
