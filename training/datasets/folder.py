"""Your own recordings: a folder with a table, `labels.csv`, and the files that it names.

    file,start,end,label,group,split
    kitchen/monday.mcap,2.0,5.5,pour,anna,train
    kitchen/monday.mcap,5.5,9.0,wipe,anna,train
    office.npz,,,wave,ben,test

A line is one video. file: a rosbag2 or a ROS 1 bag with one topic of clouds, or an .npz clip.
start, end: seconds from the start of the bag or clip; empty: all of it; lines may overlap.
group: what a split must not cut, such as who acts; empty: the file. split: train (if empty) or
test. The columns file and label are needed, in any order. `classes.txt` and `point_classes.txt`, a
name a line, may stand beside the table; without the first the classes are the labels, sorted.
"""

from __future__ import annotations

import csv
import hashlib
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.stream.frame import SECOND
from training.datasets.bag_clouds import read_clouds
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)
from training.datasets.npz_clip import read_npz, read_rate
from training.datasets.prepared import PreparedVideos

if TYPE_CHECKING:
    from training.config import DataConfig

_TABLE, _CLASSES, _POINT_CLASSES = "labels.csv", "classes.txt", "point_classes.txt"
_NEEDED = ("file", "label")
_OPTIONAL = ("start", "end", "group", "split")
_CLIP = ".npz"
_AGREE = 0.05
_TO_MEASURE = 100
_TO_COMPARE = 10
"""Clouds from which a rate is measured; fewer than the second say too little to be compared."""


@dataclass(frozen=True)
class Line:
    """A line of the table. where: its path and number, which open every error about it."""

    where: str
    number: int
    file: str
    path: Path
    start: float
    end: float
    label: str
    group: str
    split: str

    @property
    def is_clip(self) -> bool:
        """An .npz file; everything else is a bag."""
        return self.path.suffix == _CLIP


@dataclass(frozen=True)
class Names:
    """What labels mean. listed: the classes of classes.txt, which frame_labels count."""

    classes: tuple[str, ...]
    listed: tuple[str, ...]
    point_classes: tuple[str, ...]


def open_data_set(config: DataConfig) -> DataSet:
    """One source a line. The rate is that of the first file that tells one."""
    root = Path(config.root)
    lines = read_table(root)
    listed = _names(root / _CLASSES)
    classes = listed or tuple(sorted({line.label for line in lines if line.label}))
    for line in lines:
        if line.label and line.label not in classes:
            raise InputError(f"{line.where}: label '{line.label}' is not in {_CLASSES}")
    names = Names(classes, listed, _names(root / _POINT_CLASSES))
    rate = _first_rate(lines)
    sources = [
        Source(f"{line.file}_line{line.number}", line.group, line.split,
               partial(read, line, rate, names))
        for line in lines
    ]  # fmt: skip
    remarks = [f"the recordings run at {rate:g} Hz: clip.rate must fit"]
    groups = {part: {one.group for one in lines if one.split == part} for part in ("train", "test")}
    both = sorted(groups["train"] & groups["test"])
    if both:
        remarks.append(f"in train and in test: {', '.join(both[:5])}; the test is no fair one")
    return DataSet(rate, names.classes, sources, names.point_classes, remarks=tuple(remarks))


def choice(config: DataConfig) -> dict[str, str]:
    """A digest of the tables, so that a change of them is seen.

    Where the folder is not at hand, the prepared one is believed.
    """
    root = Path(config.root)
    if (root / _TABLE).exists():
        digest = hashlib.sha256()
        for path in (root / _TABLE, root / _CLASSES, root / _POINT_CLASSES):
            digest.update(repr(path.read_bytes() if path.exists() else None).encode())
        return {"tables": digest.hexdigest()[:16]}
    if Path(config.prepared).exists():
        return {"tables": PreparedVideos(config.prepared).made_of.get("tables", "")}
    return {"tables": ""}


def read(line: Line, rate: float, names: Names) -> Iterable[LabelledVideo]:
    """One line: one video, at `rate`."""
    label = names.classes.index(line.label) if line.label else NO_LABEL
    return [LabelledVideo(label, _frames(line, rate, names))]


def read_table(root: Path) -> list[Line]:
    """The lines of `labels.csv`. Raises InputError, with the line's number."""
    path = root / _TABLE
    lines: list[Line] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # as spreadsheets write it
            rows = csv.DictReader(file, strict=True)
            header = [name.strip() for name in rows.fieldnames or ()]
            rows.fieldnames = header
            known = {*_NEEDED, *_OPTIONAL}
            if not set(_NEEDED) <= set(header) <= known or len(set(header)) < len(header):
                raise InputError(
                    f"{path}, line 1: expected the columns {', '.join(_NEEDED)}, and perhaps "
                    f"{', '.join(_OPTIONAL)}, separated by commas; got {','.join(header)[:80]}"
                )
            lines = [_line(root, row, f"{path}, line {rows.line_num}", rows.line_num)
                     for row in rows]  # fmt: skip
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    if not lines:
        raise InputError(f"{path}: no line below its header")
    return lines


