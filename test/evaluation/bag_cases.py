"""Small bags of clouds, as a camera, a careless driver or another project would record them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from fourd_perception.messages.clouds import to_fields
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.recording import Intrinsics
from fourd_perception.stream.frame import SECOND

PERIOD = SECOND // 30
START = 1_764_000_000 * SECOND
PINHOLE = Intrinsics(width=8, height=6, fx=10.0, fy=12.0, cx=4.0, cy=3.0)
INFO = camera.MESSAGE_TYPES[camera.DEPTH_INFO]
IMAGE = camera.MESSAGE_TYPES[camera.DEPTH]
PACKED = "sensor_msgs/msg/CompressedImage"
CLOUD = camera.MESSAGE_TYPES[camera.POINTS]


@dataclass(frozen=True)
class Recorded:
    """One message of a bag. time: nanoseconds."""

    topic: str
    kind: str
    time: int
    message: Any


def points(number: int, count: int = 60) -> np.ndarray:
    random = np.random.default_rng(number)
    return random.normal((0, 0, 2), 0.4, (count, 3)).astype(np.float32)


def cloud(
    number: int, stamp: int | None = None, topic: str = camera.POINTS, labels: Any = None
) -> Recorded:
    """The cloud of that number, a period after the one before; `stamp` may differ from its time."""
    time = START + number * PERIOD
    extra = None if labels is None else {"label": np.asarray(labels, np.uint32)}
    layout = to_fields(points(number), extra=extra)
    head = camera.header(time if stamp is None else stamp)
    return Recorded(topic, CLOUD, time, camera.cloud_message(layout, head))


def depth(number: int, topic: str = camera.DEPTH) -> list[Recorded]:
    """A depth image of 8 x 6 and its camera_info beside it."""
    time = START + number * PERIOD
    image = np.random.default_rng(number).uniform(1, 3, (6, 8)).astype(np.float32)
    beside = topic.rpartition("/")[0] + "/camera_info"
    return [
        Recorded(topic, IMAGE, time, camera.depth_image(image, time)),
        Recorded(beside, INFO, time, camera.camera_info(PINHOLE, time)),
    ]


def packed_depth(number: int, topic: str = camera.DEPTH) -> list[Recorded]:
    """The same as `depth`, as image_transport's compressedDepth has it."""
    raw, info = depth(number, topic)
    pixels, file = np.frombuffer(raw.message.data, "<u2").reshape(6, 8), io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    message = camera.make(
        PACKED,
        header=raw.message.header,
        format="16UC1; compressedDepth png",
        data=np.frombuffer(struct.pack("<iff", 0, 0.0, 0.0) + file.getvalue(), np.uint8),
    )
    return [Recorded(f"{topic}/compressedDepth", PACKED, raw.time, message), info]


def picture(number: int, stamp: int | None = None, topic: str = camera.COLOR) -> Recorded:
    """A colour image of 6 x 4, of the moment of the cloud of that number."""
    time = START + number * PERIOD
    pixels = np.random.default_rng(number).integers(0, 255, (4, 6, 3), np.uint8)
    return Recorded(
        topic, IMAGE, time, camera.color_image(pixels, time if stamp is None else stamp)
    )


def packed_picture(number: int) -> Recorded:
    """The same as `picture`, as image_transport's compressed has it."""
    raw, file = picture(number), io.BytesIO()
    Image.fromarray(np.frombuffer(raw.message.data, np.uint8).reshape(4, 6, 3)).save(file, "PNG")
    data = np.frombuffer(file.getvalue(), np.uint8)
    message = camera.make(PACKED, header=raw.message.header, format="rgb8; png", data=data)
    return Recorded(f"{camera.COLOR}/compressed", PACKED, raw.time, message)


def write(path: Path, messages: Sequence[Recorded]) -> Path:
    """The bag, its messages in the order of their times."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as bag:
        connections: dict[str, Any] = {}
        for one in messages:
            if one.topic not in connections:
                connections[one.topic] = bag.add_connection(
                    one.topic, one.kind, typestore=camera.TYPES
                )
            data = camera.TYPES.serialize_cdr(one.message, one.kind)
            bag.write(connections[one.topic], one.time, data)
    return path


def clouds(path: Path, count: int = 60) -> Path:
    return write(path, [cloud(number) for number in range(count)])


def ride(topic: str, number: int, x: float) -> Recorded:
    """Where the optical frame is in the camera's body at a cloud: turned by nothing, at `x`."""
    time = START + number * PERIOD
    message = camera.static_transforms(time)
    moved = message.transforms[0].transform
    moved.translation.x = x
    moved.rotation.x = moved.rotation.y = moved.rotation.z = 0.0
    moved.rotation.w = 1.0
    return Recorded(topic, camera.MESSAGE_TYPES[camera.TF_STATIC], time, message)
