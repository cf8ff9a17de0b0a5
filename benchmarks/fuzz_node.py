"""Damaged messages through the callbacks of live nodes: each is answered or counted, none crashes.

python benchmarks/fuzz_node.py                      # some minutes, writes results/fuzz_node.json
python benchmarks/fuzz_node.py --messages 5000 --seed 7 --out /tmp/try.json
"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rclpy
from PIL import Image as Picture
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from tqdm import tqdm

from benchmarks.results_file import write_result
from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes.recognizer import Recognizer
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import positive

ROOT = Path(__file__).resolve().parents[1]
NAME = "fuzz_node"
MODEL = ROOT / "models" / "studio.safetensors"
HEIGHT, WIDTH = 12, 16
START, PERIOD = 1000 * SECOND, round(SECOND / 7.5)
HANG = 5.0
"""Seconds in a callback that are taken for a hang."""

_WORDS = (
    "", "x", "\0", "é" * 300, "rgb8", "bgr8", "mono16", "16UC1", "32FC1", "64FC4", "bayer_rggb8",
    "yuv422", "uyvy", "jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png",
    "16UC1; compressedDepth rvl", "32FC1; compressedDepth png", "32FC1; compressedDepth rvl", ";",
    "plumb_bob", "rational_polynomial", "equidistant", "none",
)  # fmt: skip
_WHOLE = (0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 15, 16, 17, 32, 48, 255, 256, 1 << 15, 1 << 16,
          (1 << 31) - 1, 1 << 31, (1 << 32) - 1)  # fmt: skip
_REAL = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e-20, 0.5, 1e6, 1e20, 1e300, float("nan"), float("inf"),
         float("-inf"))  # fmt: skip
_BITS = {"uint8": 8, "uint16": 16, "uint32": 32, "int32": 31}


class Fuzzed(Recognizer):
    """A recognizer that counts what its input makes of every message, and always infers."""

    def __init__(self, **parameters: Any) -> None:
        given = {"model": str(MODEL), "stride": 1, "torch_threads": 1, **parameters}
        super().__init__(
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]
        )
        self.frames = 0
        if not self.start():
            raise SystemExit("the recognizer did not start, see above")

    def _take(self, frame: Any, arrived: float) -> None:
        self.frames += 1
        super()._take(frame, arrived)

    def _wanted(self, pipeline: Any) -> bool:
        return True

    def settled(self) -> int:
        """Messages that became a frame or an image, or that were rejected or told apart."""
        assert self._input is not None
        values = self._health.values()
        done = int(values["messages rejected"])
        if self._input.synchronizer is None:
            return done + self.frames
        one = self._input.synchronizer
        counts = one.counts
        waiting = len(one._clouds.stamps)
        dropped = counts.late_clouds + counts.duplicate_clouds
        return done + counts.paired + counts.unpaired + waiting + dropped


def cloud(chance: random.Random) -> PointCloud2:
    """A good one, of ordinary or of wild points."""
    points = np.random.default_rng(chance.getrandbits(32)).random((HEIGHT, WIDTH, 4), np.float32)
    if chance.random() < 0.2:
        points *= np.float32(10.0 ** chance.randint(-30, 38))
    message = PointCloud2(height=HEIGHT, width=WIDTH, point_step=16, row_step=16 * WIDTH)
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "rgb"))
    ]
    message.data = points.tobytes()
    return message


def depth(chance: random.Random) -> Image:
    """A good depth image."""
    wide = chance.random() < 0.5
    values = np.random.default_rng(chance.getrandbits(32)).random((HEIGHT, WIDTH)) * 5
    data = values.astype("<f4") if wide else (values * 1000).astype("<u2")
    return Image(
        height=HEIGHT, width=WIDTH, encoding="32FC1" if wide else "16UC1",
        step=data.itemsize * WIDTH, data=data.tobytes(),
    )  # fmt: skip


def compressed_depth(chance: random.Random) -> CompressedImage:
    """A good one of compressedDepth."""
    plain = np.frombuffer(depth(random.Random(1)).data, np.uint8)[: 2 * HEIGHT * WIDTH]
    file, wide = io.BytesIO(), chance.random() < 0.5
    Picture.fromarray(plain.view("<u2").reshape(HEIGHT, WIDTH)).save(file, "PNG")
    data = struct.pack("<iff", 0, 10100.0, -1009.0) + file.getvalue()
    encoding = "32FC1" if wide else "16UC1"
    return CompressedImage(format=f"{encoding}; compressedDepth png", data=data)


def colour(chance: random.Random) -> Image:
    """A good colour image."""
    data = bytes(chance.getrandbits(8) for _ in range(3 * 24))
    return Image(height=4, width=6, encoding="rgb8", step=18, data=data)


def compressed_colour(chance: random.Random) -> CompressedImage:
    """A good JPEG or PNG."""
    file, kind = io.BytesIO(), chance.choice(("JPEG", "PNG"))
    pixels = np.frombuffer(colour(chance).data, np.uint8).reshape(4, 6, 3)
    Picture.fromarray(pixels).save(file, kind)
    return CompressedImage(format=f"rgb8; {kind.lower()} compressed bgr8", data=file.getvalue())


def info(chance: random.Random) -> CameraInfo:
    """A good calibration."""
    return CameraInfo(
        height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0],
        k=[14.0, 0.0, 7.3, 0.0, 15.0, 6.1, 0.0, 0.0, 1.0],
        p=[14.0, 0.0, 7.3, 0.0, 0.0, 15.0, 6.1, 0.0, 0.0, 0.0, 1.0, 0.0],
    )  # fmt: skip


def mutate(message: Any, chance: random.Random) -> None:
    """Change some of a message's fields, of any depth, to what its type just about allows."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        places = [one for one in _places(message) if one[1] != "header"]
        if chance.random() < 0.9:  # else time jumps all along, and no window is ever full
            places = [one for one in places if one[0] not in (message.header, message.header.stamp)]
        owner, name, kind = chance.choice(places)
        setattr(owner, name, _changed(getattr(owner, name), kind, chance))


