from __future__ import annotations

import io
import sys
import tracemalloc
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fourd_perception.messages.images import (
    BadImage,
    compressed_from_message,
    depth_from_message,
    from_message,
)

# How each encoding holds the colour (r, g, b), pixel by pixel: the oracle.
WAYS = {
    "rgb8": lambda r, g, b: (r, g, b),
    "bgr8": lambda r, g, b: (b, g, r),
    "rgba8": lambda r, g, b: (r, g, b, 77),
    "bgra8": lambda r, g, b: (b, g, r, 77),
    "8UC3": lambda r, g, b: (b, g, r),
    "8UC4": lambda r, g, b: (b, g, r, 77),
    "rgb16": lambda r, g, b: (r, g, b),
    "bgr16": lambda r, g, b: (b, g, r),
    "rgba16": lambda r, g, b: (r, g, b, 77),
    "bgra16": lambda r, g, b: (b, g, r, 77),
    "mono8": lambda r, g, b: (r,),
    "8UC1": lambda r, g, b: (r,),
    "mono16": lambda r, g, b: (r,),
}


def picture(height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def message_of(samples: np.ndarray, encoding: str, padding: int = 0, is_bigendian: bool = False):
    """samples: (H, W) or (H, W, C), as the encoding has them."""
    samples = samples.astype(samples.dtype.newbyteorder(">" if is_bigendian else "<"))
    rows = [row.tobytes() + b"\xab" * padding for row in samples]
    return SimpleNamespace(
        height=samples.shape[0],
        width=samples.shape[1],
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=len(rows[0]),
        data=b"".join(rows),
    )


def small(**changes) -> SimpleNamespace:
    return SimpleNamespace(**(vars(message_of(picture(), "rgb8")) | changes))


@pytest.mark.parametrize("encoding", sorted(WAYS))
@settings(max_examples=20)
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from((0, 1, 2, 3, 8)),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_encoding_gives_the_colours_it_was_made_of(
    encoding, height, width, padding, is_bigendian, seed
):
    colours = picture(height, width, seed)
    expected = colours[:, :, :1].repeat(3, 2) if "C1" in encoding or "mono" in encoding else colours
    samples = np.array([[WAYS[encoding](*map(int, pixel)) for pixel in row] for row in colours])
    wide = encoding.endswith("16")
    samples = samples.astype(np.uint16) * 257 if wide else samples.astype(np.uint8)
    message = message_of(samples, encoding, padding, is_bigendian)
    read = from_message(message)
    assert read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable
    np.testing.assert_array_equal(read, expected)
    message.step = 0 if padding == 0 else message.step
    np.testing.assert_array_equal(from_message(message), expected)


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    read = from_message(message_of(values, "mono16"))
    np.testing.assert_array_equal(read[:, :, 1], np.rint(values * (255 / 65535)))


def yuv(encoding: str, *pixels: tuple[int, int, int]) -> SimpleNamespace:
    """Pairs of pixels of equal colour, given as (y, u, v)."""
    luma_first = encoding in ("yuyv", "yuv422_yuy2")
    pair = [(y, u, y, v) if luma_first else (u, y, v, y) for y, u, v in pixels]
    return message_of(np.uint8(pair).reshape(1, -1, 2), encoding)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_yuv_by_the_colours_of_bt_601(encoding):
    # BT.601: black is (16, 128, 128), white (235, 128, 128), red (82, 90, 240), blue (41, 240, 110)
    message = yuv(encoding, (16, 128, 128), (235, 128, 128), (82, 90, 240), (41, 240, 110))
    expected = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)]
    read = from_message(message)[0]
    assert np.abs(read[::2].astype(int) - expected).max() <= 2
    np.testing.assert_array_equal(read[::2], read[1::2])


@pytest.mark.parametrize(
    ("encoding", "code"), [("uyvy", "COLOR_YUV2RGB_UYVY"), ("yuyv", "COLOR_YUV2RGB_YUY2")]
)
def test_yuv_has_the_bits_of_opencv(encoding, code):
    cv2 = pytest.importorskip("cv2")
    samples = np.random.default_rng(0).integers(0, 256, (64, 64, 2), np.uint8)
    expected = cv2.cvtColor(samples, getattr(cv2, code))
    np.testing.assert_array_equal(from_message(message_of(samples, encoding)), expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_one_colour_gives_that_colour(pattern, bits):
    pytest.importorskip("cv2")
    colour = {"r": 200, "g": 100, "b": 50}
    block = np.array([colour[one] for one in pattern]).reshape(2, 2)
    mosaic = np.tile(block, (4, 4)).astype(np.uint8 if bits == 8 else np.uint16)
    mosaic *= 1 if bits == 8 else 257
    message = message_of(mosaic, f"bayer_{pattern}{bits}", 3, is_bigendian=True)
    assert (from_message(message)[2:-2, 2:-2] == (200, 100, 50)).all()


def test_without_opencv_a_mosaic_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BadImage, match="install python3-opencv") as caught:
        from_message(message_of(np.zeros((4, 4), np.uint8), "bayer_rggb8"))
    assert caught.value.reason == "no demosaicing"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"encoding": "rgb9"}, "unknown encoding"),
        ({"encoding": ["rgb8"]}, "unknown encoding"),
        ({"encoding": "bayer_rggb12"}, "unknown encoding"),
        ({"encoding": "16UC1"}, "not a colour image"),
        ({"encoding": "uyvy", "width": 5}, "odd width"),
        ({"step": 17}, "step too small"),
        ({"step": 19}, "data too short"),
        ({"data": bytes(71)}, "data too short"),
        ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 0}, "data too short"),
        ({"height": 0}, "no pixels"),
        ({"width": None}, "bad width"),
        ({"data": [0] * 72}, "data is not bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason_to_count_by(changes, reason):
    with pytest.raises(BadImage) as caught:
        from_message(small(**changes))
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"Image: {reason}: ")


