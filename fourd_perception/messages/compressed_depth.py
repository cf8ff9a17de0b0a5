"""CompressedImage of the transport compressedDepth to depths, as image_transport_plugins writes it.

Twelve bytes come before the image: a number that says nothing, and the two parameters of the
quantisation. The image is a PNG of 16 bits, or RVL after its width and height. Of 16UC1 its samples
are the depths; of 32FC1 they are inverse depths: a / (sample - b), 0 where there is none.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.messages import rvl
from fourd_perception.messages.images import BadImage, check_size, metres, png_samples
from fourd_perception.messages.reading import attribute, buffer

TRANSPORT = "compressedDepth"
_ENCODINGS = ("16UC1", "32FC1")
_CONFIG = struct.Struct("<iff")
_RVL_SIZE = struct.Struct("<II")
_PNG = b"\x89PNG"


def from_message(message: Any) -> NDArray[np.float32]:
    """The depths of a CompressedImage: (H, W) float32, metres, 0 where there is no return.

    Raises BadImage, also where the data is cut short, or its format is not of this transport.
    """
    encoding, compression = _format(str(attribute(message, "format", BadImage)))
    data = buffer(message, BadImage)
    if encoding == "16UC1" and data[:4].tobytes() == _PNG:  # some leave the twelve bytes out
        return metres(png_samples(data.tobytes()))
    if data.size <= _CONFIG.size:
        raise BadImage(
            "data too short", f"expected {_CONFIG.size} bytes and an image, got {data.size}"
        )
    _, a, b = _CONFIG.unpack(data[: _CONFIG.size].tobytes())
    body = data[_CONFIG.size :]
    samples = png_samples(body.tobytes()) if compression == "png" else _rvl(body)
    if encoding == "16UC1":
        return metres(samples)
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise BadImage("bad quantisation", f"expected two numbers, the first above 0: {a:g}, {b:g}")
    with np.errstate(divide="ignore"):
        depth = np.float32(a) / (samples.astype(np.float32) - np.float32(b))
    depth[samples == 0] = 0
    return metres(depth)


def warm_up() -> None:
    """Compile what decodes RVL, so that the first image does not wait for it."""
    rvl.decompress(np.zeros(4, np.uint8), 1)


def _format(text: str) -> tuple[str, str]:
    """Encoding and compression of '16UC1; compressedDepth png'; before Iron without its last word.

    Raises BadImage.
    """
    encoding, _, rest = (part.strip() for part in text.partition(";"))
    transport, _, compression = rest.partition(" ")
    compression = compression.strip() or "png"
    if transport not in (TRANSPORT, ""):
        raise BadImage(
            f"not {TRANSPORT}", f"got the format {text!r:.60}; take the topic that ends in "
            f"/{TRANSPORT}"
        )  # fmt: skip
    if encoding not in _ENCODINGS or compression not in ("png", "rvl"):
        raise BadImage(
            "unknown format",
            f"expected {' or '.join(_ENCODINGS)}, then '; {TRANSPORT} png' or rvl, "
            f"got {text!r:.60}",
        )
    return encoding, compression


def _rvl(data: NDArray[np.uint8]) -> NDArray[np.uint16]:
    if data.size < _RVL_SIZE.size:
        raise BadImage("data too short", f"expected width and height, got {data.size} bytes")
    width, height = _RVL_SIZE.unpack(data[: _RVL_SIZE.size].tobytes())
    check_size(width, height)
    if width * height == 0:
        raise BadImage("no pixels", f"expected an image, got {width} x {height}")
    samples = rvl.decompress(data[_RVL_SIZE.size :], width * height)
    if samples is None:
        raise BadImage(
            "cannot be decoded", f"expected {width} x {height} samples of RVL in {data.size} bytes"
        )
    return samples.reshape(height, width)
