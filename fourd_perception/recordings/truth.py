"""The truth of a bag, in the bag's folder: `truth.csv`, one action a line.

    start,end,label
    1764000000.000000000,1764000003.600000000,high_arm_wave

Seconds on the clock of the header stamps, with nine decimals as ROS prints them; `end` is excluded.
So are `truth_other_1.csv` and so on of whoever else does something in it.
Where its clouds have a field `label`, `point_classes.csv` says what the numbers mean:

    number,name
    0,head
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from fourd_perception.errors import InputError
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND
from fourd_perception.whole_file import written

FILE_NAME = "truth.csv"
OTHERS_NAME = "truth_other_{}.csv"
POINT_CLASSES_NAME = "point_classes.csv"
_HEADER = ["start", "end", "label"]
_CLASSES_HEADER = ["number", "name"]
_SECONDS = re.compile(r"(\d+)(?:\.(\d{1,9}))?")


class TruthError(InputError):
    """A truth file cannot be read, or its intervals make no sense."""


def write_truth(path: str | Path, intervals: Sequence[Interval]) -> None:
    """Write intervals, whole or not at all. Raises TruthError as `read_truth` does."""
    path = Path(path)
    rows = []
    last_end = 0
    for line, interval in enumerate(intervals, start=2):
        last_end = _check(interval, last_end, f"{path}, line {line}")
        rows.append((seconds(interval.start), seconds(interval.end), interval.label))
    _write(path, _HEADER, rows)


def read_truth(path: str | Path) -> tuple[Interval, ...]:
    """The intervals of a truth file, in order. Raises TruthError, with the line's number."""
    rows = _read(Path(path), _HEADER)
    intervals: list[Interval] = []
    last_end = 0
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where = f"{path}, line {line}"
        if len(row) != len(_HEADER):
            raise TruthError(f"{where}: expected {len(_HEADER)} values, got {len(row)}")
        interval = Interval(_stamp(row[0], where), _stamp(row[1], where), row[2].strip())
        last_end = _check(interval, last_end, where)
        intervals.append(interval)
    return tuple(intervals)


def write_point_classes(path: str | Path, names: Sequence[str]) -> None:
    """Write what the numbers of points' labels mean, whole or not at all."""
    _write(Path(path), _CLASSES_HEADER, [(str(number), name) for number, name in enumerate(names)])


def read_point_classes(path: str | Path) -> tuple[str, ...]:
    """The names, by number. Raises TruthError, with the line's number."""
    rows = _read(Path(path), _CLASSES_HEADER)
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(_CLASSES_HEADER) or row[0] != str(line - 2) or not row[1].strip():
            raise TruthError(
                f"{path}, line {line}: expected {line - 2},<name>; got {','.join(row)}"
            )
    return tuple(row[1].strip() for row in rows[1:])


def _write(path: Path, header: list[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    with written(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def _read(path: Path, header: list[str]) -> list[list[str]]:
    """All lines, the header's among them."""
    rows = read_rows(path, TruthError)
    if not rows or [name.strip() for name in rows[0]] != header:
        got = ",".join(rows[0]) if rows else "an empty file"
        raise TruthError(f"{path}, line 1: expected {','.join(header)}; got {got[:80]}")
    return rows


def read_rows(path: Path, refused: type[InputError], encoding: str = "utf-8") -> list[list[str]]:
    """The lines of a CSV file. Raises `refused` where it cannot be read, or is none."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            return list(csv.reader(file, strict=True))
    except OSError as error:
        raise refused(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise refused(f"{path}: not a CSV file: {error}") from None


def seconds(stamp: int) -> str:
    """A stamp in nanoseconds as seconds with nine decimals, exactly."""
    return f"{stamp // SECOND}.{stamp % SECOND:09d}"


def _stamp(text: str, where: str) -> int:
    match = _SECONDS.fullmatch(text.strip())
    if not match:
        raise TruthError(f"{where}: expected seconds such as 1764000000.25, got '{text[:40]}'")
    return int(match[1]) * SECOND + int((match[2] or "").ljust(9, "0"))


def _check(interval: Interval, last_end: int, where: str) -> int:
    """The interval's end, if it comes after the one before."""
    if not interval.label:
        raise TruthError(f"{where}: the label is empty")
    if interval.end <= interval.start:
        raise TruthError(
            f"{where}: ends at {seconds(interval.end)}, not after its start "
            f"{seconds(interval.start)}"
        )
    if interval.start < last_end:
        raise TruthError(
            f"{where}: starts at {seconds(interval.start)}, before the end of the line above "
            f"({seconds(last_end)}); actions follow each other in time and do not overlap"
        )
    return interval.end
