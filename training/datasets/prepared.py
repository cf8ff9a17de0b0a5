"""Videos of points on disk: what every data set is turned into once, and is then read from lazily.

A prepared folder holds `points.npy` ((P, 3) float32, metres, all frames one after another),
`offsets.npy` ((F + 1,) int64, where each frame begins) and `index.json`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from fourd_perception.errors import InputError
from fourd_perception.recordings.recording import Interval, Recording

_FORMAT = 2


@dataclass(frozen=True)
class Source:
    """One recording to prepare. `group` is what a split must not cut: a subject, a seed."""

    name: str
    group: str
    split: str
    record: Callable[[], Recording]
    """Picklable, because it is called in a worker process."""


@dataclass(frozen=True)
class Video:
    """One action, from its first to its last frame."""

    name: str
    group: str
    split: str
    label: int
    first: int
    frames: int


class PreparedVideos:
    """The videos of a prepared folder. Points are mapped, not loaded."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError if the folder is not a prepared data set, or is damaged."""
        folder = Path(folder)
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            self._points = np.load(folder / "points.npy", mmap_mode="r")
            self._offsets = np.load(folder / "offsets.npy")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: not a prepared data set: {error}") from None
        if index.get("format") != _FORMAT or self._offsets[-1] != len(self._points):
            raise InputError(f"{folder}: damaged, or of another version; delete it to make it anew")
        self.rate = float(index["rate"])
        """Frames a second."""
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.made_of: dict[str, Any] = index["made_of"]
        """What `prepare` was told that it is made of."""
        self.videos = [Video(**video) for video in index["videos"]]

    def frame(self, video: Video, number: int) -> NDArray[np.float32]:
        """The points of one frame: (N, 3) float32, metres, finite."""
        at = video.first + number
        return self._points[self._offsets[at] : self._offsets[at + 1]]


def prepare(
    sources: Sequence[Source],
    folder: str | Path,
    made_of: dict[str, Any] | None = None,
    workers: int = 2,
) -> None:
    """Turn recordings into a prepared folder, whole or not at all; progress is shown.

    Every interval of a recording's truth becomes a video of its foreground points. made_of: plain
    data that says which recordings these are. Raises InputError if there is nothing to prepare, or
    recordings disagree on classes or rate.
    """
    folder = Path(folder)
    if not sources:
        raise InputError(f"{folder}: nothing to prepare")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write(sources, part, made_of or {}, workers)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def _write(sources: Sequence[Source], part: Path, made_of: dict[str, Any], workers: int) -> None:
    counts: list[int] = []
    videos: list[Video] = []
    common: tuple[tuple[str, ...], float] | None = None
    with ProcessPoolExecutor(workers) as pool, open(part / "raw", "wb") as raw:
        jobs = pool.map(_read, [source.record for source in sources])
        for source, (classes, rate, intervals) in tqdm(
            zip(sources, jobs), total=len(sources), desc=f"preparing {part.stem}", unit="rec"
        ):
            common = common or (classes, rate)
            if common != (classes, rate):
                raise InputError(f"{source.name}: its classes or rate are not those of the others")
            for number, (interval, frames) in enumerate(intervals):
                videos.append(
                    Video(
                        name=f"{source.name}/{number}",
                        group=source.group,
                        split=source.split,
                        label=classes.index(interval.label),
                        first=len(counts),
                        frames=len(frames),
                    )
                )
                counts.extend(len(points) for points in frames)
                raw.writelines(points.tobytes() for points in frames)
    assert common is not None
    offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    np.save(part / "offsets.npy", offsets)
    _raw_to_npy(part / "raw", part / "points.npy", int(offsets[-1]))
    index = {
        "format": _FORMAT,
        "made_of": made_of,
        "rate": common[1],
        "classes": common[0],
        "videos": [asdict(video) for video in videos],
    }
    (part / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _read(record: Callable[[], Recording]) -> tuple[tuple[str, ...], float, list[Any]]:
    """In a worker: the foreground points of every frame, by interval. Empty frames are left out."""
    recording = record()
    frames: list[list[NDArray[np.float32]]] = [[] for _ in recording.truth]
    for frame in recording.frames():
        points = recording.intrinsics.back_project(frame.depth)[
            frame.foreground & (frame.depth > 0)
        ]
        for interval, collected in zip(recording.truth, frames):
            if interval.start <= frame.stamp < interval.end and len(points):
                collected.append(points)
    filled: list[tuple[Interval, list[NDArray[np.float32]]]] = [
        (interval, collected) for interval, collected in zip(recording.truth, frames) if collected
    ]
    return recording.classes, recording.rate, filled


def _raw_to_npy(raw: Path, path: Path, count: int) -> None:
    array = open_memmap(path, mode="w+", dtype=np.float32, shape=(count, 3))
    with open(raw, "rb") as file:
        for start in range(0, count, 1 << 20):
            stop = min(count, start + (1 << 20))
            array[start:stop] = np.fromfile(file, np.float32, (stop - start) * 3).reshape(-1, 3)
    array.flush()
    raw.unlink()
