"""Image and CompressedImage to arrays, for any object that has the message's attributes.

The conversions are our own and not cv_bridge's: it skews multi-channel images whose padding is not
a whole number of pixels, does not read big-endian ones with NumPy 2, and does not know `uyvy` and
`yuyv`. On everything else the results are the same.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.messages.reading import BadMessage, attribute, buffer, row_stride, whole

MAX_PIXELS = 1 << 26
"""A compressed image that claims more is taken for damaged."""

_GREY, _RGB, _BGR = (0, 0, 0), (0, 1, 2), (2, 1, 0)
# sensor_msgs/image_encodings: type of a sample, samples in a pixel, which of them are R, G, B.
# OpenCV's nameless types are in its own order, blue first, as RViz and Foxglove show them.
_COLOURS: dict[str, tuple[str, int, tuple[int, int, int]]] = {
    "rgb8": ("u1", 3, _RGB),
    "bgr8": ("u1", 3, _BGR),
    "rgba8": ("u1", 4, _RGB),
    "bgra8": ("u1", 4, _BGR),
    "mono8": ("u1", 1, _GREY),
    "8UC1": ("u1", 1, _GREY),
    "8UC3": ("u1", 3, _BGR),
    "8UC4": ("u1", 4, _BGR),
    "rgb16": ("u2", 3, _RGB),
    "bgr16": ("u2", 3, _BGR),
    "rgba16": ("u2", 4, _RGB),
    "bgra16": ("u2", 4, _BGR),
    "mono16": ("u2", 1, _GREY),
}
_LUMA = {"yuv422": 1, "uyvy": 1, "yuv422_yuy2": 0, "yuyv": 0}  # which byte of a pixel is Y
# OpenCV names a mosaic by its second row, ROS by its first.
_MOSAICS = {"rggb": "BayerBG", "bggr": "BayerRG", "gbrg": "BayerGR", "grbg": "BayerGB"}
_BAYER = {
    f"bayer_{first_row}{bits}": (kind, f"COLOR_{name}2RGB")
    for first_row, name in _MOSAICS.items()
    for bits, kind in (("8", "u1"), ("16", "u2"))
}
_DEPTHS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


class BadImage(BadMessage):
    """An Image or CompressedImage that cannot be read; `reason` is for counting."""

    kind = "Image"


def from_message(message: Any) -> NDArray[np.uint8]:
    """The colours of a sensor_msgs/Image: (H, W, 3) uint8 RGB, the caller's own.

    16 bits are scaled to 8, alpha is left out, grey is repeated. Raises BadImage.
    """
    encoding = str(attribute(message, "encoding", BadImage))
    if encoding in _COLOURS:
        kind, samples, order = _COLOURS[encoding]
        return _reorder(_to_8_bits(_pixels(message, kind, samples)), order)
    if encoding in _LUMA:
        return _yuv422_to_rgb(_pixels(message, "u1", 2), _LUMA[encoding])
    if encoding in _BAYER:
        kind, conversion = _BAYER[encoding]
        return _demosaic(_pixels(message, kind, 1), conversion)
    if encoding in _DEPTHS:  # mono16 is read above
        raise BadImage("not a colour image", f"got {encoding}; take the camera's colour topic")
    known = ", ".join((*_COLOURS, *_LUMA, *_BAYER))
    raise BadImage(
        "unknown encoding", f"got {encoding!r:.40}, expected one of {known}; publish rgb8 or bgr8"
    )


def depth_from_message(message: Any) -> NDArray[np.float32]:
    """The depths of a sensor_msgs/Image (REP-118): (H, W) float32, metres, 0 where no return.

    16UC1 is in millimetres, 32FC1 in metres; NaN, infinities and negative depths become 0.
    Raises BadImage.
    """
    encoding = str(attribute(message, "encoding", BadImage))
    if encoding not in _DEPTHS:
        known = " or ".join(_DEPTHS)
        raise BadImage("not a depth encoding", f"expected {known}, got {encoding!r:.40}")
    return metres(_pixels(message, _DEPTHS[encoding], 1)[:, :, 0])


def metres(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """A depth image's samples (REP-118), 16 bits in millimetres or floats in metres, as metres.

    float32 of the same shape, the caller's own; NaN, infinities and negative depths become 0.
    """
    with np.errstate(invalid="ignore"):  # signalling NaN
        depth = pixels.astype(np.float32)
        if pixels.dtype.kind == "u":
            return depth / np.float32(1000)
        depth[~((depth > 0) & (depth < np.inf))] = 0
    return depth


def compressed_from_message(message: Any) -> NDArray[np.uint8]:
    """The colours of a sensor_msgs/CompressedImage, JPEG or PNG: (H, W, 3) uint8 RGB.

    Raises BadImage, also where the data is cut short.
    """
    kind = str(attribute(message, "format", BadImage))
    if "compressedDepth" in kind:
        raise BadImage("not a colour image", f"got {kind:.40}; take the camera's colour topic")
    return _decoded(buffer(message, BadImage).tobytes(), ("JPEG", "PNG"), _colours)


def png_samples(data: bytes) -> NDArray[np.uint16]:
    """The samples of a grey PNG of 16 bits: (H, W) uint16. Raises BadImage on anything else."""
    return _decoded(data, ("PNG",), _samples)


Decoded = TypeVar("Decoded")


def _decoded(
    data: bytes, formats: tuple[str, ...], take: Callable[[Image.Image], Decoded]
) -> Decoded:
    """What `take` makes of a compressed image; Pillow's many exceptions as one."""
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            check_size(*image.size)
            return take(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error,
            Image.DecompressionBombError) as error:  # fmt: skip
        text = " ".join(str(error).split())
        raise BadImage(
            "cannot be decoded",
            f"expected {' or '.join(formats)}, got {len(data)} bytes ({text:.80})",
        ) from None


