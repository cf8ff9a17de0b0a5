"""Large clouds through DDS: 640 x 480 points at 30 Hz from one process into the recognizer's.

python benchmarks/dds_640x480.py                # a minute, writes results/dds_640x480.json
python benchmarks/dds_640x480.py --seconds 10 --out /tmp/try.json
"""

from __future__ import annotations

import argparse
import array
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rclpy
import yaml
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from tqdm import tqdm
from vision_msgs.msg import Classification

from benchmarks.results_file import write_result
from fourd_perception import checkpoint, models
from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes import runner
from fourd_perception.nodes.recognizer import Recognizer
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import ClipConfig
from fourd_perception.tools.arguments import positive

ROOT = Path(__file__).resolve().parents[1]
NAME = "dds_640x480"
HEIGHT, WIDTH, POINT_STEP = 480, 640, 16
RATE = 30.0
WARM_UP = 5.0
MEBIBYTE = 1 << 20


class MeasuredRecognizer(Recognizer):
    """The recognizer, noting when it has each frame; writes that down when it is closed."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._had: list[tuple[int, int]] = []
        super().__init__()

    def _take(self, frame: Frame, arrived: float) -> None:
        self._had.append((frame.stamp, time.time_ns()))
        super()._take(frame, arrived)

    def close(self, timeout: float) -> bool:
        """As the recognizer, after writing the notes."""
        self._notes.write_text(json.dumps(self._had), encoding="utf-8")
        return super().close(timeout)


def make_model(path: Path) -> None:
    """A model of a real size with random weights: what it says is of no interest here."""
    document = yaml.safe_load((ROOT / "config/models/im_pstnet_small.yaml").read_text())
    classes = ("a", "b", "c")
    card = checkpoint.ModelCard(
        name="random", architecture="im_pstnet", task="action_recognition", classes=classes,
        model=document, clip=ClipConfig(frames=16, frame_step=2, rate=RATE),
        preprocess=PreprocessConfig(points=512), trained_on={}, accuracy={},
    )  # fmt: skip
    checkpoint.save(path, models.build("im_pstnet", document, len(classes)), card)


def make_cloud() -> PointCloud2:
    """x, y, z and rgb as depth_image_proc lays them out: 16 bytes a point, 4.9 MB."""
    points = np.random.default_rng(0).random((HEIGHT * WIDTH, 4), np.float32)
    message = PointCloud2(
        height=HEIGHT, width=WIDTH, point_step=POINT_STEP, row_step=WIDTH * POINT_STEP
    )
    message.header.frame_id = "camera_optical_frame"
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(("x", "y", "z", "rgb"))
    ]
    message.data = array.array("B", points.tobytes())
    return message


def resident(pid: int) -> float:
    """MiB that a process holds in memory, shared memory left out."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def send(node: Node, publisher: Any, seconds: float, label: str) -> list[int]:
    """Publish at RATE without drift, spinning in between; the stamps that were sent."""
    message, stamps = make_cloud(), []
    start = time.monotonic()
    for index in tqdm(range(round(seconds * RATE)), desc=label, disable=None, leave=False):
        while (left := start + index / RATE - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
        stamps.append(time.time_ns())
        message.header.stamp = to_stamp(stamps[-1])
        publisher.publish(message)
    return stamps


def measure(seconds: float, folder: Path) -> dict[str, Any]:
    """Start the recognizer, send, and compare what was sent with what it had."""
    model, notes = folder / "random.safetensors", folder / "had.json"
    make_model(model)
    child = subprocess.Popen(
        [
            sys.executable, __file__, "--receive", str(notes), "--ros-args",
            "-p", f"model:={model}", "-p", "autostart:=true",
        ]
    )  # fmt: skip
    node = Node("camera")
    answers: list[Classification] = []
    node.create_subscription(Classification, "/recognizer/action", answers.append, 10)
    publisher = node.create_publisher(
        PointCloud2, "points", QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    try:
        while publisher.get_subscription_count() == 0:
            if child.poll() is not None:
                raise SystemExit("the recognizer did not start, see above")
            rclpy.spin_once(node, timeout_sec=0.1)
        send(node, publisher, WARM_UP, "warm-up")
        answers.clear()
        before = resident(child.pid)
        sent = send(node, publisher, seconds, "measuring")
        time.sleep(1.0)
        growth = resident(child.pid) - before
    finally:
        child.terminate()
        child.wait()
    had = dict(json.loads(notes.read_text(encoding="utf-8")))
    latencies = [(had[stamp] - stamp) / (SECOND / 1e3) for stamp in sent if stamp in had]
    p50, p99 = np.percentile(latencies, (50, 99)) if latencies else (-1.0, -1.0)
    return {
        "seconds": seconds,
        "sent": len(sent),
        "received": len(latencies),
        "latency_p50_ms": round(float(p50), 1),
        "latency_p99_ms": round(float(p99), 1),
        "windows_answered": len(answers),
        "rss_mb": round(before, 1),
        "rss_growth_mb": round(growth, 1),
    }


def receive(notes: Path, ros_arguments: list[str]) -> None:
    """The child's part: the recognizer, measured."""
    runner.run(lambda: MeasuredRecognizer(notes), ros_arguments)


def main() -> int:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=positive, default=60.0, help="length (default: 60)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / f"{NAME}.json")
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ[variable] = str(ROOT / "config" / "fastdds.xml")
    if given.receive:
        receive(given.receive, rest)
    rclpy.init(args=[])
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(given.seconds, Path(folder))
    rclpy.try_shutdown()
    write_result(
        given.out,
        NAME,
        f"python benchmarks/{NAME}.py --seconds {given.seconds:g}",
        f"random clouds, {WIDTH} x {HEIGHT} points of {POINT_STEP} bytes, {RATE:g} Hz, best effort",
        f"one process publishes, the recognizer (random weights) receives and answers, both with "
        f"config/fastdds.xml; counted after {WARM_UP:g} s of warm-up; latency from the stamp, "
        "taken before publishing, to the checked frame in the node",
        (0,),
        figures,
    )
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
