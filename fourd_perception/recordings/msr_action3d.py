"""MSR-Action3D: real Kinect depth of 20 actions by 10 people, from its folder.

Li, Zhang, Liu: "Action recognition based on a bag of 3D points", CVPR4HB 2010. The people are
segmented already: 0 is background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND

ACTIONS = (
    "high_arm_wave", "horizontal_arm_wave", "hammer", "hand_catch", "forward_punch",
    "high_throw", "draw_x", "draw_tick", "draw_circle", "hand_clap",
    "two_hand_wave", "side_boxing", "bend", "forward_kick", "side_kick",
    "jogging", "tennis_swing", "tennis_serve", "golf_swing", "pickup_and_throw",
)  # fmt: skip
"""Action 1 to 20, in the order of the file names."""

RATE = 15.0
"""Frames a second."""

METRES_PER_UNIT = 0.0052
"""One raw depth unit; measured against the data set's own skeletons, which are in metres."""

INTRINSICS = Intrinsics(width=320, height=240, fx=280.0, fy=280.0, cx=160.0, cy=120.0)
"""The camera as PSTNet and its successors back-project this data set."""

TRAIN_SUBJECTS = (1, 2, 3, 4, 5)
TEST_SUBJECTS = (6, 7, 8, 9, 10)
"""The field's cross-subject protocol."""

_NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_sdepth\.(mat|bin)")
_EXPECTED = "expected files named a01_s01_e01_sdepth.mat (or .bin) in it or in its folder 'depth'"
_BIN_HEADER = np.dtype("<i4")
_BIN_HEADER_ITEMS = 3


class MsrError(InputError):
    """The folder is not MSR-Action3D, or one of its files is damaged."""


@dataclass(frozen=True, order=True)
class SequenceId:
    """One sequence, as the file names count: from 1."""

    action: int
    subject: int
    repetition: int

    @property
    def label(self) -> str:
        """The action's name."""
        return ACTIONS[self.action - 1]

    def __str__(self) -> str:
        return f"a{self.action:02d}_s{self.subject:02d}_e{self.repetition:02d}"


