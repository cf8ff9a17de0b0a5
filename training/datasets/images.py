"""Images of data sets: depth in 16-bit PNG files, colour in videos."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_perception.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

_MAY_BE_LACKING = 5
"""Frames that a decoder may swallow at the end of a video; the last one stands for them."""


def read_depth_png(path: str | Path, width: int, height: int) -> NDArray[np.uint16]:
    """A grey PNG of 16 bits: (height, width) uint16. Raises InputError on anything else."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if not image.mode.startswith("I"):  # I;16, and I in older Pillow
                raise InputError(f"{path}: expected 16-bit grey, got {image.mode}")
            if image.size != (width, height):
                got = " x ".join(map(str, image.size))
                raise InputError(f"{path}: expected {width} x {height} pixels, got {got}")
            return np.asarray(image).astype(np.uint16)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error,
            Image.DecompressionBombError) as error:  # fmt: skip
        raise _damaged(path, error) from None


def count_frames(path: str | Path) -> int:
    """How many frames a video has, without decoding any. Raises InputError as `frames_at`."""
    with _opened(path) as video:
        return sum(1 for packet in video.demux(video.streams.video[0]) if packet.size)


def frames_at(path: str | Path, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video at `indices`, which do not decrease: each (H, W, 3) uint8 RGB.

    Decoded from the start, one at a time, because seeking is not exact in every format. Raises
    InputError where the file is missing, damaged, or has fewer frames; and without PyAV.
    """
    wanted = deque(indices)
    if any(later < earlier for earlier, later in pairwise(indices)):
        raise ValueError("indices: expected them not to decrease")
    decoded = 0
    last: VideoFrame | None = None
    with _opened(path) as video:
        for decoded, last in enumerate(video.decode(video.streams.video[0]), start=1):
            if not wanted:
                return
            if wanted[0] < decoded:
                image = _rgb(last)
                while wanted and wanted[0] < decoded:
                    wanted.popleft()
                    yield image
        if wanted and (last is None or wanted[-1] >= decoded + _MAY_BE_LACKING):
            raise InputError(
                f"{path}: expected at least {wanted[-1] + 1} frames, got {decoded}; copy it again"
            )
        for _ in wanted:
            assert last is not None
            yield _rgb(last)


def _rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


@contextmanager
def _opened(path: str | Path) -> Iterator[InputContainer]:
    try:
        import av
    except ImportError:
        raise InputError("colour videos need PyAV: pip install .[training]") from None
    try:
        with av.open(str(path)) as video:
            if not video.streams.video:
                raise InputError(f"{path}: expected a video, got a file without one")
            yield video
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: str | Path, error: Exception) -> InputError:
    if not Path(path).is_file():
        return InputError(f"{path}: no such file")
    text = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path}: damaged, or of another kind ({text}); copy it again")