def _places(message: Any) -> Iterator[tuple[Any, str, str]]:
    for name, kind in message.get_fields_and_field_types().items():
        value = getattr(message, name)
        yield message, name, kind
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "get_fields_and_field_types"):
                yield from _places(one)


def _changed(value: Any, kind: str, chance: random.Random) -> Any:
    if kind == "string":
        return chance.choice(_WORDS)
    if kind == "boolean":
        return not value
    if kind in _BITS:
        return chance.choice(_WHOLE) % (1 << _BITS[kind])
    if kind == "double[9]" or kind == "double[12]":
        numbers = [float(one) for one in value]
        numbers[chance.randrange(len(numbers))] = chance.choice(_REAL)
        return numbers
    if kind == "sequence<double>":
        return [chance.choice(_REAL) for _ in range(chance.choice((0, 1, 4, 5, 8, 14)))]
    if kind == "sequence<uint8>":
        return _damaged(bytes(value), chance)
    if kind == "sequence<sensor_msgs/PointField>":
        return chance.choices(value, k=chance.randint(0, 6)) if value else []
    return value  # a message of its own, whose fields are places, too


def _damaged(data: bytes, chance: random.Random) -> bytes:
    bytes_ = bytearray(data)
    way = chance.randrange(5)
    if way == 0:
        del bytes_[chance.randint(0, len(bytes_)) :]
    elif way == 1:
        bytes_ += bytes(chance.randint(1, 100))
    elif way == 2:
        begin = chance.randint(0, len(bytes_))
        del bytes_[begin : begin + chance.randint(1, 40)]
    else:
        for _ in range(chance.choice((1, 2, 10, 50)) if bytes_ else 0):
            bytes_[chance.randrange(len(bytes_))] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(bytes_)


class Stream:
    """One subscription of a node, and the messages that it is given."""

    def __init__(
        self, node: Fuzzed, callback: Callable[[Any], None], make: Callable[[random.Random], Any]
    ) -> None:
        self.node, self.callback, self.make = node, callback, make
        self.kind = make.__name__
        self.corpus = [make(random.Random(seed)) for seed in range(50)]
        self.stamp = START
        self.damaged = 0.9

    def next(self, chance: random.Random) -> Any:
        """A good message, in its time, and often damaged: in stretches most, in others a few."""
        if chance.random() < 0.01:
            self.damaged = chance.choice((0.2, 0.5, 0.95))
        message = deepcopy(chance.choice(self.corpus))
        self.stamp += PERIOD * chance.choice((0, 1, 1, 1, 1, 1, 1, 2))
        if chance.random() < 0.005:
            self.stamp = START + chance.randint(0, 1000 * SECOND)
        message.header.stamp = to_stamp(self.stamp)
        message.header.frame_id = "camera"
        if chance.random() < self.damaged:
            mutate(message, chance)
        return message


