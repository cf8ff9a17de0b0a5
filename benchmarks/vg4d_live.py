"""VG4D live: clouds and images at 30 Hz over DDS into the recognizer, X-CLIP beside the clouds.

python benchmarks/vg4d_live.py --model out/train/align_boxes/align_boxes.safetensors \\
    --video-text out/train/align_boxes/video_text --results results/vg4d_live.json

A person of the studio handles boxes in a bag that is played to the node; how many answers come, how
late, and how many of them have the images' scores in them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from vision_msgs.msg import Classification

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import InputError, command
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.listener import HeardClasses
from fourd_perception.nodes.replay import Played, Replay, Started, private_ros
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.bag_writer import BagContent, start_stamp, write_bag
from fourd_perception.studio import BOX_CLASSES, StudioConfig, perform
from fourd_perception.tools.arguments import counting

RATE = 30.0
IMAGE_RATE = 2.0
_STREAMS = ("points", "color")
_COUNTS = {"messages received": "frames_received", "windows skipped": "windows_skipped",
           "exceptions": "exceptions", "images: paired": "frames_with_image"}  # fmt: skip


class Watcher(Node):
    """Hears the images' score, the tables and the reports on health."""

    def __init__(self, context: Context) -> None:
        super().__init__("watcher", context=context, start_parameter_services=False)
        self.images: list[int] = []
        self.values: dict[str, str] = {}
        self.create_subscription(
            Classification, "/recognizer/scores/rgb_text", self._on_images, 500
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_report, 10)

    def _on_images(self, message: Any) -> None:
        self.images.append(from_stamp(message.header.stamp))

    def _on_report(self, message: Any) -> None:
        for one in message.status:
            if one.name == "recognizer: perception":
                self.values = {value.key: value.value for value in one.values}


@contextmanager
def watching(context: Context) -> Iterator[Watcher]:
    """A watcher that is spun in a thread of its own."""
    watcher, executor = Watcher(context), SingleThreadedExecutor(context=context)
    executor.add_node(watcher)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        executor.shutdown()
        thread.join(5.0)
        watcher.destroy_node()


def write_performance(folder: Path, actions: int) -> int:
    """A bag of so many actions with a box; the number of its frames."""
    seed = studio_seeds.DEMO
    order = np.random.default_rng(seed).permutation(BOX_CLASSES).tolist()
    config = StudioConfig(rate=RATE, room=False, facing=12.0)
    recording = perform(seed, order[:actions], config)
    content = BagContent(_STREAMS)
    return write_bag(folder, recording, start=start_stamp(seed), content=content).frames


def measure(model: Path, folder: Path, actions: int, stride: int) -> dict[str, float]:
    """Play a performance to the recognizer; the figures."""
    clip = checkpoint.read_card(model).clip
    with tempfile.TemporaryDirectory() as scratch:
        bag = Path(scratch) / "bag"
        frames = write_performance(bag, actions)
        given = {
            "model": str(model), "video_text_model": str(folder),
            "image_rate": IMAGE_RATE, "stride": stride, "torch_threads": 1,
        }  # fmt: skip
        node = Started("recognizer", given, ("/recognizer/label_info",))
        heard: list[HeardClasses] = []
        with (
            private_ros(shared_file("config/fastdds.xml")) as ros,
            watching(ros) as watcher,
            Replay(ros, [node], Path(scratch), Played(image=camera.COLOR)) as replay,
        ):
            replay.wait_until_ready()
            for one in replay.play(bag):
                if isinstance(one, HeardClasses):
                    heard.append(one)
            time.sleep(1.5)  # one more report on health
            images, values = set(watcher.images), dict(watcher.values)
    every = clip.frame_step * RATE / clip.rate * stride
    due = 1 + int((frames - 1 - (clip.frames - 1) * clip.frame_step * RATE / clip.rate) // every)
    late = np.array([one.latency_ms for one in heard if one.latency_ms is not None])
    if not late.size:
        raise InputError("no answer's cloud was heard: is another publisher on this domain?")
    fused = sum(one.stamp in images for one in heard)
    return {
        "frames": frames,
        **{name: int(values[key]) for key, name in _COUNTS.items()},
        "frames_lost": frames - int(values["messages received"]),
        "windows_due": due,
        "windows_answered": len(heard),
        "windows_with_image_scores_percent": round(100 * fused / max(len(heard), 1), 1),
        "latency_p50_ms": round(float(np.percentile(late, 50)), 1),
        "latency_p99_ms": round(float(np.percentile(late, 99)), 1),
    }


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint of align.py")
    parser.add_argument("--video-text", type=Path, required=True, help="its X-CLIP's folder")
    parser.add_argument("--actions", type=counting, default=15, help="of the bag (default: 15)")
    parser.add_argument("--stride", type=counting, default=1, help="default: 1")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    given = parser.parse_args()
    figures = measure(given.model, given.video_text, given.actions, given.stride)
    print(*(f"{name:36} {value:8}" for name, value in figures.items()), sep="\n")
    if given.results:
        write_result(
            given.results,
            name=Path(given.results).stem,
            command=shlex.join(["python", *sys.argv]),
            data=f"the studio's person with boxes, {given.actions} actions, clouds and images of "
            f"320 x 240 pixels at {RATE:g} Hz in a bag",
            protocol="the bag is played over DDS at its own pace to the recognizer, whose images' "
            f"branch may answer {IMAGE_RATE:g} times a second; windows {given.stride} of the "
            "model's frames apart; latency: from the sending of a window's newest cloud to the "
            "arrival of its answer, by the middleware's stamps; player, node and listener share "
            "the cores",
            seeds=[studio_seeds.DEMO],
            figures=figures,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
