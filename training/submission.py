"""A challenge's file of answers: HOI4D's pred.npy, a row for each sequence of the test file."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from training.datasets import hoi4d_actions, hoi4d_semantic

_ENTRY = np.dtype("<i8")


@dataclass(frozen=True)
class Challenge:
    """What is handed in: (rows,) + shape int64, of the owners' own labels.

    labels: the owners' label for each class of the model.
    """

    rows: int
    shape: tuple[int, ...]
    labels: tuple[int, ...]


CHALLENGES = {
    "hoi4d_actions": Challenge(
        rows=892,
        shape=hoi4d_actions.FORM.label_shape(),
        labels=tuple(range(hoi4d_actions.FORM.labels)),
    ),
    "hoi4d_semantic": Challenge(
        rows=892,
        shape=hoi4d_semantic.FORM.label_shape(),
        labels=tuple(range(hoi4d_semantic.FIRST_LABEL, hoi4d_semantic.FORM.labels)),
    ),
}
"""By the name of the data set."""


class Submission:
    """Writes a challenge's file row by row, without holding more than one.

    Used as a context manager: at its end everything is checked to be there and the file gets its
    name; if the block raises, nothing is left.

        with Submission("pred.npy", CHALLENGES["hoi4d_actions"], names) as file:
            for name, answers in ...:
                file.write(name, answers)
    """

    def __init__(self, path: str | Path, challenge: Challenge, videos: Sequence[str]) -> None:
        """videos: names of the test videos in the order of the test file, as `prepare` keeps it.

        Raises InputError if they are not as many as the challenge wants, if a name comes twice, or
        if the file cannot be made.
        """
        self._path, self._challenge = Path(path), challenge
        self._rows = {name: row for row, name in enumerate(videos)}
        self._missing = dict.fromkeys(videos)
        if len(videos) != challenge.rows or len(self._rows) != challenge.rows:
            raise InputError(
                f"{path}: the challenge wants {challenge.rows} sequences, got {len(videos)} "
                f"({len(self._rows)} different): prepare the whole of the test file"
            )
        self._row_bytes = int(np.prod(challenge.shape)) * _ENTRY.itemsize
        self._part = self._path.with_name(self._path.name + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._path.parent).free
            if free < challenge.rows * self._row_bytes:
                raise InputError(
                    f"{path}: it takes {challenge.rows * self._row_bytes / 1e9:.1f} GB, of which "
                    f"{free / 1e9:.1f} are free: name a file on another disk"
                )
            self._file = open(self._part, "wb")  # noqa: SIM115 - closed by close or discard
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None
        header = {"descr": _ENTRY.str, "fortran_order": False,
                  "shape": (challenge.rows, *challenge.shape)}  # fmt: skip
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()

    def write(self, video: str, classes: NDArray[np.integer]) -> None:
        """The answer for one video: the model's classes, in the challenge's shape.

        Points in the order of the test file. Rows may come in any order. Raises InputError on a
        name that is not the test's or came before, another shape or type, or a class that the
        model cannot have.
        """
        where, shape = f"{self._path}: {video}", self._challenge.shape
        if video not in self._missing:
            known = "came before" if video in self._rows else "is not a video of the test"
            raise InputError(f"{where} {known}; write each of the {len(self._rows)} once")
        if classes.shape != shape or classes.dtype.kind not in "iu":
            raise InputError(
                f"{where}: expected {shape} whole numbers, got {classes.shape} {classes.dtype}; "
                "the test is prepared and judged with all its frames and points"
            )
        count = len(self._challenge.labels)
        if classes.min() < 0 or classes.max() >= count:
            raise InputError(
                f"{where}: expected classes 0 to {count - 1}, got {classes.min()} to "
                f"{classes.max()}; a frame or a point without an answer cannot be handed in"
            )
        row = np.asarray(self._challenge.labels, _ENTRY)[classes]
        try:
            self._file.seek(self._start + self._rows[video] * self._row_bytes)
            self._file.write(row.tobytes())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None
        del self._missing[video]

    def close(self) -> None:
        """Give the file its name. Raises InputError, and leaves nothing, if a video is missing."""
        if self._missing:
            lacking = len(self._missing)
            first = next(iter(self._missing))
            self.discard()
            raise InputError(
                f"{self._path}: no answer for {lacking} of {len(self._rows)} videos, {first} for "
                "one; nothing is written"
            )
        try:
            self._file.close()
            os.replace(self._part, self._path)
        except OSError as error:
            self.discard()
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None

    def discard(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(OSError):  # what a full disk did not take
            self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