def streams() -> list[Stream]:
    """Of three live nodes: clouds and colours, depth, and both compressed."""
    plain = Fuzzed(use_image=True)
    deep = Fuzzed(use_depth=True)
    small = Fuzzed(
        use_depth=True, depth_image_transport="compressedDepth", use_image=True,
        image_transport="compressed",
    )  # fmt: skip
    found = []
    makers = {
        plain: (cloud, None, colour), deep: (depth, info, None),
        small: (compressed_depth, info, compressed_colour),
    }  # fmt: skip
    for node, (points, camera, image) in makers.items():
        source = node._input
        assert source is not None
        found.append(Stream(node, source.points.callback, points))
        if camera is not None:
            assert source._camera is not None
            source._on_camera_info(info(random.Random(0)))
            found.append(Stream(node, source._camera.callback, camera))
        if image is not None:
            assert source.image is not None
            found.append(Stream(node, source.image.callback, image))
    return found


def fuzz(messages: int, seed: int) -> dict[str, Any]:
    """Put so many messages in, and say what became of them. Raises RuntimeError on a lost one."""
    chance, given, slowest = random.Random(seed), streams(), 0.0
    sent: Counter[str] = Counter()
    first_points = {id(one.node): one.kind for one in reversed(given)}
    for _ in tqdm(range(messages), disable=None):
        stream = chance.choice(given)
        message, node = stream.next(chance), stream.node
        settled, rejected = node.settled(), _rejected(node)
        started = time.monotonic()
        stream.callback(message)
        slowest = max(slowest, time.monotonic() - started)
        sent[stream.kind] += 1
        if stream.kind == first_points[id(node)] and node.settled() != settled + 1:
            raise RuntimeError(f"neither taken nor counted: {message!r:.2000}")
        if stream.kind == "info" and chance.random() < 0.5:
            node._input._on_camera_info(info(chance))  # type: ignore[union-attr]
        if slowest > HANG:
            raise RuntimeError(f"{slowest:.1f} s in a callback: {message!r:.2000}")
        if stream.kind != "info" and _rejected(node) > rejected:
            sent[f"{stream.kind} rejected"] += 1
    nodes = {id(one.node): one.node for one in given}.values()
    for node in nodes:
        if not node.close(60.0):
            raise RuntimeError("a worker hangs")
    values = [node._health.values() for node in nodes]
    exceptions: Counter[str] = Counter()
    reasons = set()
    for one in values:
        for name, value in one.items():
            if name.startswith("exception: "):
                exceptions[name.removeprefix("exception: ")] += int(value)
            if name.startswith("rejected: "):
                reasons.add(name)
    for node in nodes:
        node.destroy_node()
    return {
        "messages": messages,
        **{f"{name.replace(' ', '_')}": count for name, count in sorted(sent.items())},
        "reasons_to_reject": len(reasons),
        "windows_answered": sum(int(one["windows answered"]) for one in values),
        "windows_lost_to_scores_not_finite": exceptions.pop("ValueError", 0),
        "other_exceptions": exceptions.total(),
        "slowest_callback_ms": round(slowest * 1e3, 1),
    }


def _rejected(node: Fuzzed) -> int:
    return int(node._health.values()["messages rejected"])


def main() -> int:
    """Fuzz, and write the result; exit code 1 where an exception was left to the guard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=positive, default=100_000, help="(default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / f"{NAME}.json")
    given = parser.parse_args()
    rclpy.init(args=[])
    figures = fuzz(int(given.messages), given.seed)
    rclpy.try_shutdown()
    print(json.dumps(figures))
    if figures["other_exceptions"]:
        return 1
    write_result(
        given.out,
        NAME,
        f"python benchmarks/{NAME}.py --messages {int(given.messages)} --seed {given.seed}",
        "good messages of clouds, depth, colours, calibrations and their compressed forms, in "
        "stretches a fifth, a half or nearly all of them with fields of any depth changed, or "
        "bytes damaged, cut off or added",
        "put into the callbacks of three live recognizers (clouds and colours; depth; compressed "
        "depth and colours) with studio.safetensors, which infer all the while; every message of "
        "a cloud or depth must make a frame or be counted; other_exceptions: defects",
        (given.seed,),
        figures,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
