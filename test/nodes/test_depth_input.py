"""Depth images and their camera_info in place of clouds."""

from __future__ import annotations

import numpy as np
from node_bench import PERIOD, START
from sensor_msgs.msg import CameraInfo, Image

from fourd_perception import checkpoint
from fourd_perception.messages.depth_images import DepthReader
from fourd_perception.messages.results import to_stamp
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.stream.frame import Frame


def depth_image(stamp: int) -> Image:
    """16UC1 of 8 x 6 whose millimetres depend on its stamp."""
    pixels = np.random.default_rng(stamp).integers(0, 4000, (6, 8)).astype("<u2")
    message = Image(height=6, width=8, encoding="16UC1", step=16, data=pixels.tobytes())
    message.header.stamp, message.header.frame_id = to_stamp(stamp), "camera"
    return message


def camera_info() -> CameraInfo:
    return CameraInfo(
        height=6, width=8, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0],
        k=[10.0, 0.0, 4.0, 0.0, 12.0, 3.0, 0.0, 0.0, 1.0],
    )  # fmt: skip


def ready(bench) -> None:
    """Active, with its depth and its camera_info, and known to the probe."""
    bench.probe.destroy_publisher(bench.points)
    bench.points = bench.probe.create_publisher(Image, "depth", 10)
    bench.infos = bench.probe.create_publisher(CameraInfo, "camera_info", 10)
    bench.activate()
    bench.until(lambda: bench.infos.get_subscription_count() == 1)


def test_depth_images_are_answered_as_their_points_are(make_bench, model):
    bench = make_bench(use_depth=True)
    ready(bench)
    bench.infos.publish(camera_info())
    bench.until(lambda: bench.recognizer._input._info is not None)
    images = [depth_image(START + index * PERIOD) for index in range(6)]
    for number, message in enumerate(images, start=1):
        bench.send(message)
        bench.answered(max(0, number - 3))
    reader = DepthReader()
    pipeline = ActionPipeline(checkpoint.load(model), PipelineConfig(stride=1))
    expected = [
        answer
        for one in images
        if (answer := pipeline.push(
            Frame(from_stamp(one.header.stamp), "camera", reader.points(one, camera_info()))
        ))
    ]  # fmt: skip
    for got, wanted in zip(bench.answers, expected, strict=True):
        assert from_stamp(got.header.stamp) == wanted.stamp
        assert got.results[0].score == wanted.top(1, 0.0)[0][1]


def test_without_camera_info_they_are_rejected_and_it_says_why(make_bench):
    bench = make_bench(use_depth=True)
    ready(bench)
    bench.send(depth_image(START), depth_image(START + PERIOD))
    _, values = bench.report()
    assert values["rejected: none yet"] == "2"
    bench.infos.publish(camera_info())
    bench.until(lambda: bench.recognizer._input._info is not None)
    wrong = depth_image(START + 2 * PERIOD)
    wrong.height, wrong.data = 3, wrong.data[:48]
    bench.send(wrong, depth_image(START + 3 * PERIOD))
    _, values = bench.report()
    assert values["rejected: not of the camera's size"] == "1"
    assert values["window"].startswith("1 of")
