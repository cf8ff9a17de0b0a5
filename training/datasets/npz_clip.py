"""A clip of clouds in an .npz file, for those who record without ROS.

points        (P, 3), all frames one after another, and counts (T,), points of each frame;
              or (T, N, 3) without counts; metres, optical frame; what is not finite is left out
rate          frames a second; optional
frame_labels  (T,) whole numbers, lines of classes.txt from 0, -1 for none; optional
point_labels  (P,) or (T, N), lines of point_classes.txt from 0, 255 for none; optional
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from training.datasets.labelled_video import NO_LABEL, LabelledFrame


@dataclass(frozen=True)
class NpzClip:
    """What a file holds. points: (P, 3) float32, finite; offsets: (T + 1,), where frames begin.

    rate: 0 where the file does not tell it. frame_labels: (T,), point_labels: (P,), or None.
    """

    points: NDArray[np.float32]
    offsets: NDArray[np.int64]
    rate: float
    frame_labels: NDArray[Any] | None
    point_labels: NDArray[Any] | None

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.offsets) - 1

    def frame(self, number: int) -> LabelledFrame:
        """One of them."""
        part = slice(self.offsets[number], self.offsets[number + 1])
        return LabelledFrame(
            self.points[part],
            NO_LABEL if self.frame_labels is None else int(self.frame_labels[number]),
            None if self.point_labels is None else self.point_labels[part].astype(np.uint8),
        )


def read_npz(path: str | Path) -> NpzClip:
    """The whole file. Raises InputError where it is damaged, or an array is of a wrong shape."""
    arrays = _arrays(path, ("points", "counts", "rate", "frame_labels", "point_labels"))
    points = _of_kind(path, arrays, "points", "fiu")
    if points is None or points.ndim not in (2, 3) or points.shape[-1] != 3:
        got = "none" if points is None else points.shape
        raise InputError(f"{path}: points: expected (P, 3) or (T, N, 3), got {got}")
    counts = _of_kind(path, arrays, "counts", "iu")
    if points.ndim == 3:
        _fits(path, "counts", counts, None)
        counts = np.full(len(points), points.shape[1])
    elif counts is None or counts.ndim != 1 or counts.min(initial=0) < 0:
        raise InputError(f"{path}: points {points.shape} need counts (T,), the points of a frame")
    if counts.sum() != points[..., 0].size:
        raise InputError(f"{path}: counts: {counts.sum()} points, but points is {points.shape}")
    frame_labels = _of_kind(path, arrays, "frame_labels", "iu")
    _fits(path, "frame_labels", frame_labels, counts.shape)
    point_labels = _of_kind(path, arrays, "point_labels", "iu")
    _fits(path, "point_labels", point_labels, points.shape[:-1])

    flat = points.reshape(-1, 3).astype(np.float32)
    finite = np.isfinite(flat).all(axis=1)
    kept = np.append(0, np.cumsum(finite))[np.append(0, np.cumsum(counts))]
    return NpzClip(
        flat[finite],
        kept,
        _rate(path, arrays),
        frame_labels,
        None if point_labels is None else point_labels.ravel()[finite],
    )


def read_rate(path: str | Path) -> float:
    """A file's rate without the rest of it; 0 where it has none. Raises InputError."""
    return _rate(path, _arrays(path, ("rate",)))


def _arrays(path: str | Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not an .npz of numbers, or damaged ({text})") from None


def _of_kind(
    path: str | Path, arrays: dict[str, NDArray[Any]], name: str, kinds: str
) -> NDArray[Any] | None:
    array = arrays.get(name)
    if array is not None and array.dtype.kind not in kinds:
        what = "numbers" if "f" in kinds else "whole numbers"
        raise InputError(f"{path}: {name}: expected {what}, got {array.dtype}")
    return array


def _fits(
    path: str | Path, name: str, array: NDArray[Any] | None, shape: tuple[int, ...] | None
) -> None:
    if array is not None and array.shape != shape:
        expected = "none with points (T, N, 3)" if shape is None else shape
        raise InputError(f"{path}: {name}: expected {expected}, got {array.shape}")


def _rate(path: str | Path, arrays: dict[str, NDArray[Any]]) -> float:
    rate = _of_kind(path, arrays, "rate", "fiu")
    if rate is None:
        return 0.0
    if rate.size != 1 or not 0 < float(rate.item()) < np.inf:
        raise InputError(f"{path}: rate: expected frames a second, got {rate}")
    return float(rate.item())
