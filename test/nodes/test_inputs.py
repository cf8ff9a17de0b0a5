"""What comes into the recognizer besides its clouds: images, and an older ROS."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
from node_bench import START, cloud, stream
from rclpy import event_handler
from sensor_msgs.msg import Image

from fourd_perception.nodes import inputs
from fourd_perception.stream.frame import SECOND


def image(stamp):
    message = Image(height=2, width=2, step=6, encoding="rgb8", data=bytes(range(12)))
    message.header.stamp = cloud(stamp).header.stamp
    return message


def test_images_are_paired_and_a_missing_one_does_not_hold_the_cloud_up(make_bench, monkeypatch):
    bench = make_bench(use_image=True, sync_slop=0.01, image_timeout=0.05)
    bench.activate()
    taken = []
    monkeypatch.setattr(bench.recognizer._lanes[0].pipeline, "offer", taken.append)
    images = bench.probe.create_publisher(Image, "image", 10)
    bench.until(lambda: images.get_subscription_count() == 1)
    images.publish(image(START))
    bench.send(*stream(3))
    bench.until(lambda: len(taken) == 2)
    assert taken[0].stamp == START
    np.testing.assert_array_equal(taken[0].image.reshape(-1), np.arange(12))
    assert taken[1].image is None
    _, values = bench.report()
    assert (values["images: paired"], values["images: unpaired"]) == ("1", "1")
    assert (values["images: resets"], values["images: last reset"]) == ("0", "")
    assert "images: overflows" not in values


def test_images_that_go_wrong_are_counted(make_bench):
    bench = make_bench(use_image=True)
    bench.activate()
    assert bench.recognizer._input is not None
    for message in (image(START), image(START), image(START - SECOND)):
        bench.recognizer._input._on_image(message)
    _, values = bench.report()
    assert (values["images: duplicate images"], values["images: resets"]) == ("1", "1")
    assert values["images: last reset"] == "images jumped back by 1.000 s"


def test_images_from_before_a_deactivation_are_not_used_after_it(make_bench, monkeypatch):
    bench = make_bench(use_image=True, sync_slop=0.01, image_timeout=0.05)
    bench.activate()
    node = bench.recognizer
    node._input._on_image(image(START))
    node.trigger_deactivate()
    node.trigger_activate()
    taken = []
    monkeypatch.setattr(node._lanes[0].pipeline, "offer", taken.append)
    bench.send(*stream(2))
    bench.until(lambda: taken)
    assert taken[0].image is None


def test_it_is_imported_on_humble_too(monkeypatch):
    """Where rclpy.event_handler is still called rclpy.qos_event."""
    monkeypatch.setitem(sys.modules, "rclpy.event_handler", None)
    monkeypatch.setitem(sys.modules, "rclpy.qos_event", event_handler)
    spec = importlib.util.spec_from_file_location("inputs_on_humble", inputs.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.SubscriptionEventCallbacks is event_handler.SubscriptionEventCallbacks
