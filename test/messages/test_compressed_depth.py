"""compressedDepth: what its public writer puts into a message comes out as the depths it was."""

from __future__ import annotations

import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fourd_perception.messages import compressed_depth
from fourd_perception.messages.images import BadImage

DEPTH_MAX, QUANTISATION = 10.0, 100.0  # the transport's own defaults


def png(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples.astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def rvl(samples: np.ndarray) -> bytes:
    """After the encoder printed in Wilson's paper: nibbles of a number from the lowest on."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            low, number = number & 7, number >> 3
            nibbles.append(low | 8 if number else low)
            if not number:
                return

    values, previous, at = samples.reshape(-1).astype(int).tolist(), 0, 0
    while at < len(values):
        zeros = at
        while at < len(values) and values[at] == 0:
            at += 1
        put(at - zeros)
        run = at
        while run < len(values) and values[run] != 0:
            run += 1
        put(run - at)
        for value in values[at:run]:
            delta, previous = value - previous, value
            put(delta << 1 if delta >= 0 else (-delta << 1) - 1)  # zigzag
        at = run
    nibbles += [0] * (-len(nibbles) % 8)
    words = ["".join(f"{one:x}" for one in nibbles[n : n + 8]) for n in range(0, len(nibbles), 8)]
    header = struct.pack("<II", samples.shape[1], samples.shape[0])
    return header + b"".join(struct.pack("<I", int(word, 16)) for word in words)


WRITERS = {"png": png, "rvl": rvl}


def message(samples: np.ndarray, encoding: str = "16UC1", compression: str = "png", **changes):
    """Inverse depths of 32FC1 as the encoder of compressed_depth_image_transport has them."""
    a = b = 0.0
    if encoding == "32FC1":
        a = QUANTISATION * (QUANTISATION + 1)
        b = 1 - a / DEPTH_MAX
        with np.errstate(divide="ignore", invalid="ignore"):
            there = (samples > 0) & (samples < DEPTH_MAX)
            samples = np.where(there, a / np.where(there, samples, 1) + b, 0).astype(np.uint16)
    given = {
        "format": f"{encoding}; compressedDepth {compression}",
        "data": struct.pack("<iff", 0, a, b) + WRITERS[compression](samples),
    }
    return SimpleNamespace(**(given | changes))


shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@pytest.mark.parametrize("compression", ["png", "rvl"])
@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_millimetres_come_back_exactly(compression, shape, seed, empty):
    random = np.random.default_rng(seed)
    samples = random.integers(0, 65536, shape) * (random.random(shape) >= empty)
    read = compressed_depth.from_message(message(samples, compression=compression))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, samples.astype(np.float32) / np.float32(1000))


@pytest.mark.parametrize("compression", ["png", "rvl"])
def test_metres_come_back_within_their_quantisation(compression):
    depth = np.random.default_rng(0).uniform(0.5, 9.9, (12, 16))
    depth[2, 3], depth[4, 5], depth[6, 7], depth[8, 9] = np.nan, 0.0, 11.0, np.inf
    read = compressed_depth.from_message(message(depth, "32FC1", compression))
    nothing = ~((depth > 0) & (depth < DEPTH_MAX))
    assert nothing.sum() == 4 and (read[nothing] == 0).all()
    # One step of the sample, 1 / a in inverse depth, is depth^2 / a; the writer rounds down.
    step = depth**2 / (QUANTISATION * (QUANTISATION + 1))
    there = ~nothing
    assert (abs(read - depth)[there] <= step[there] * 1.02).all()


def test_a_metre_by_hand():
    """a = 10100, b = 1 - 1010 = -1009; sample 9091 is 10100 / (9091 + 1009) = 1 m."""
    one = message(np.array([[1.0]]), "32FC1")
    assert one.data[:12] == struct.pack("<iff", 0, 10100.0, -1009.0)
    assert compressed_depth.from_message(one).tolist() == [[1.0]]


@pytest.mark.parametrize("text", ["16UC1; compressedDepth", "16UC1", "16UC1;compressedDepth png"])
def test_older_formats_are_png(text):
    samples = np.arange(12).reshape(3, 4)
    read = compressed_depth.from_message(message(samples, format=text))
    np.testing.assert_allclose(read, samples / 1000, rtol=1e-6)


def test_a_png_without_the_twelve_bytes_is_read():
    samples = np.arange(12).reshape(3, 4)
    read = compressed_depth.from_message(message(samples, data=png(samples)))
    np.testing.assert_allclose(read, samples / 1000, rtol=1e-6)


def test_a_quantisation_that_gives_no_depth_gives_no_return():
    """Samples at and below b: infinite and negative depths."""
    data = struct.pack("<iff", 0, 10.0, 5.0) + png(np.array([[4, 5, 6]]))
    read = compressed_depth.from_message(message(np.ones((1, 1)), format="32FC1", data=data))
    assert read.tolist() == [[0.0, 0.0, 10.0]]


def colour_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


HEADER = bytes(12)
BAD = [
    ({"format": "rgb8; jpeg compressed bgr8"}, "not compressedDepth"),
    ({"format": "16UC1; compressedDepth zstd"}, "unknown format"),
    ({"format": "64FC1; compressedDepth png"}, "unknown format"),
    ({"format": ""}, "unknown format"),
    ({"data": b""}, "data too short"),
    ({"data": HEADER}, "data too short"),
    ({"data": HEADER + b"\x89PNG"}, "cannot be decoded"),
    ({"data": HEADER + png(np.ones((4, 4)))[:-30]}, "cannot be decoded"),
    ({"data": HEADER + colour_png()}, "not 16 bits"),
    ({"data": None}, "data is not bytes"),
    ({"format": "32FC1; compressedDepth png"}, "bad quantisation"),
    ({"format": "16UC1; compressedDepth rvl", "data": HEADER + bytes(7)}, "data too short"),
    ({"format": "16UC1; compressedDepth rvl", "data": HEADER + bytes(8)}, "no pixels"),
    ({"format": "16UC1; compressedDepth rvl", "data": HEADER + b"\xff" * 8}, "too large"),
    # Two pixels; a run of no zeros and no others, then a number of more nibbles than 32 bits need,
    # a run of three zeros, and nothing at all.
    (
        {"format": "16UC1; compressedDepth rvl", "data": HEADER + struct.pack("<III", 2, 1, 0)},
        "cannot be decoded",
    ),
    (
        {
            "format": "16UC1; compressedDepth rvl",
            "data": HEADER + struct.pack("<IIII", 2, 1, *[0xFFFFFFFF] * 2),
        },
        "cannot be decoded",
    ),
    (
        {
            "format": "16UC1; compressedDepth rvl",
            "data": HEADER + struct.pack("<III", 2, 1, 0x30000000),
        },
        "cannot be decoded",
    ),
    (
        {"format": "16UC1; compressedDepth rvl", "data": HEADER + struct.pack("<II", 2, 1)},
        "cannot be decoded",
    ),
]


@pytest.mark.parametrize("changes, reason", BAD)
def test_what_cannot_be_read_is_a_line(changes, reason):
    with pytest.raises(BadImage) as caught:
        compressed_depth.from_message(message(np.ones((4, 4)), **changes))
    assert caught.value.reason == reason and "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["png", "rvl"])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_is_refused_or_read_but_nothing_else(compression, data):
    """Upstream's decoder of RVL writes beyond its image here."""
    good = message(np.arange(30).reshape(5, 6) * 7 % 11, compression=compression)
    damaged = bytearray(good.data)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    good.data = bytes(damaged)
    try:
        read = compressed_depth.from_message(good)
    except BadImage:
        return
    assert read.ndim == 2 and np.isfinite(read).all() and (read >= 0).all()
