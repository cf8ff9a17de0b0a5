"""The truth of bags: a CSV of labelled times for several of them, or a bag's own truth.csv.

    bag,start,end,label
    kitchen_1,3.5,7.25,drink
    kitchen_1,1764000010.000000000,1764000012.5,wave

`bag` is the bag's name or path; times are seconds on the clock of the header stamps, or from the
bag's first cloud on; `end` is excluded.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from fourd_perception.checkpoint import ModelCard
from fourd_perception.errors import InputError
from fourd_perception.recordings.recording import Interval
from fourd_perception.recordings.truth import (
    FILE_NAME,
    POINT_CLASSES_NAME,
    read_point_classes,
    read_rows,
    read_truth,
)
from fourd_perception.stream.frame import SECOND

_COLUMNS = ("bag", "start", "end", "label")
_FILES = (".mcap", ".db3", ".bag")
_SHOWN_NAMES = 5


class LabelError(InputError):
    """A file of labels cannot be read, or a line of it makes no sense."""


@dataclass(frozen=True)
class LabelLine:
    """One line of a label file. start, end: nanoseconds as they stand there."""

    number: int
    bag: str
    start: int
    end: int
    label: str


@dataclass(frozen=True)
class LabelFile:
    """The lines of a label file, in its order. path: what messages call it. unit: what they call a
    line of it."""

    path: Path | str
    lines: tuple[LabelLine, ...]
    unit: str = "line"

    def of_bag(self, bag: Path) -> list[LabelLine]:
        """Those of one bag, by the time of their start."""
        own = [one for one in self.lines if is_of(one.bag, bag)]
        return sorted(own, key=lambda one: (one.start, one.end, one.number))

    def strangers(self, bags: Iterable[Path]) -> list[str]:
        """A line for each bag that the file speaks of and that is none of `bags`."""
        known = list(bags)
        others: dict[str, list[int]] = {}
        for one in self.lines:
            if not any(is_of(one.bag, bag) for bag in known):
                others.setdefault(one.bag, []).append(one.number)
        return [
            f"{self.path}, {self.unit} {numbers[0]}"
            + (f" and {len(numbers) - 1} more" if len(numbers) > 1 else "")
            + f": labels for the bag '{bag:.80}', which is not evaluated here"
            for bag, numbers in others.items()
        ]


@dataclass(frozen=True)
class BagTruth:
    """The truth of one bag: intervals in nanoseconds of its stamps, in order, without overlap.

    problems: a line each on what is not judged, and why. clock: how the times were understood.
    """

    intervals: tuple[Interval, ...]
    problems: tuple[str, ...]
    clock: str


def is_of(name: str, bag: Path) -> bool:
    """Whether a name, or path, in a label file means this bag; a file's suffix may be left out."""
    given, path = Path(name), bag.resolve()
    names = {path.name, path.stem} if path.suffix in _FILES else {path.name}
    folders = given.parts[:-1]
    return given.name in names and path.parts[:-1][-len(folders) or len(path.parts) :] == folders


def read_labels(path: str | Path) -> LabelFile:
    """A label file. Raises LabelError, with the line's number, where it cannot be read, or a line
    has no label, times that are no numbers, or an end that is not after its start."""
    path = Path(path)
    rows = read_rows(path, LabelError, "utf-8-sig")
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if sorted(header) != sorted(_COLUMNS):
        got = ",".join(header) or "an empty file"
        raise LabelError(f"{path}, line 1: expected {','.join(_COLUMNS)}; got {got[:80]}")
    lines = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(value.strip() for value in row):
            continue
        where = f"{path}, line {number}"
        if len(row) != len(header):
            raise LabelError(f"{where}: expected {len(header)} values, got {len(row)}")
        value = {name: text.strip() for name, text in zip(header, row)}
        start, end = _time(value["start"], where), _time(value["end"], where)
        if end <= start:
            raise LabelError(f"{where}: ends at {value['end']}, not after {value['start']}")
        if not value["label"] or not value["bag"]:
            raise LabelError(f"{where}: the {'bag' if value['label'] else 'label'} is empty")
        lines.append(LabelLine(number, value["bag"], start, end, value["label"]))
    return LabelFile(path, tuple(lines))


def own_labels(bag: Path) -> LabelFile | None:
    """The truth.csv in a bag's folder; None where there is none. Raises TruthError."""
    path = bag / FILE_NAME
    if not path.is_file():
        return None
    found = read_truth(path)
    return LabelFile(
        path,
        tuple(
            LabelLine(number, bag.name, one.start, one.end, one.label)
            for number, one in enumerate(found, start=2)
        ),
    )


