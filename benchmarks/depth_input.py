"""Depth images against clouds: what receiving 640 x 480 at 30 Hz costs the recognizer.

python benchmarks/depth_input.py                # two minutes, writes results/depth_input.json
python benchmarks/depth_input.py --seconds 10 --out /tmp/try.json
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
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tqdm import tqdm

from benchmarks.dds_640x480 import HEIGHT, RATE, WIDTH, MeasuredRecognizer, make_cloud, make_model
from benchmarks.results_file import write_result
from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes import runner
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import positive

ROOT = Path(__file__).resolve().parents[1]
NAME = "depth_input"
WARM_UP = 3.0
ROUNDS = 3
FOCUS = 525.0
FIGURES = {"cpu_ms": "cpu_per_frame_ms", "p50_ms": "latency_p50_ms", "p99_ms": "latency_p99_ms"}


def make_depth() -> Image:
    """16UC1, 0.6 MB, a tenth of it without return."""
    random = np.random.default_rng(0)
    pixels = random.integers(500, 5000, (HEIGHT, WIDTH)).astype("<u2")
    pixels[random.random(pixels.shape) < 0.1] = 0
    message = Image(height=HEIGHT, width=WIDTH, encoding="16UC1", step=2 * WIDTH)
    message.header.frame_id = "camera_optical_frame"
    message.data = array.array("B", pixels.tobytes())
    return message


def make_info() -> CameraInfo:
    """A pinhole camera with some distortion."""
    k = [FOCUS, 0.0, WIDTH / 2, 0.0, FOCUS, HEIGHT / 2, 0.0, 0.0, 1.0]
    return CameraInfo(
        height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.05, -0.02, 0.0, 0.0, 0.0],
        k=k,
    )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken, its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Camera:
    """Sends one message again and again; with depth its calibration beside it, as drivers do."""

    def __init__(self, node: Node, depth: bool) -> None:
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._node = node
        self._message: Any = make_depth() if depth else make_cloud()
        self.publisher = node.create_publisher(
            Image if depth else PointCloud2, "depth" if depth else "points", qos
        )
        self._infos = node.create_publisher(CameraInfo, "camera_info", qos) if depth else None
        self._info = make_info()

    def send(self, seconds: float, label: str) -> list[int]:
        """Publish at RATE without drift, spinning in between; the stamps that were sent."""
        stamps, start = [], time.monotonic()
        for index in tqdm(range(round(seconds * RATE)), desc=label, disable=None, leave=False):
            while (left := start + index / RATE - time.monotonic()) > 0:
                rclpy.spin_once(self._node, timeout_sec=left)
            if self._infos is not None:
                self._info.header.stamp = to_stamp(time.time_ns())
                self._infos.publish(self._info)
            stamps.append(time.time_ns())
            self._message.header.stamp = to_stamp(stamps[-1])
            self.publisher.publish(self._message)
        return stamps


def measure(folder: Path, depth: bool, seconds: float) -> dict[str, float]:
    """Start a recognizer whose answers nobody wants, and send to it; what a frame costs it."""
    model, notes = folder / "random.safetensors", folder / "had.json"
    child = subprocess.Popen(
        [
            sys.executable, __file__, "--receive", str(notes), "--ros-args",
            "-p", f"model:={model}", "-p", "autostart:=true", "-p", f"use_depth:={depth}".lower(),
        ]
    )  # fmt: skip
    node = Node("camera")
    camera = Camera(node, depth)
    try:
        while camera.publisher.get_subscription_count() == 0:
            if child.poll() is not None:
                raise SystemExit("the recognizer did not start, see above")
            rclpy.spin_once(node, timeout_sec=0.1)
        camera.send(WARM_UP, "warm-up")
        before = cpu_seconds(child.pid)
        sent = camera.send(seconds, "depth" if depth else "clouds")
        time.sleep(0.5)
        cpu = cpu_seconds(child.pid) - before
    finally:
        child.terminate()
        child.wait()
        node.destroy_node()
    had = dict(json.loads(notes.read_text(encoding="utf-8")))
    latencies = [(had[stamp] - stamp) / (SECOND / 1e3) for stamp in sent if stamp in had]
    return {
        "sent": len(sent),
        "received": len(latencies),
        "cpu_ms": cpu * 1e3 / max(1, len(latencies)),
        "p50_ms": float(np.percentile(latencies, 50)) if latencies else -1.0,
        "p99_ms": float(np.percentile(latencies, 99)) if latencies else -1.0,
    }


def compare(seconds: float) -> dict[str, Any]:
    """Both, in turns; of each figure the median of the rounds."""
    measured: dict[str, list[dict[str, float]]] = {"clouds": [], "depth": []}
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder) / "random.safetensors")
        for _ in range(ROUNDS):
            for name, rounds in measured.items():
                rounds.append(measure(Path(folder), name == "depth", seconds / 2 / ROUNDS))
    figures: dict[str, Any] = {}
    for name, rounds in measured.items():
        figures[f"{name}_sent"] = sum(int(one["sent"]) for one in rounds)
        figures[f"{name}_received"] = sum(int(one["received"]) for one in rounds)
        for key, figure in FIGURES.items():
            figures[f"{name}_{figure}"] = round(float(np.median([one[key] for one in rounds])), 2)
    ratio = figures["clouds_cpu_per_frame_ms"] / figures["depth_cpu_per_frame_ms"]
    return {**figures, "cpu_ratio": round(ratio, 2)}


def main() -> int:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=positive, default=90.0, help="in all (default: 90)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / f"{NAME}.json")
    parser.add_argument("--receive", type=Path, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    for variable in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ[variable] = str(ROOT / "config" / "fastdds.xml")
    if given.receive:
        runner.run(lambda: MeasuredRecognizer(given.receive), rest)
    rclpy.init(args=[])
    figures = compare(given.seconds)
    rclpy.try_shutdown()
    write_result(
        given.out,
        NAME,
        f"python benchmarks/{NAME}.py --seconds {given.seconds:g}",
        f"{WIDTH} x {HEIGHT} at {RATE:g} Hz, best effort: random clouds of 16 bytes a point, and "
        "random 16UC1 depth images with their camera_info, a tenth without return",
        f"one process publishes, the recognizer receives, samples and windows, and answers nobody; "
        f"in turns, {ROUNDS} times each, with config/fastdds.xml; CPU of the recognizer's process, "
        f"all threads, after {WARM_UP:g} s of warm-up; latency from the stamp, taken before "
        "publishing, to the checked frame in the node; medians of the rounds",
        (0,),
        figures,
    )
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
