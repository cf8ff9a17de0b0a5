"""Videos on disk: what every data set is turned into once, and is then read from lazily.

A prepared folder holds a safetensors file for each source of the data set, from which single frames
are read without loading the rest, and `index.json`, which is written last. In a file:

    points        (P, 3) int16, all frames of all its videos one after another
    offsets       (F + 1,) int64, where each frame begins
    grid          (V, 4) float64, for each video x y z of the grid's origin and its step, metres
    labels        (F,) int16, the action of each frame, or NO_LABEL
    point_labels  (P,) uint8, where the data set has them
    images        (F, H, W, 3) uint8, where they were asked for

A video's points lie on a grid of 65536 steps along its longest side: less than 0.1 mm for 6 m, far
below any depth camera's noise, in half the space of float32.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize
from tqdm import tqdm

from fourd_perception.errors import InputError
from fourd_perception.whole_file import written
from fourd_perception.worker_process import end_with_parent
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)
from training.folder_lock import locked

_FORMAT = 4
_OPEN_FILES = 4096  # as mappings of memory, which are not file descriptors
_LEVELS = 2**16 - 1
_COARSEST = 0.002
"""Metres: the largest step of a grid, far above which points would fall together."""
_KEY = "videos"


@dataclass(frozen=True)
class Video:
    """One video of a prepared folder. first: where it begins in its file; number: its place there.

    label: what is done in all of it, or NO_LABEL. labelled_frames, labelled_points: how many of its
    frames, and of their points, have a label.
    """

    name: str
    group: str
    split: str
    label: int
    file: str
    number: int
    first: int
    frames: int
    labelled_frames: int
    labelled_points: int


@dataclass(frozen=True)
class PrepareConfig:
    """What is kept of a data set's frames.

    points_at_most: a random choice of so many of a frame's points; 0: all. image_size: height and
    width to which images are scaled; none are kept without it.
    """

    points_at_most: int = 0
    image_size: tuple[int, ...] = ()


class PreparedVideos:
    """The videos of a prepared folder. Frames are read when they are asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError if the folder is not a prepared data set, or is damaged."""
        self._folder = Path(folder)
        try:
            index = json.loads((self._folder / "index.json").read_text(encoding="utf-8"))
            if index["format"] != _FORMAT:
                raise InputError(f"{folder}: of another version; delete it to make it anew")
            self.rate = float(index["rate"])
            """Frames a second."""
            self.classes: tuple[str, ...] = tuple(index["classes"])
            self.point_classes: tuple[str, ...] = tuple(index["point_classes"])
            self.made_of: dict[str, Any] = index["made_of"]
            """What `prepare` was told that it is made of."""
            self.sources: str = index["sources"]
            """A digest of the names of all that was read; see `names_digest`."""
            self.videos = [Video(**video) for video in index["videos"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: not a prepared data set ({error!r}); delete it to make it anew"
            ) from None
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._opening = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """To another process goes what is known; it opens its own files."""
        return vars(self) | {"_files": None, "_opening": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _files=OrderedDict(), _opening=threading.Lock())

    def frame(self, video: Video, number: int, *, with_image: bool = True) -> LabelledFrame:
        """Frame `number` of a video. Raises InputError if its file is missing or damaged.

        May be called from several threads.
        """
        if not 0 <= number < video.frames:
            raise IndexError(f"{video.name} has {video.frames} frames, {number} is none of them")
        return self._open(video.file).frame(video, video.first + number, with_image)

    def frame_labels(self, video: Video) -> NDArray[np.int64]:
        """(frames,) int64: the action of each frame, or NO_LABEL. Raises InputError as `frame`."""
        labels = self._open(video.file).labels[video.first : video.first + video.frames]
        return labels.astype(np.int64)

    def _open(self, name: str) -> _File:
        with self._opening:
            if name in self._files:
                self._files.move_to_end(name)
                return self._files[name]
            self._files[name] = opened = _File(self._folder / name)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
            return opened


class _File:
    """An open safetensors file of a prepared folder; what is small is read at once."""

    def __init__(self, path: Path) -> None:
        try:
            self._tensors = safe_open(str(path), framework="numpy")
            self.offsets = self._tensors.get_tensor("offsets")
            self.labels = self._tensors.get_tensor("labels")
            self._grid = self._tensors.get_tensor("grid")
            names = set(self._tensors.keys())
            self._points = self._tensors.get_slice("points")
            self._point_labels = (
                self._tensors.get_slice("point_labels") if "point_labels" in names else None
            )
            self._images = self._tensors.get_slice("images") if "images" in names else None
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: not a file of a prepared data set, or damaged ({error}); "
                "delete it and prepare again"
            ) from None

    def frame(self, video: Video, at: int, with_image: bool) -> LabelledFrame:
        start, end = int(self.offsets[at]), int(self.offsets[at + 1])
        grid = self._grid[video.number]
        steps = self._points[start:end].astype(np.float32)
        points = steps * np.float32(grid[3]) + grid[:3].astype(np.float32)
        return LabelledFrame(
            points,
            int(self.labels[at]),
            None if self._point_labels is None else self._point_labels[start:end],
            self._images[at : at + 1][0] if with_image and self._images is not None else None,
        )


def prepare(
    data_set: DataSet,
    folder: str | Path,
    made_of: Mapping[str, Any] | None = None,
    config: PrepareConfig | None = None,
    workers: int = 2,
) -> None:
    """Read a data set into a prepared folder; progress is shown.

    made_of: plain data that says which data set and which choice of it this is. Until it is whole
    it is called `<folder>.part`; a run that finds one of the same data set goes on from it.
    Raises InputError if there is nothing to prepare, a source cannot be read, or a worker dies.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: already there; delete it to make it anew")
    if not data_set.sources:
        raise InputError(f"{folder}: nothing to prepare")
    if len({source.name for source in data_set.sources}) < len(data_set.sources):
        raise InputError(f"{folder}: two sources have the same name")
    part = folder.with_name(folder.name + ".part")
    try:
        with locked(part):
            _begin(part, {**(made_of or {}), "sources": names_digest(data_set)})
            _prepare(data_set, part, dict(made_of or {}), config or PrepareConfig(), workers)
            os.replace(part, folder)
    except OSError as error:
        raise InputError(f"{part}: {error}; run it again to go on from where it was") from None


