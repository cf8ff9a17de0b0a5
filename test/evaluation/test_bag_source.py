"""Topics are found by their type, and asked for only where there are several."""

from __future__ import annotations

from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_source import BagSource, find_source
from fourd_perception.messages.images import depth_from_message
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import open_bag


def find(path: Path, *messages: cases.Recorded, **asked: str) -> BagSource:
    if not path.exists():
        cases.write(path, messages)
    with open_bag(path) as bag:
        return find_source(bag, BagSource(**asked))


def test_clouds_go_before_depth_images(tmp_path: Path) -> None:
    found = find(tmp_path / "bag", cases.cloud(0), *cases.depth(0), cases.picture(0))
    assert found == BagSource(points=camera.POINTS, image=camera.COLOR, colour=True)
    asked = find(tmp_path / "bag", depth=camera.DEPTH)
    assert asked == BagSource(None, camera.DEPTH, camera.DEPTH_INFO, camera.COLOR, True)


def test_depth_images_are_known_by_their_encoding(tmp_path: Path) -> None:
    found = find(tmp_path / "bag", cases.picture(0, topic="/a/image"), *cases.depth(0, "/b/image"))
    assert found == BagSource(None, "/b/image", "/b/camera_info", "/a/image", True)


def test_compressed_depth_images_are_known_by_their_topic(tmp_path: Path) -> None:
    packed = cases.packed_depth(0, "/b/image_rect_raw")
    found = find(tmp_path / "bag", cases.picture(0, topic="/a/image"), *packed)
    topic = "/b/image_rect_raw/compressedDepth"
    assert found == BagSource(None, topic, "/b/camera_info", "/a/image", True)
    assert (found.depth_name, found.depth_transport) == ("/b/image_rect_raw", "compressedDepth")
    assert find(tmp_path / "bag", depth=topic) == found
    both = find(tmp_path / "both", *packed, *cases.depth(0, "/b/image_rect_raw"))
    assert (both.depth, both.depth_transport) == ("/b/image_rect_raw", "raw")
    alone = find(tmp_path / "alone", *packed)
    assert alone.image == topic, "for want of colour the depth is looked at"


def test_compressed_colour_is_no_depth(tmp_path: Path) -> None:
    _, info = cases.depth(0, "/b/image")
    packed = cases.packed_depth(0)[0]
    jpeg = cases.Recorded("/b/image/compressed", packed.kind, packed.time, packed.message)
    with pytest.raises(InputError, match="--depth /b/image/compressed: it is a .*there is none"):
        find(tmp_path / "bag", jpeg, info, depth="/b/image/compressed")
    with pytest.raises(InputError, match="neither a PointCloud2"):
        find(tmp_path / "bag")


def test_a_recording_of_the_realsense_sdk_is_known_by_its_topics(tmp_path: Path) -> None:
    where = "/device_0/sensor_0/Depth_0"
    image, info = cases.depth(0, f"{where}/image/data")
    millimetres = np.full((6, 8), 1500, np.uint16)
    image.message.encoding, image.message.step = "mono16", 16
    image.message.data = millimetres.view(np.uint8).ravel()
    info = cases.Recorded(f"{where}/info/camera_info", info.kind, info.time, info.message)
    other = "/device_0/sensor_0/Infrared_1"
    infrared = cases.picture(0, topic=f"{other}/image/data")
    elsewhere = cases.Recorded(f"{other}/info/camera_info", info.kind, info.time, info.message)
    found = find(tmp_path / "bag", image, info, infrared, elsewhere)
    assert found == BagSource(None, image.topic, info.topic, infrared.topic, True)
    np.testing.assert_allclose(depth_from_message(image.message), 1.5)


def test_the_camera_info_may_be_elsewhere_if_it_is_the_only_one(tmp_path: Path) -> None:
    image, info = cases.depth(0, "/b/image")
    elsewhere = cases.Recorded("/info", info.kind, info.time, info.message)
    assert find(tmp_path / "one", image, elsewhere).camera_info == "/info"
    other = cases.Recorded("/other", info.kind, info.time, info.message)
    with pytest.raises(InputError, match=r"several topics: /info, /other; .* --camera-info"):
        find(tmp_path / "two", image, elsewhere, other)
    chosen = find(tmp_path / "two", camera_info="/other")
    assert (chosen.depth, chosen.camera_info) == ("/b/image", "/other")
    with pytest.raises(InputError, match="no CameraInfo for the depth images of /b/image; record"):
        find(tmp_path / "none", image)


def test_several_candidates_are_listed_with_the_option(tmp_path: Path) -> None:
    clouds = [cases.cloud(0, topic=topic) for topic in ("/left", "/right")]
    with pytest.raises(
        InputError, match="clouds on several topics: /left, /right; choose with --points"
    ):
        find(tmp_path / "clouds", *clouds)
    assert find(tmp_path / "clouds", points="/right").points == "/right"
    depths = [one for topic in ("/l/depth", "/r/depth") for one in cases.depth(0, topic)]
    with pytest.raises(InputError, match="/l/depth, /r/depth; choose with --depth"):
        find(tmp_path / "depths", *depths)
    found = find(tmp_path / "depths", depth="/r/depth")
    assert found.camera_info == "/r/camera_info"


def test_several_colours_are_no_reason_to_ask(tmp_path: Path) -> None:
    messages = (cases.cloud(0), cases.picture(0, topic="/a"), cases.picture(0, topic="/b"))
    assert find(tmp_path / "bag", *messages).image is None
    assert find(tmp_path / "bag", image="/b").image == "/b"


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    find(path, cases.cloud(0), cases.picture(0))
    with pytest.raises(
        InputError, match=r"--points /cloud: there is no such topic .* there is /camera/points"
    ):
        find(path, points="/cloud")
    with pytest.raises(InputError, match=r"--depth /camera/points: it is a sensor_msgs/msg/Point"):
        find(path, depth=camera.POINTS)
    with pytest.raises(InputError, match=r"of CameraInfo there is none"):
        find(path, camera_info="/info")
    with pytest.raises(InputError, match="both --points and --depth"):
        find(tmp_path / "both", cases.cloud(0), *cases.depth(0), points=camera.POINTS,
             depth=camera.DEPTH)  # fmt: skip


def test_a_bag_without_any_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a PointCloud2 .*color/image_raw \(sensor_msgs"):
        find(tmp_path / "bag", cases.picture(0))