def test_a_single_row_has_no_distance_to_the_next():
    data = bytes(range(12))
    message = small(height=1, width=4, data=data, step=2**64)
    assert from_message(message).tobytes() == data


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("height", "width", "step", "data", "is_bigendian")),
        st.one_of(
            st.integers(-(2**70), 2**70),
            st.sampled_from((0, 1, 2**31, 2**32 - 1, 2**64, None, "", bytes(71), bytes(400))),
        ),
    ),
    st.sampled_from((*WAYS, "yuyv", "16UC1", "32FC1", "bayer_rggb8", "", None)),
)
def test_no_header_does_more_than_be_refused(changes, encoding):
    message = small(encoding=encoding, **changes)
    for read in (from_message, depth_from_message):
        tracemalloc.start()
        try:
            assert read(message).nbytes <= 12 * len(message.data)
        except BadImage:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 10_000_000  # the first mosaic imports OpenCV


class TestDepth:
    @pytest.mark.parametrize("is_bigendian", [False, True])
    def test_millimetres(self, is_bigendian):
        samples = np.uint16([[0, 1, 1000], [1234, 65535, 500]])
        depth = depth_from_message(message_of(samples, "16UC1", 3, is_bigendian))
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, np.float32([[0, 0.001, 1], [1.234, 65.535, 0.5]]))

    @pytest.mark.parametrize("is_bigendian", [False, True])
    def test_metres_and_no_return(self, is_bigendian):
        samples = np.float32([[np.nan, np.inf, -np.inf], [-1, 0, 2.5]])
        depth = depth_from_message(message_of(samples, "32FC1", 1, is_bigendian))
        np.testing.assert_array_equal(depth, np.float32([[0, 0, 0], [0, 0, 2.5]]))

    def test_the_message_is_left_alone(self):
        data = np.frombuffer(np.float32([[np.nan, 1]]).tobytes(), np.uint8).copy()
        message = message_of(np.float32([[np.nan, 1]]), "32FC1")
        message.data = data
        depth_from_message(message)[:] = 9
        assert np.isnan(data.view(np.float32)[0])

    def test_colours_are_no_depth(self):
        with pytest.raises(BadImage) as caught:
            depth_from_message(small())
        assert caught.value.reason == "not a depth encoding"


def compressed(array: np.ndarray, kind: str = "png") -> SimpleNamespace:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return SimpleNamespace(format=f"rgb8; {kind} compressed bgr8", data=file.getvalue())


class TestCompressed:
    def test_png_is_exact(self):
        np.testing.assert_array_equal(compressed_from_message(compressed(picture())), picture())

    def test_jpeg_is_close(self):
        smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
        read = compressed_from_message(compressed(smooth, "jpeg"))
        assert read.dtype == np.uint8 and read.flags.writeable
        assert np.abs(read.astype(int) - smooth).max() <= 3

    def test_grey_alpha_and_sixteen_bits(self):
        grey = picture()[:, :, 0]
        for array in (
            grey,
            grey.astype(np.uint16) * 257,
            np.dstack([grey, grey, grey, np.full_like(grey, 9)]),
        ):
            read = compressed_from_message(compressed(array))
            np.testing.assert_array_equal(read, grey[:, :, None].repeat(3, 2))

    def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_decoded(self):
        message = compressed(np.zeros((1, 1, 3), np.uint8))
        side = (9000).to_bytes(4, "big")
        message.data = message.data[:16] + side + side + message.data[24:]
        crc = zlib.crc32(message.data[12:29]).to_bytes(4, "big")
        message.data = message.data[:29] + crc + message.data[33:]
        with pytest.raises(BadImage) as caught:
            compressed_from_message(message)
        assert caught.value.reason == "too large"

    def test_a_depth_image_is_no_colour_image(self):
        message = compressed(picture())
        message.format = "16UC1; compressedDepth png"
        with pytest.raises(BadImage) as caught:
            compressed_from_message(message)
        assert caught.value.reason == "not a colour image"

    @settings(deadline=None)
    @given(st.sampled_from(("png", "jpeg")), st.data())
    def test_damaged_data_is_refused_or_read(self, kind, data):
        message = compressed(picture(8, 8), kind)
        damaged = bytearray(message.data)
        for _ in range(data.draw(st.integers(0, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        message.data = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        try:
            read = compressed_from_message(message)
        except BadImage:
            return
        assert read.shape[2] == 3 and read.dtype == np.uint8

    @pytest.mark.parametrize("data", [b"", b"GIF89a", bytes(100)])
    def test_other_formats_are_refused(self, data):
        with pytest.raises(BadImage) as caught:
            compressed_from_message(SimpleNamespace(format="jpeg", data=data))
        assert caught.value.reason == "cannot be decoded"


def test_messages_of_rclpy():
    sensor_msgs = pytest.importorskip("sensor_msgs.msg")
    message = sensor_msgs.Image(**vars(message_of(picture(), "bgr8")))
    np.testing.assert_array_equal(from_message(message), picture()[:, :, ::-1])
    message = sensor_msgs.CompressedImage(**vars(compressed(picture())))
    np.testing.assert_array_equal(compressed_from_message(message), picture())