def files(root: str | Path) -> dict[SequenceId, Path]:
    """The file of every sequence under `root`. Raises MsrError where none is."""
    root = Path(root)
    if not root.is_dir():
        raise MsrError(f"{root}: no such folder; {_EXPECTED}")
    folder = root / "depth" if (root / "depth").is_dir() else root
    found: dict[SequenceId, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # so that .mat wins over .bin
        match = _NAME.fullmatch(path.name)
        if match and 1 <= int(match[1]) <= len(ACTIONS):
            found[SequenceId(*(int(match[group]) for group in (1, 2, 3)))] = path
    if not found:
        raise MsrError(f"{root}: no MSR-Action3D sequence; {_EXPECTED}")
    return found


def list_sequences(root: str | Path) -> list[SequenceId]:
    """All sequences under `root`, by action, subject, repetition. Raises MsrError where none is."""
    return sorted(files(root))


def draw(
    root: str | Path, subjects: Sequence[int], seed: int, *, seconds: float
) -> list[SequenceId]:
    """Sequences of `subjects` in random order, enough for `seconds`, or all where there are fewer.

    Raises MsrError where the subjects have none.
    """
    theirs = {one: path for one, path in files(root).items() if one.subject in subjects}
    if not theirs:
        raise MsrError(f"{root}: no sequence of subjects {', '.join(map(str, subjects))}")
    drawn: list[SequenceId] = []
    frames = 0
    for index in np.random.default_rng(seed).permutation(len(theirs)):
        if frames >= seconds * RATE:
            break
        drawn.append(sorted(theirs)[index])
        frames += count_frames(theirs[drawn[-1]])
    return drawn


def read_depth(path: str | Path) -> NDArray[np.float32]:
    """The frames of one file. (T, 240, 320) float32, metres along z, 0 where there is no person.

    Raises MsrError where the file is missing, damaged or of another kind.
    """
    path = Path(path)
    raw = _read_mat(path) if path.suffix == ".mat" else _read_bin(path)
    return raw.astype(np.float32) * np.float32(METRES_PER_UNIT)


def count_frames(path: str | Path) -> int:
    """How many frames a file holds, from its header. Raises MsrError as `read_depth` does."""
    path = Path(path)
    return _mat_shape(path)[2] if path.suffix == ".mat" else _bin_shape(path)[0]


def recording(root: str | Path, sequences: Sequence[SequenceId]) -> Recording:
    """Sequences joined one after another, each an interval of the truth; stamps start at 0.

    Frames are read when they are asked for. Raises MsrError where a sequence is missing.
    """
    if not sequences:
        raise MsrError(f"{root}: no sequence was asked for")
    present = files(root)
    missing = [str(one) for one in sequences if one not in present]
    if missing:
        raise MsrError(f"{root}: no depth for {', '.join(missing[:5])}")
    paths = [present[one] for one in sequences]
    bounds = np.cumsum([0] + [count_frames(path) for path in paths])
    truth = tuple(
        Interval(_stamp(int(first)), _stamp(int(end)), one.label)
        for one, first, end in zip(sequences, bounds[:-1], bounds[1:])
    )

    def frames() -> Iterator[RecordedFrame]:
        index = 0
        for path in paths:
            for depth in read_depth(path):
                yield RecordedFrame(_stamp(index), depth, depth > 0)
                index += 1

    return Recording(
        name="msr_action3d",
        rate=RATE,
        intrinsics=INTRINSICS,
        classes=ACTIONS,
        truth=truth,
        frame_count=int(bounds[-1]),
        frames=frames,
    )


def _stamp(index: int) -> int:
    return round(index * SECOND / RATE)


def _mat_shape(path: Path) -> tuple[int, int, int]:
    try:
        contents = {name: shape for name, shape, _ in scipy.io.whosmat(str(path))}
    except Exception as error:  # noqa: BLE001 - scipy raises a dozen kinds
        raise _damaged(path, error) from None
    return _checked_shape(path, contents)


def _read_mat(path: Path) -> NDArray[Any]:
    try:
        found = scipy.io.loadmat(str(path))
    except Exception as error:  # noqa: BLE001 - as above
        raise _damaged(path, error) from None
    _checked_shape(path, {name: np.shape(array) for name, array in found.items() if name[0] != "_"})
    depth = found["depth"]
    if depth.dtype != np.uint16:
        raise MsrError(f"{path}: expected 'depth' as uint16, got {depth.dtype}")
    return np.ascontiguousarray(depth.transpose(2, 0, 1))


def _checked_shape(path: Path, contents: dict[str, Any]) -> tuple[int, int, int]:
    shape = contents.get("depth", ())
    image = (INTRINSICS.height, INTRINSICS.width)
    if len(shape) != 3 or shape[:2] != image or not shape[2]:
        raise MsrError(
            f"{path}: expected 'depth', {image + ('T',)}; got {contents or 'no variable'}"
        )
    return shape


def _bin_shape(path: Path) -> tuple[int, int, int]:
    try:
        size = path.stat().st_size
        header = np.fromfile(path, _BIN_HEADER, _BIN_HEADER_ITEMS)
    except OSError as error:
        raise _damaged(path, error) from None
    frames, columns, rows = header.tolist() if header.size == _BIN_HEADER_ITEMS else (0, 0, 0)
    if frames < 1 or (rows, columns) != (INTRINSICS.height, INTRINSICS.width):
        raise MsrError(
            f"{path}: expected a header of frames, {INTRINSICS.width} columns, "
            f"{INTRINSICS.height} rows (int32); got {header.tolist()}"
        )
    expected = _BIN_HEADER.itemsize * (_BIN_HEADER_ITEMS + frames * rows * columns)
    if size != expected:
        raise MsrError(
            f"{path}: {frames} frames of int32 depth are {expected} bytes, the file has {size}: "
            "cut short, or with skeleton bytes between the rows; take the original release"
        )
    return frames, rows, columns


def _read_bin(path: Path) -> NDArray[np.int32]:
    shape = _bin_shape(path)
    return np.fromfile(path, _BIN_HEADER, offset=_BIN_HEADER.itemsize * _BIN_HEADER_ITEMS).reshape(
        shape
    )


def _damaged(path: Path, error: Exception) -> MsrError:
    if not path.is_file():
        return MsrError(f"{path}: no such file")
    text = " ".join(str(error).split()) or type(error).__name__
    return MsrError(f"{path}: damaged, or not a depth file ({text}); copy it again")
