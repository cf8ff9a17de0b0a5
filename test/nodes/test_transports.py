"""Images as robots send them: compressed, of another size, in another transport than expected."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from node_bench import PERIOD, START, cloud
from PIL import Image as Picture
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from test_depth_input import camera_info, depth_image

from fourd_perception.messages.results import to_stamp
from fourd_perception.nodes.recognizer import Recognizer


def compressed_depth(stamp: int) -> CompressedImage:
    """What `depth_image` is, as compressed_depth_image_transport sends it."""
    plain, file = depth_image(stamp), io.BytesIO()
    Picture.fromarray(np.frombuffer(plain.data, "<u2").reshape(6, 8)).save(file, "PNG")
    data = struct.pack("<iff", 0, 0.0, 0.0) + file.getvalue()
    return CompressedImage(
        header=plain.header, format="16UC1; compressedDepth png", data=list(data)
    )


def colour(stamp: int, size: tuple[int, int] = (7, 5)) -> CompressedImage:
    """A PNG of width and height `size` whose pixels depend on its stamp."""
    pixels = np.random.default_rng(stamp).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "PNG")
    message = CompressedImage(format="rgb8; png compressed bgr8", data=list(file.getvalue()))
    message.header.stamp = to_stamp(stamp)
    return message


def depth_bench(make_bench, kind, topic, **parameters):
    """A recognizer of depth that has its calibration, and a probe that sends on `topic`."""
    bench = make_bench(use_depth=True, **parameters)
    bench.probe.destroy_publisher(bench.points)
    bench.points = bench.probe.create_publisher(kind, topic, 10)
    infos = bench.probe.create_publisher(type(camera_info()), "camera_info", 10)
    bench.activate()
    bench.until(lambda: infos.get_subscription_count() == 1)
    infos.publish(camera_info())
    bench.until(lambda: bench.recognizer._input._info is not None)
    return bench


def frames_of(bench, monkeypatch) -> list:
    taken: list = []
    monkeypatch.setattr(bench.recognizer._lanes[0].pipeline, "offer", taken.append)
    return taken


def test_compressed_depth_makes_the_frames_that_depth_makes(make_bench, monkeypatch):
    stamps = [START + index * PERIOD for index in range(3)]
    plain = depth_bench(make_bench, Image, "depth")
    expected = frames_of(plain, monkeypatch)
    plain.send(*map(depth_image, stamps))
    plain.close()
    plain.close = lambda: None
    bench = depth_bench(
        make_bench,
        CompressedImage,
        "depth/compressedDepth",
        depth_image_transport="compressedDepth",
    )
    taken = frames_of(bench, monkeypatch)
    bench.send(*map(compressed_depth, stamps))
    assert [one.stamp for one in taken] == [one.stamp for one in expected] == stamps
    for one, other in zip(taken, expected):
        assert one.rows == other.rows == 6 and one.frame_id == "camera"
        np.testing.assert_array_equal(one.points, other.points)


def test_damaged_compressed_depth_is_counted_by_reason(make_bench):
    bench = depth_bench(
        make_bench,
        CompressedImage,
        "depth/compressedDepth",
        depth_image_transport="compressedDepth",
    )
    cut, zstd = compressed_depth(START), compressed_depth(START + 1)
    cut.data = cut.data[:30]
    zstd.format = "16UC1; compressedDepth zstd"
    bench.send(cut, zstd, compressed_depth(START + PERIOD))
    _, values = bench.report()
    assert values["rejected: cannot be decoded"] == values["rejected: unknown format"] == "1"
    assert values["window"].startswith("1 of")


def test_compressed_colours_of_another_size_are_paired(make_bench, monkeypatch):
    bench = make_bench(use_image=True, image_transport="compressed", image_timeout=5.0)
    images = bench.probe.create_publisher(CompressedImage, "image/compressed", 10)
    bench.activate()
    bench.until(lambda: images.get_subscription_count() == 1)
    taken = frames_of(bench, monkeypatch)
    for stamp, size in ((START, (7, 5)), (START + PERIOD, (64, 48))):
        images.publish(colour(stamp, size))
        bench.send(cloud(stamp))
        bench.until(lambda: taken and taken[-1].stamp == stamp)  # noqa: B023
        sent = np.array(Picture.open(io.BytesIO(bytes(colour(stamp, size).data))))
        np.testing.assert_array_equal(taken[-1].image, sent)
    assert bench.report()[1]["images: paired"] == "2"


def test_a_transports_topic_follows_the_remapping_of_the_plain_one(ros, model):
    given = {
        "model": str(model), "use_depth": True, "depth_image_transport": "compressedDepth",
        "use_image": True, "image_transport": "compressed",
    }  # fmt: skip
    node = Recognizer(
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        cli_args=["--ros-args", "-r", "depth:=/cam/depth/image_rect_raw", "-r", "image:=/cam/rgb"],
    )
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert {one.topic_name for one in node.subscriptions} == {
            "/cam/depth/image_rect_raw/compressedDepth", "/cam/rgb/compressed", "/camera_info",
        }  # fmt: skip
        assert node._input._depth._rectified  # by the plain topic's name
    finally:
        node.destroy_node()


def test_damaged_images_are_counted_and_the_clouds_go_on(make_bench, monkeypatch):
    bench = make_bench(use_image=True, image_transport="compressed", image_timeout=0.05)
    bench.activate()
    taken = frames_of(bench, monkeypatch)
    damaged, unstamped = colour(START), colour(0)
    damaged.data = damaged.data[:40]
    for message in (damaged, unstamped):
        bench.recognizer._input._on_image(message)
    bench.send(*(cloud(START + index * PERIOD) for index in range(3)))
    bench.until(lambda: taken)
    _, values = bench.report()
    assert values["rejected: cannot be decoded"] == values["rejected: no stamp on an image"] == "1"
    assert taken[0].image is None and values["images: resets"] == "0"


@pytest.mark.parametrize(
    "parameters, kind, topic, told",
    [
        ({"use_image": True}, CompressedImage, "image/compressed",
         "/image/compressed is there: set image_transport to compressed"),
        ({"use_image": True, "image_transport": "compressed"}, Image, "image",
         "/image is there: set image_transport to raw"),
        ({"use_depth": True}, CompressedImage, "depth/compressedDepth",
         "/depth/compressedDepth is there: set depth_image_transport to compressedDepth"),
        ({"use_depth": True, "depth_image_transport": "compressedDepth"}, Image, "depth",
         "/depth is there: set depth_image_transport to raw"),
    ],
)  # fmt: skip
def test_silence_names_the_transport_that_is_there(
    make_bench, monkeypatch, capfd, parameters, kind, topic, told
):
    bench = make_bench(**parameters)
    bench.recognizer.start()
    bench.probe.create_publisher(kind, topic, 10)
    bench.until(lambda: bench.recognizer.count_publishers(f"/{topic}") == 1)
    monkeypatch.setattr("fourd_perception.nodes.diagnostics.SILENT_AFTER", 0.0)
    if "use_image" in parameters:
        bench.send(cloud(START))
    bench.until(lambda: any(told in one.message for one in bench.reports))
    assert capfd.readouterr().err.count(told) == 1


def test_a_calibration_that_never_comes_is_told_until_it_comes(make_bench, monkeypatch):
    bench = make_bench(use_depth=True)
    bench.probe.destroy_publisher(bench.points)
    bench.points = bench.probe.create_publisher(Image, "depth", 10)
    infos = bench.probe.create_publisher(type(camera_info()), "camera_info", 10)
    bench.activate()
    bench.until(lambda: infos.get_subscription_count() == 1)
    monkeypatch.setattr("fourd_perception.nodes.diagnostics.SILENT_AFTER", 0.5)
    told = "nothing on /camera_info for"

    def alive_until(condition) -> None:
        """Depth images go on: it is not they that are silent."""
        stamp = START

        def send_and_ask() -> bool:
            nonlocal stamp
            stamp += PERIOD
            bench.points.publish(depth_image(stamp))
            return condition()

        bench.until(send_and_ask)

    alive_until(lambda: any(told in one.message for one in bench.reports))
    assert not any("nothing on /depth for" in one.message for one in bench.reports[-1:])
    infos.publish(camera_info())
    bench.until(lambda: bench.recognizer._input._info is not None)
    bench.reports.clear()
    alive_until(lambda: bench.reports)
    assert told not in bench.reports[0].message


def test_transports_cannot_change_while_it_is_configured(make_bench):
    node = make_bench().recognizer
    node.trigger_configure()
    (refused,) = node.set_parameters([Parameter("image_transport", value="compressed")])
    assert not refused.successful and "clean it up first" in refused.reason