def bag_truth(
    file: LabelFile, bag: Path, first: int, last: int, classes: Sequence[str]
) -> BagTruth:
    """What a file says of a bag whose clouds have stamps from `first` to `last`, nanoseconds.

    The times of a bag count from its first cloud if the earliest of them lies before that cloud's
    stamp. Labels that are no class of the model, times outside of the bag, and times that two lines
    claim are left out; they and gaps are said with their line numbers.
    """
    lines = file.of_bag(bag)
    if not lines:
        return BagTruth((), (f"{file.path}: no {file.unit} for the bag '{bag.name}'",), "")
    relative = lines[0].start < first
    shift = first if relative else 0
    problems: list[str] = []
    inside = []
    for one in lines:
        where = f"{file.path}, {file.unit} {one.number}"
        start, end = one.start + shift, one.end + shift
        if start > last or end <= first:
            problems.append(
                f"{where}: outside of the bag, whose clouds last {_seconds(last - first)} s; "
                "not judged"
            )
            continue
        if start < first or end > last + SECOND:
            problems.append(f"{where}: reaches out of the bag; judged as far as there are clouds")
        inside.append((start, end, one))
    found, overlaps = _untangled(file, inside)
    problems += overlaps + _gaps(file, inside, first)
    problems += _unknown(file, [one for _, _, one in inside], classes)
    intervals = tuple(one for one in found if one.label in classes)
    clock = "seconds from the bag's first cloud" if relative else "the clock of the header stamps"
    return BagTruth(intervals, tuple(problems), clock)


def _untangled(
    file: LabelFile, lines: Sequence[tuple[int, int, LabelLine]]
) -> tuple[list[Interval], list[str]]:
    """Intervals without the times that several lines claim, which nobody can judge."""
    problems = []
    claimed: list[tuple[int, int]] = []
    reach: tuple[int, LabelLine] | None = None
    for start, end, one in lines:
        if reach is not None and start < reach[0]:
            both = min(end, reach[0])
            claimed.append((start, both))
            problems.append(
                f"{file.path}, {file.unit} {one.number}: overlaps {file.unit} {reach[1].number} "
                f"for {_seconds(both - start)} s; that time is not judged"
            )
        if reach is None or end > reach[0]:
            reach = (end, one)
    found = []
    for start, end, one in lines:
        for cut_start, cut_end in claimed:
            if cut_start < end and start < cut_end:
                if start < cut_start:
                    found.append(Interval(start, cut_start, one.label))
                start = max(start, cut_end)
        if start < end:
            found.append(Interval(start, end, one.label))
    return sorted(found, key=lambda one: one.start), problems


def _gaps(file: LabelFile, lines: Sequence[tuple[int, int, LabelLine]], first: int) -> list[str]:
    problems = []
    reach, before = (lines[0][1], lines[0][2]) if lines else (first, None)
    for start, end, one in lines[1:]:
        if start > reach and before is not None:
            problems.append(
                f"{file.path}, {file.unit}s {before.number} and {one.number}: nothing is labelled "
                f"for {_seconds(start - reach)} s between them; not judged"
            )
        if end > reach:
            reach, before = end, one
    return problems


def _unknown(file: LabelFile, lines: Sequence[LabelLine], classes: Sequence[str]) -> list[str]:
    numbers: dict[str, list[int]] = {}
    for one in lines:
        if one.label not in classes:
            numbers.setdefault(one.label, []).append(one.number)
    problems = []
    for label, where in numbers.items():
        near = difflib.get_close_matches(label, classes, n=1)
        known = f"did you mean '{near[0]}'?" if near else (
            f"it knows {', '.join(classes[:_SHOWN_NAMES])}"
            + (f" and {len(classes) - _SHOWN_NAMES} more" if len(classes) > _SHOWN_NAMES else "")
        )  # fmt: skip
        lines_ = ", ".join(str(number) for number in sorted(where)[:10])
        more = f" and {len(where) - 10} more" if len(where) > 10 else ""
        problems.append(
            f"{file.path}, {file.unit} {lines_}{more}: the model has no class '{label:.60}' "
            f"({known}); not judged"
        )
    return problems


def _time(text: str, where: str) -> int:
    """Nanoseconds of seconds in decimals, exactly."""
    try:
        value = Decimal(text)
        if not value.is_finite() or value < 0 or value > Decimal(2**63) / SECOND:
            raise InvalidOperation
    except InvalidOperation:
        raise LabelError(f"{where}: expected seconds such as 12.5, got '{text:.40}'") from None
    return int((value * SECOND).to_integral_value())


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / SECOND:.3f}".rstrip("0").rstrip(".")


def check_point_classes(bag: str | Path, card: ModelCard) -> None:
    """Refuse labels of other points than a model's, where the bag's folder says what they are.

    Raises InputError, also where that file cannot be read.
    """
    names = Path(bag) / POINT_CLASSES_NAME
    if names.is_file() and read_point_classes(names) != card.classes:
        raise InputError(
            f"{names}: its classes are not those of {card.name}, which are "
            f"{', '.join(card.classes)}; take the model that was trained on them"
        )