def check_size(width: int, height: int) -> None:
    """Raises BadImage where a compressed image claims too much, before room is made for it."""
    if width * height > MAX_PIXELS:
        raise BadImage("too large", f"expected at most {MAX_PIXELS} pixels, got {width} x {height}")


def _colours(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits; Pillow would clip them to 8
        grey = np.asarray(image).astype(np.uint16)[:, :, None]
        return _reorder(_to_8_bits(grey), _GREY)
    return np.array(image.convert("RGB"))


def _samples(image: Image.Image) -> NDArray[np.uint16]:
    if not image.mode.startswith("I"):
        raise BadImage("not 16 bits", f"expected a grey PNG of 16 bits, got mode {image.mode}")
    return np.asarray(image).astype(np.uint16)


def _pixels(message: Any, kind: str, samples: int) -> NDArray[Any]:
    """The message's own samples: (H, W, samples), a view."""
    height, width = whole(message, "height", BadImage), whole(message, "width", BadImage)
    if height * width == 0:
        raise BadImage("no pixels", f"expected an image, got {width} x {height}")
    order = ">" if attribute(message, "is_bigendian", BadImage) else "<"
    sample = np.dtype(order + kind)
    data = buffer(message, BadImage)
    pixel = samples * sample.itemsize
    step = row_stride(message, "step", height, width * pixel, data.size, BadImage)
    return np.ndarray(
        (height, width, samples), sample, data, strides=(step, pixel, sample.itemsize)
    )


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype.itemsize == 1:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _reorder(pixels: NDArray[np.uint8], order: tuple[int, int, int]) -> NDArray[np.uint8]:
    image = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel, source in enumerate(order):
        image[:, :, channel] = pixels[:, :, source]
    return image


def _yuv422_to_rgb(pixels: NDArray[np.uint8], luma: int) -> NDArray[np.uint8]:
    """BT.601, limited range, in OpenCV's fixed point: the same bits as cv2.cvtColor."""
    height, width = pixels.shape[:2]
    if width % 2:
        raise BadImage("odd width", f"expected an even one, as yuv422 has pixel pairs, got {width}")
    y = np.maximum(pixels[:, :, luma].astype(np.int32) - 16, 0) * 1220542 + (1 << 19)
    chroma = pixels[:, :, 1 - luma].astype(np.int32) - 128
    u, v = (np.repeat(chroma[:, first::2], 2, axis=1) for first in (0, 1))
    image = np.empty((height, width, 3), np.uint8)
    for channel, term in enumerate((1673527 * v, -409993 * u - 852492 * v, 2116026 * u)):
        image[:, :, channel] = np.clip((y + term) >> 20, 0, 255)
    return image


def _demosaic(pixels: NDArray[Any], conversion: str) -> NDArray[np.uint8]:
    try:
        import cv2  # optional: demosaicing is all that needs it
    except ImportError:
        raise BadImage(
            "no demosaicing",
            "bayer images need OpenCV: install python3-opencv, or publish rgb8 (image_proc)",
        ) from None
    mosaic = np.ascontiguousarray(pixels[:, :, 0], pixels.dtype.newbyteorder("="))
    if min(mosaic.shape) < 3:
        raise BadImage("too small", f"expected 3 x 3 pixels at least, got {mosaic.shape}")
    return _to_8_bits(cv2.cvtColor(mosaic, getattr(cv2, conversion)))


DECODERS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {
    "raw": from_message,
    "compressed": compressed_from_message,
}
"""Of colour images, by their transport as image_transport names it."""
