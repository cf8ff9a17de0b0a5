"""HOI4D: what its three forms share. Names of sequences, the owners' lists, the parts, h5 files.

Liu et al.: "HOI4D: A 4D egocentric dataset for category-level human-object interaction", CVPR 2022.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from training.datasets.labelled_video import LabelledVideo, Source

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

PROTOCOLS = ("official", "local_validation", "without_leak")
"""The first is the usual one."""

EXPECTED = {"train": 2971, "test": 892}
"""Sequences of the owners' lists; the h5 files have a row for each."""

TRAIN_LIST, TEST_LIST = "release.txt", "testset.txt"

TRAIN, LEAKED, TEST = "train", "train_and_test", "test"
"""How names begin. LEAKED: the training copy of a sequence that the test list names as well."""

_HOLDOUT_SHARE = 5
"""Every fifth object instance is held out, as its CRC32 falls."""

_HOLDOUT_FILE = "train4"
"""What is held out where no list tells which object a row shows (Multi-Conv-Res does so)."""

_TRAIN_FILES = ("train1.h5", "train2.h5", "train3.h5", "train4.h5")
_NAME = re.compile(r"(ZY\d+)/(H\d+)/(C\d+)/(N\d+)/(S\d+)/(s\d+)/(T\d+)")


@dataclass(frozen=True, order=True)
class SequenceId:
    """One sequence, as its folders are called: ZY20210800004/H4/C8/N14/S71/s03/T2."""

    camera: str
    subject: str
    category: str
    instance: str
    room: str
    layout: str
    task: str

    @property
    def item(self) -> str:
        """The object instance, such as C8/N14: what a split must not cut."""
        return f"{self.category}/{self.instance}"

    def __str__(self) -> str:
        return "/".join((self.camera, self.subject, self.item, self.room, self.layout, self.task))


def parse(text: str, where: str) -> SequenceId:
    """The sequence of a name; `where` opens the message of the InputError on any other text."""
    match = _NAME.fullmatch(text)
    if not match:
        raise InputError(f"{where}: expected a name like ZY.../H1/C1/N1/S1/s1/T1, got '{text}'")
    return SequenceId(*match.groups())


@dataclass(frozen=True)
class Lists:
    """The owners' lists, in their order; empty where they are not there."""

    train: tuple[SequenceId, ...]
    test: tuple[SequenceId, ...]

    @cached_property
    def leaked(self) -> frozenset[SequenceId]:
        """Sequences of both lists."""
        return frozenset(self.train) & frozenset(self.test)

    def source_name(self, sequence: SequenceId, part: str) -> str:
        """What a sequence is called as a source of "train" or "test"."""
        first = LEAKED if part == TRAIN and sequence in self.leaked else part
        return f"{first}/{sequence}"

    def remarks(self) -> list[str]:
        """What somebody who uses the lists should read."""
        lines = []
        if self.test and len(self.test) != EXPECTED["test"]:
            lines.append(
                f"{TEST_LIST}: {len(self.test)} lines; the challenge's test has "
                f"{EXPECTED['test']}: take the first version of the file, of November 2022"
            )
        if self.leaked:
            lines.append(
                f"{len(self.leaked)} sequences of {TRAIN_LIST} are in {TEST_LIST} as well; their "
                f"names in index.json begin with {LEAKED}/, and protocol without_leak does not "
                "train on them"
            )
        return lines


def read_lists(root: str | Path) -> Lists:
    """release.txt and testset.txt of `root`. Raises InputError on a line that is no name."""
    return Lists(_read_list(Path(root) / TRAIN_LIST), _read_list(Path(root) / TEST_LIST))


