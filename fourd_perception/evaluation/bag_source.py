"""Which topics of a bag are evaluated: found by type, asked for where there are several."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fourd_perception.errors import InputError
from fourd_perception.messages import compressed_depth
from fourd_perception.recordings.bag_reader import Bag, BagError

POINTS = "sensor_msgs/msg/PointCloud2"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"

DEPTHS = ("16UC1", "32FC1")
"""Encodings of depth images."""

_PACKED = f"/{compressed_depth.TRANSPORT}"
"""What image_transport puts after the topic of depth images that it compresses."""


def is_static(topic: str) -> bool:
    """Whether transforms on a topic hold for ever: /tf_static, in whichever namespace."""
    return topic.endswith("tf_static")


@dataclass(frozen=True)
class BagSource:
    """The topics of a bag: its clouds, or depth images and the camera_info that belongs to them.

    image: colour, or else depth, which serves for pictures alone. None: to be found, or, once
    `find_source` has been asked, not there. colour: whether `image` is, as `find_source` has seen.
    """

    points: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    image: str | None = None
    colour: bool = False

    @property
    def depth_transport(self) -> str:
        """How the depth images come: as they are, `raw`, or compressed, `compressedDepth`."""
        return compressed_depth.TRANSPORT if is_packed_depth(self.depth or "") else "raw"

    @property
    def depth_name(self) -> str:
        """What the nodes call the depth images' topic: without the name of a transport."""
        return (self.depth or "").removesuffix(_PACKED)

    @property
    def frames(self) -> str:
        """The topic that makes the frames."""
        return self.points or self.depth or ""

    def text(self) -> str:
        """In words, for a reader."""
        frames = self.points or f"{self.depth} with {self.camera_info}"
        return f"{frames}; images from {self.image}" if self.image else frames


def is_packed_depth(topic: str) -> bool:
    """Whether a topic of CompressedImage is one of depth images."""
    return topic.endswith(_PACKED)


def find_source(bag: Bag, asked: BagSource | None = None) -> BagSource:
    """The topics to evaluate; what is asked for is taken, the rest is found by type.

    Clouds go before depth images, and images as they are before compressed ones. Of several colour
    topics none is taken.
    Raises InputError where a topic is not there or is of another type, where the bag has neither
    clouds nor depth images, and where it has several: the line lists them, and the option.
    """
    asked = asked or BagSource()
    by_type: dict[str, list[str]] = {}
    for topic, kind in sorted(bag.topics.items()):
        by_type.setdefault(kind, []).append(topic)
    first = _first_messages(bag, by_type.get(IMAGE, []))
    depths = [topic for topic, message in first.items() if _is_depth(topic, message.encoding)]
    packed = by_type.get(COMPRESSED, [])
    colours = [topic for topic in first if topic not in depths]
    colours += [topic for topic in packed if not is_packed_depth(topic)]
    depths = depths or [topic for topic in packed if is_packed_depth(topic)]
    _check(bag, asked, by_type)

    points, depth, info = asked.points, asked.depth, asked.camera_info
    if not (points or depth):
        points = _only(bag, "clouds", "--points", by_type.get(POINTS, []))
        depth = None if points else _only(bag, "depth images", "--depth", depths)
        if not (points or depth):
            held = ", ".join(f"{topic} ({kind})" for topic, kind in sorted(bag.topics.items()))
            raise InputError(
                f"{bag.path}: neither a PointCloud2 nor a depth Image (16UC1 or 32FC1, or a "
                f"CompressedImage on <topic>{_PACKED}); "
                f"it has {held or 'no messages'}"
            )
    if points and depth:
        raise InputError(f"{bag.path}: both --points and --depth are given; give one of them")
    if depth:
        info = info or _camera_info(bag, depth, by_type.get(INFO, []))
    pictures = next((one for one in (colours, depths) if len(one) == 1), [None])
    image = asked.image or pictures[0]
    return BagSource(points, depth, info if depth else None, image, image in colours)


def _check(bag: Bag, asked: BagSource, by_type: dict[str, list[str]]) -> None:
    for option, topic, kinds in (
        ("--points", asked.points, (POINTS,)),
        ("--depth", asked.depth, (IMAGE, COMPRESSED)),
        ("--camera-info", asked.camera_info, (INFO,)),
        ("--image", asked.image, (IMAGE, COMPRESSED)),
    ):
        known = [one for kind in kinds for one in by_type.get(kind, [])]
        if option == "--depth":
            known = [one for one in known if bag.topics[one] == IMAGE or is_packed_depth(one)]
        if topic and topic not in known:
            got = bag.topics.get(topic)
            raise InputError(
                f"{bag.path}: {option} {topic}: "
                + (f"it is a {got}" if got else "there is no such topic with messages")
                + f"; of {kinds[0].split('/')[-1]} there is {', '.join(known) or 'none'}"
            )


def _only(bag: Bag, what: str, option: str, candidates: list[str]) -> str | None:
    if len(candidates) > 1:
        raise InputError(
            f"{bag.path}: {what} on several topics: {', '.join(candidates)}; choose with {option}"
        )
    return candidates[0] if candidates else None


def _is_depth(topic: str, encoding: str) -> bool:
    """By encoding; RealSense's SDK, which is no ROS node, records mono16 on .../Depth_0/..."""
    return encoding in DEPTHS or (encoding == "mono16" and "/Depth_" in topic)


def _camera_info(bag: Bag, depth: str, candidates: list[str]) -> str:
    """The one beside the image, as image_transport or the RealSense SDK has it, or the only one."""
    depth = depth.removesuffix(_PACKED)
    beside = depth.rpartition("/")[0] + "/camera_info"
    for one in (beside, depth.removesuffix("/image/data") + "/info/camera_info"):
        if one in candidates:
            return one
    found = _only(bag, "CameraInfo", "--camera-info", candidates)
    if found is None:
        raise InputError(
            f"{bag.path}: no CameraInfo for the depth images of {depth}; record {beside} with them"
        )
    return found


def _first_messages(bag: Bag, topics: Collection[str]) -> dict[str, Any]:
    """Of each topic; those that cannot be read are left out."""
    return {topic: message for topic in topics
            if (message := first_message(bag, topic)) is not None}  # fmt: skip


def first_message(bag: Bag, topic: str) -> Any:
    """The first message of a topic that can be read; None where there is none."""
    for connection in bag.of_topics([topic]):
        try:
            for _, _, data in bag.messages([connection]):
                return bag.deserialize(connection, data)
        except BagError:
            continue
        except Exception:  # noqa: BLE001 - rosbags lets through what damage runs into
            continue
    return None