def _line(root: Path, row: dict[str | None, str | None], where: str, number: int) -> Line:
    if None in row or None in row.values():
        raise InputError(f"{where}: expected as many values as there are columns")
    cell = {name: (value or "").strip() for name, value in row.items()}
    file, label, split = cell["file"], cell["label"], cell.get("split") or "train"
    path = root / file
    if not file or not path.exists():
        raise InputError(f"{where}: no such file: '{file}'; give it relative to {root}")
    if split not in ("train", "test"):
        raise InputError(f"{where}: split: expected train or test, got '{split}'")
    if not label and path.suffix != _CLIP:
        raise InputError(f"{where}: the label is empty; only {_CLIP} files have labels in them")
    start = _seconds(cell.get("start") or "0", where)
    end = _seconds(cell["end"], where) if cell.get("end") else math.inf
    if start >= end:
        raise InputError(f"{where}: ends at {end:g} s, not after its start {start:g} s")
    return Line(where, number, file, path, start, end, label, cell.get("group") or file, split)


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{where}: expected seconds from the file's start, got '{text[:40]}'")
    return seconds


def _names(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line; none where there is no file."""
    if not path.exists():
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not 0 < len(names) == len(set(names)) <= NO_POINT_LABEL:
        raise InputError(f"{path}: expected 1 to {NO_POINT_LABEL} names, one a line, each once")
    return names


def _first_rate(lines: Sequence[Line]) -> float:
    """Of the first file that tells it."""
    first_lines: dict[Path, Line] = {}
    for line in lines:
        first_lines.setdefault(line.path, line)
    for line in first_lines.values():
        with _said_of(line):
            rate = read_rate(line.path) if line.is_clip else _bag_rate(line.path)
        if rate:
            return rate
    raise InputError(f"{lines[0].path}: tells no rate, nor does another; add 'rate' to an {_CLIP}")


def _bag_rate(path: Path) -> float:
    """The whole number nearby, which a camera's rate is meant to be; else with one decimal."""
    rate = _rate([cloud.stamp for cloud in islice(read_clouds(path), _TO_MEASURE)])
    return float(round(rate)) if abs(rate - round(rate)) < 0.02 * rate else round(rate, 1)


def _rate(stamps: Sequence[int]) -> float:
    """Clouds a second, by the median distance of stamps; 0 where there is none."""
    distances = [later - earlier for earlier, later in pairwise(stamps)]
    middle = statistics.median(distances) if distances else 0
    return SECOND / middle if middle > 0 else 0.0


def _check_rate(line: Line, found: float, rate: float) -> None:
    if abs(found - rate) > _AGREE * rate:
        raise InputError(
            f"{line.path}: {found:.4g} frames a second, but the first file has {rate:g}: "
            f"expected all within {_AGREE:.0%}; put it into a folder of its own"
        )


def _check_some(line: Line, frames: int) -> None:
    if not frames:
        end = f"{line.end:g} s" if line.end < math.inf else "its end"
        raise InputError(
            f"{line.path}: nothing in it from {line.start:g} s to {end}; expected seconds from "
            "the file's start"
        )


def _frames(line: Line, rate: float, names: Names) -> Iterator[LabelledFrame]:
    with _said_of(line):
        yield from _clip_frames(line, rate, names) if line.is_clip else _bag_frames(line, rate)


def _bag_frames(line: Line, rate: float) -> Iterator[LabelledFrame]:
    """The rate is judged at the end, because the clouds are read as they are wanted."""
    stamps: list[int] = []
    for cloud in read_clouds(line.path, line.start, line.end):
        stamps.append(cloud.stamp)
        yield LabelledFrame(cloud.points)
    _check_some(line, len(stamps))
    if len(stamps) >= _TO_COMPARE:
        _check_rate(line, _rate(stamps), rate)


def _clip_frames(line: Line, rate: float, names: Names) -> Iterator[LabelledFrame]:
    clip = read_npz(line.path)
    if not line.label and clip.frame_labels is None:
        raise InputError(f"{line.path}: no frame_labels in it, and the table gives no label")
    _check_labels(line, "frame_labels", clip.frame_labels, names.listed, NO_LABEL)
    _check_labels(line, "point_labels", clip.point_labels, names.point_classes, NO_POINT_LABEL)
    own = clip.rate or rate
    _check_rate(line, own, rate)
    inside = [one for one in range(clip.frames) if line.start <= one / own < line.end]
    _check_some(line, len(inside))
    yield from map(clip.frame, inside)


def _check_labels(
    line: Line, what: str, labels: NDArray[Any] | None, known: tuple[str, ...], none: int
) -> None:
    if labels is None:
        return
    wrong = labels[(labels != none) & ((labels < 0) | (labels >= len(known)))]
    if wrong.size:
        file = _CLASSES if none == NO_LABEL else _POINT_CLASSES
        raise InputError(
            f"{line.path}: {what}: {wrong[0]} is not a line of {file}, which has {len(known)} "
            f"(counted from 0; {none} for none)"
        )


@contextmanager
def _said_of(line: Line) -> Iterator[None]:
    """Errors of the block name the table's line."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{line.where}: {error}") from None