def _read_list(path: Path) -> tuple[SequenceId, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); take it from its owners") from None
    return tuple(
        parse(line.strip(), f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    )


def held_out(item: str) -> bool:
    """Whether local_validation keeps an object instance (such as C8/N14) out of training."""
    return zlib.crc32(item.encode()) % _HOLDOUT_SHARE == 0


def protocol(config: DataConfig) -> str:
    """The protocol asked for. Raises InputError if there is no such one."""
    if config.protocol and config.protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise InputError(f"data.protocol: expected one of {known}; got '{config.protocol}'")
    return config.protocol or PROTOCOLS[0]


def part(config: DataConfig, video: Video) -> str:
    """The part that a prepared video belongs to; "" for one that the protocol leaves out.

    Raises InputError where the protocol needs names that the rows did not get.
    """
    chosen = protocol(config)
    if video.split != TRAIN or chosen == "official":
        return video.split
    first = video.name.partition("/")[0]
    named = first in (TRAIN, LEAKED)
    if chosen == "local_validation":
        held = held_out(video.group) if named else video.group == _HOLDOUT_FILE
        return "holdout" if held else TRAIN
    if not named:
        raise InputError(
            f"data.protocol {chosen}: the rows of {config.prepared} have no names; put "
            f"{TRAIN_LIST} and {TEST_LIST} into data.root, delete that folder and prepare again"
        )
    return "" if first == LEAKED else TRAIN


def library(name: str) -> Any:
    """Import what only this data set needs. Raises InputError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"HOI4D needs {name} ({error}): pip install .[training]") from None


@dataclass(frozen=True)
class H5Form:
    """What the h5 files of a challenge hold: `pcd` (S, frames, points, 3) and labels.

    label_key: (S, frames), or (S, frames, points) where point_labels; values 0 to labels - 1.
    test_files: names that the owners have used; the first of them that is there is taken.
    """

    frames: int
    points: int
    label_key: str
    labels: int
    point_labels: bool
    test_files: tuple[tuple[str, ...], ...]

    def label_shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self.frames, self.points) if self.point_labels else (self.frames,)


Reader = Callable[[Path, int, H5Form], Iterable[LabelledVideo]]


def h5_sources(root: str, form: H5Form, read: Reader) -> tuple[list[Source], list[str]]:
    """A source for each row of the h5 files, those of the test last and in order; remarks.

    Raises InputError if there are no files, or one is of another form.
    """
    folder = Path(root)
    train = [folder / name for name in _TRAIN_FILES if (folder / name).is_file()]
    test = next(
        (found for names in form.test_files
         if (found := [folder / name for name in names if (folder / name).is_file()])), [],
    )  # fmt: skip
    if not train and not test:
        raise InputError(
            f"{root}: expected {', '.join(_TRAIN_FILES)} in it, got none of them; "
            "set data.root to the folder of the challenge's files"
        )
    lists = read_lists(folder)
    sources, remarks = [], lists.remarks()
    for files, listed, which, split in (
        (train, lists.train, TRAIN_LIST, TRAIN), (test, lists.test, TEST_LIST, TEST),
    ):  # fmt: skip
        rows = [(file, row) for file in files for row in range(_count_rows(file, form, split))]
        named = len(rows) == len(listed) == len(set(listed))
        if named and rows:
            remarks.append(
                f"the rows of {files[0].name} and so on are taken to follow {which} line by line, "
                "as public code takes them; the owners do not say so"
            )
        elif rows:
            remarks.append(
                f"{split}: {len(rows)} rows, {len(set(listed))} names in {folder / which}: the "
                "rows are named by file, and which object they show is not known"
            )
        for index, (file, row) in enumerate(rows):
            name = f"{file.stem}/{row:04d}"
            group = file.stem
            if named:
                name, group = lists.source_name(listed[index], split), listed[index].item
            sources.append(Source(name, group, split, partial(read, file, row, form)))
    return sources, remarks


def read_row(
    path: Path, row: int, form: H5Form
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """One sequence: (frames, points, 3) float32, and its labels in `form.label_shape()`, if any.

    Raises InputError if the file is damaged, or a label is not one of the form's.
    """
    with _h5_file(path) as file:
        points = np.asarray(file["pcd"][row], np.float32)
        if not _has_labels(file, path, form):
            return points, None
        labels = np.asarray(file[form.label_key][row])
    whole = np.rint(labels).astype(np.int64)
    bad = (whole != labels) | (whole < 0) | (whole >= form.labels)
    if bad.any():
        raise InputError(
            f"{path}, row {row}: expected labels 0 to {form.labels - 1} in '{form.label_key}', "
            f"got {labels[bad][0]}; download the file again"
        )
    return points, whole


def _has_labels(file: Any, path: Path, form: H5Form) -> bool:
    """Files without truth lack the labels, or fill them with zeros."""
    return form.label_key in file and "wolabel" not in path.name


def _count_rows(path: Path, form: H5Form, split: str) -> int:
    """How many sequences a file holds. Raises InputError if it is of another form."""
    with _h5_file(path) as file:
        wanted: dict[str, tuple[tuple[int, ...], str]] = {
            "pcd": ((form.frames, form.points, 3), "f")
        }
        if split == TRAIN or _has_labels(file, path, form):
            wanted[form.label_key] = (form.label_shape(), "iuf")
        rows = set()
        for key, (shape, kinds) in wanted.items():
            if key not in file:
                raise InputError(f"{path}: expected '{key}' in it, got {', '.join(file)}")
            got: tuple[int, ...] = getattr(file[key], "shape", ())
            kind = getattr(file[key], "dtype", None)
            if got[1:] != shape or kind is None or kind.kind not in kinds:
                raise InputError(
                    f"{path}: expected '{key}' (rows, {', '.join(map(str, shape))}) of "
                    f"{'numbers' if 'i' in kinds else 'floats'}, got {got} of {kind}"
                )
            rows.add(got[0])
        if len(rows) > 1:
            raise InputError(f"{path}: 'pcd' and '{form.label_key}' have {sorted(rows)} rows")
        return int(rows.pop())


@contextmanager
def _h5_file(path: Path) -> Iterator[Any]:
    h5py = library("h5py")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({text}); download it again") from None