def names_digest(data_set: DataSet) -> str:
    """Tells one list of sources, and the parts that they belong to, from another."""
    names = sorted(f"{source.name} {source.group} {source.split}" for source in data_set.sources)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _prepare(
    data_set: DataSet, part: Path, made_of: dict[str, Any], config: PrepareConfig, workers: int
) -> None:
    files = [f"{_file_name(source.name)}.safetensors" for source in data_set.sources]
    missing = [
        (source, part / name)
        for source, name in zip(data_set.sources, files)
        if not (part / name).exists()
    ]
    # Without its sources, because it goes to a worker with each of them.
    write = partial(write_source, replace(data_set, sources=()), config)
    try:
        with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
            done = pool.map(write, *zip(*missing)) if missing else iter(())
            start = len(files) - len(missing)
            desc = f"preparing {part.stem}"
            for _ in tqdm(done, desc=desc, total=len(files), initial=start, unit="source"):
                pass
    except BrokenProcessPool:
        raise InputError(
            f"{part}: a worker process died, perhaps for want of memory; run it again to go on "
            "from where it was, with fewer workers"
        ) from None
    videos = [
        asdict(video)
        for source, name in zip(data_set.sources, files)
        for video in _videos(part / name, source)
    ]
    index = {
        "format": _FORMAT,
        "made_of": made_of,
        "sources": names_digest(data_set),
        "rate": data_set.rate,
        "classes": data_set.classes,
        "point_classes": data_set.point_classes,
        "videos": videos,
    }
    (part / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _begin(part: Path, made_of: dict[str, Any]) -> None:
    """Keep what a run before this one has made, if it was of the same data set."""
    begun = part / "made_of.json"
    text = json.dumps({"format": _FORMAT, **made_of}, sort_keys=True)
    if not begun.exists() or begun.read_text(encoding="utf-8") != text:
        for path in part.glob("*.safetensors*"):
            path.unlink()
        begun.write_text(text, encoding="utf-8")


def _file_name(source: str) -> str:
    return source.replace("/", "__")


def write_source(data_set: DataSet, config: PrepareConfig, source: Source, path: Path) -> None:
    """In a worker: one source to one file, whole or not at all."""
    random = np.random.default_rng(zlib.crc32(source.name.encode()))
    tensors: dict[str, list[NDArray[Any]]] = {}
    offsets, videos = [0], []

    def keep(name: str, array: NDArray[Any]) -> None:
        tensors.setdefault(name, []).append(array)

    for number, video in enumerate(source.read()):
        frames = [
            _kept(frame, data_set, config, random) for frame in _checked(video, source, data_set)
        ]
        if not frames:
            raise InputError(f"{source.name}: video {number} has no frames")
        grid, steps = _to_grid([frame.points for frame in frames], f"{source.name}, video {number}")
        keep("grid", grid[None])
        keep("labels", np.array([frame.label for frame in frames], np.int16))
        for frame, points in zip(frames, steps):
            keep("points", points)
            offsets.append(offsets[-1] + len(points))
            if frame.point_labels is not None:
                keep("point_labels", frame.point_labels)
            if frame.image is not None:
                keep("images", frame.image[None])
        points_labelled = sum(
            int((frame.point_labels != NO_POINT_LABEL).sum())
            for frame in frames
            if frame.point_labels is not None
        )
        frames_labelled = sum(frame.label != NO_LABEL for frame in frames)
        videos.append([video.label, len(frames), frames_labelled, points_labelled])
    if not videos:
        raise InputError(f"{source.name}: no video in it")
    whole = {name: np.concatenate(arrays) for name, arrays in tensors.items()}
    whole["offsets"] = np.array(offsets, np.int64)
    with written(path) as part:
        part.write_bytes(serialize(whole, {_KEY: json.dumps(videos)}))


def _checked(video: LabelledVideo, source: Source, data_set: DataSet) -> Iterator[LabelledFrame]:
    for number, frame in enumerate(video.frames):
        where = f"{source.name}, frame {number}"
        if frame.points.ndim != 2 or frame.points.shape[1] != 3:
            raise InputError(f"{where}: expected points (N, 3), got {frame.points.shape}")
        if not np.isfinite(frame.points).all():
            raise InputError(f"{where}: a coordinate is NaN or infinite")
        if frame.point_labels is not None and len(frame.point_labels) != len(frame.points):
            raise InputError(
                f"{where}: {len(frame.points)} points, but {len(frame.point_labels)} labels"
            )
        if not NO_LABEL <= frame.label < len(data_set.classes):
            raise InputError(
                f"{where}: label {frame.label}, but there are {len(data_set.classes)} classes"
            )
        if frame.point_labels is not None and frame.point_labels.size:
            known = frame.point_labels[frame.point_labels != NO_POINT_LABEL]
            if known.size and known.max() >= len(data_set.point_classes):
                raise InputError(
                    f"{where}: point label {known.max()}, but there are "
                    f"{len(data_set.point_classes)} point classes"
                )
        yield frame


def _kept(
    frame: LabelledFrame, data_set: DataSet, config: PrepareConfig, random: np.random.Generator
) -> LabelledFrame:
    points, labels, image = frame.points, frame.point_labels, None
    if data_set.point_classes and labels is None:
        labels = np.full(len(points), NO_POINT_LABEL, np.uint8)
    if config.points_at_most and len(points) > config.points_at_most:
        chosen = random.choice(len(points), config.points_at_most, replace=False)
        points, labels = points[chosen], None if labels is None else labels[chosen]
    if config.image_size:
        height, width = config.image_size
        if frame.image is None:
            raise InputError("images were asked for, but this data set has none")
        image = np.asarray(Image.fromarray(frame.image).resize((width, height)))
    return replace(frame, points=points, point_labels=labels, image=image)


def _to_grid(
    frames: list[NDArray[np.float32]], where: str
) -> tuple[NDArray[np.float64], list[Any]]:
    """The grid of a video's frames, (4,), and their points on it, each (N, 3) int16."""
    everything = np.concatenate(frames) if sum(map(len, frames)) else np.zeros((1, 3), np.float32)
    # Axis by axis, which is several times faster than along the first axis of (P, 3).
    low = np.array([everything[:, axis].min() for axis in range(3)], np.float64)
    high = np.array([everything[:, axis].max() for axis in range(3)], np.float64)
    origin = (low + high) / 2
    step = max(float((high - low).max()), 1e-6) / _LEVELS
    if step > _COARSEST:
        raise InputError(
            f"{where}: its points reach from {np.round(low, 1).tolist()} to "
            f"{np.round(high, 1).tolist()} m, expected at most {_COARSEST * _LEVELS:.0f}: "
            "is it in metres? Remove what is far away"
        )
    steps = [
        np.clip(np.rint((points - origin) / step), -(2**15), 2**15 - 1).astype(np.int16)
        for points in frames
    ]
    return np.append(origin, step), steps


def _videos(path: Path, source: Source) -> Iterable[Video]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            counted = json.loads((file.metadata() or {})[_KEY])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); delete it and prepare again") from None
    first = 0
    for number, (label, frames, frames_labelled, points_labelled) in enumerate(counted):
        yield Video(
            f"{source.name}/{number}", source.group, source.split, label, path.name, number,
            first, frames, frames_labelled, points_labelled,
        )  # fmt: skip
        first += frames
