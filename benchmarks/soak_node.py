"""What a soak is made of: a node whose every answer is kept, and a bag that is put into it."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections import Counter
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointCloud2, PointField

from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes.recognizer import Recognizer
from fourd_perception.stream.frame import SECOND

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "studio.safetensors"
RATE = 30
"""Of the camera; the model wants a quarter of it."""
PASS_SECONDS = 60
FRAMES = RATE * PASS_SECONDS
POINTS = 2000
START = 1000 * SECOND
PATIENCE = 120.0


class Soaked(Recognizer):
    """A recognizer that keeps its answers, infers always, and may be told to run out of memory."""

    def __init__(self) -> None:
        given = {
            "model": str(MODEL), "stride": 1, "torch_threads": 1, "use_image": True,
            # So that there are publishers whose QoS does not fit.
            "qos_overrides./points.subscription.reliability": "reliable",
        }  # fmt: skip
        self.answers: list[tuple[int, bytes]] = []
        """Stamp, and the scores' bits."""
        self.fail_next = 0
        self._offered = self._done = 0
        self._idle = threading.Condition()
        super().__init__(
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()]
        )

    def _take(self, frame: Any, arrived: float) -> None:
        super()._take(frame, arrived)
        self.settle()  # an image may bring out several clouds at once: none of their windows waits

    def _wanted(self, pipeline: Any) -> bool:
        self._offered += 1  # asked once for every complete window
        return True

    def _infer(self, pipeline: Any, clip: Any) -> Any:
        if self.fail_next:
            self.fail_next -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (injected)")
        return super()._infer(pipeline, clip)

    def _publish(self, pipeline: Any, result: Any) -> bool:
        self.answers.append((result.stamp, result.scores.tobytes()))
        return super()._publish(pipeline, result)

    def _work(self, lane: Any, item: Any) -> None:
        super()._work(lane, item)
        with self._idle:
            self._done += 1
            self._idle.notify()

    def settle(self) -> None:
        """Wait for the windows that are complete. Raises RuntimeError if that is for ever."""
        with self._idle:
            if not self._idle.wait_for(lambda: self._done >= self._offered, PATIENCE):
                faulthandler.dump_traceback(all_threads=True)
                raise RuntimeError(
                    f"no answer to a window for {PATIENCE:g} s: {self._done} of {self._offered}"
                )

    def counters(self) -> Counter[str]:
        """All that the node counts, by the words of its diagnostics."""
        assert self._input is not None
        counted = Counter(
            {name: int(value) for name, value in self._health.values().items() if value.isdigit()}
        )
        window = self._lanes[0].pipeline.window
        counted |= Counter({"window resets": window.resets, "frames ignored": window.ignored})
        if self._input.synchronizer is not None:
            counts = asdict(self._input.synchronizer.counts)
            counted |= Counter({name.replace("_", " "): number for name, number in counts.items()})
        return counted


class Soak:
    """A live node, the bag of one pass, and the ways to put it in: as the executor would call."""

    def __init__(self) -> None:
        self.node = Soaked()
        self.probe = Node("soak")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.probe)
        if not self.node.start():
            raise SystemExit("the recognizer did not start, see above")
        stamps = [START + round(index * SECOND / RATE) for index in range(FRAMES)]
        self.clouds = [make_cloud(stamp) for stamp in stamps]
        self.images = [make_image(stamp) for stamp in stamps]
        self.put = 0
        """Clouds of the bag put in so far."""

    def frame(self, index: int, cloud: PointCloud2 | None = None, image: bool = True) -> None:
        """A frame of the bag, its image first; cloud: another one in its place."""
        if image:
            self.image(self.images[index])
        self.cloud(self.clouds[index] if cloud is None else cloud)
        self.put += 1
        if self.put % RATE == 0:
            self.spin()

    def cloud(self, message: PointCloud2) -> None:
        """Through the subscription's callback."""
        assert self.node._input is not None
        self.node._input.points.callback(message)

    def image(self, message: Image) -> None:
        """Likewise."""
        assert self.node._input is not None and self.node._input.image is not None
        self.node._input.image.callback(message)

    def spin(self) -> None:
        """What else is due: diagnostics, discovery, events."""
        for _ in range(4):
            self.executor.spin_once(timeout_sec=0.0)

    def until(self, condition: Any) -> None:
        """Spin until it holds. Raises RuntimeError if that is for ever."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError("waited in vain")
            self.executor.spin_once(timeout_sec=0.05)

    def restart(self) -> None:
        """An empty window."""
        self.node.trigger_deactivate()
        self.node.trigger_activate()

    def close(self) -> None:
        """End."""
        self.executor.shutdown()
        self.node.close(PATIENCE)
        self.node.destroy_node()
        self.probe.destroy_node()


def make_cloud(stamp: int) -> PointCloud2:
    """Points that depend on the stamp."""
    points = np.random.default_rng(stamp).random((POINTS, 3), np.float32)
    message = PointCloud2(height=1, width=POINTS, point_step=12, row_step=12 * POINTS)
    message.header.stamp, message.header.frame_id = to_stamp(stamp), "camera"
    message.fields = [
        PointField(name=axis, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, axis in enumerate("xyz")
    ]
    message.data = points.tobytes()
    return message


def make_image(stamp: int) -> Image:
    """A small grey picture."""
    message = Image(height=24, width=32, encoding="mono8", step=32, data=bytes(24 * 32))
    message.header.stamp = to_stamp(stamp)
    return message


def moved(message: Any, nanoseconds: int) -> Any:
    """A copy that is so much younger."""
    other = deepcopy(message)
    stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
    other.header.stamp = to_stamp(stamp + nanoseconds)
    return other
