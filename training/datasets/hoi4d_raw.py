"""HOI4D as its owners recorded it: depth and colour videos, and what is done in each frame.

Points have no labels in this form; training/datasets/hoi4d_semantic.py has them.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fourd_perception.errors import InputError
from training.datasets import hoi4d
from training.datasets.hoi4d import SequenceId
from training.datasets.images import frames_at, read_depth_png
from training.datasets.labelled_video import (
    NO_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

RATE = 15.0
"""Frames a second."""

FRAMES = 300
"""Of every sequence. The annotation's clock runs over them in 20 s or, by mistake, in 10."""

CLASSES = (
    "open", "carry", "close", "smash", "push", "pull", "dump", "pick_up", "put_down", "turn_on",
    "cut", "paper_cut", "carry_with_both_hands", "binding", "dig", "decap", "stop", "press",
    "grasp", "rest", "look_around", "read", "go", "sit", "squat", "reach_out",
)  # fmt: skip
"""The events that occur, their spellings merged."""

_SPELLINGS = {name.replace("_", ""): label for label, name in enumerate(CLASSES)} | {
    "carrybothhands": CLASSES.index("carry_with_both_hands"),
    "turnontheswitch": CLASSES.index("turn_on"),
}

_DURATIONS = (10.0, 20.0)
_DURATION_MAY_BE_OFF = 1.0
_FRAMES_MAY_BE_LACKING = 5
"""At the end of a video: what ffmpeg's change of rate, or a decoder, may drop or add."""

_RELEASE = "take it from the release again, or take the sequence out of the list"
_DECODED = "decode the videos by the owners' utils/decode.py (ffmpeg), which this reads as well"
_TREES = ("", "HOI4D_release", "HOI4D_depth_video", "HOI4D_annotations")
"""Where a sequence's folder may lie: all in one, or as the owners' archives unpack."""


@dataclass(frozen=True)
class Camera:
    """Pinhole, pixels; the optical frame is x right, y down, z forward."""

    fx: float
    fy: float
    cx: float
    cy: float

    def back_project(
        self, depth: NDArray[np.uint16], at_most: int, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Points of a random choice of the pixels that have depth: (N, 3) float32, metres.

        depth: (H, W) uint16, millimetres, 0 where there is no return; N is not above at_most.
        """
        height, width = depth.shape
        if not (0 < self.cx < width and 0 < self.cy < height):
            raise InputError(
                f"the camera's centre ({self.cx:.0f}, {self.cy:.0f}) is outside of its depth of "
                f"{width} x {height} pixels: its intrin.npy is of another size"
            )
        seen = np.flatnonzero(depth)
        if len(seen) > at_most:
            seen = seen[random.choice(len(seen), at_most, replace=False)]
        rows, columns = np.divmod(seen, width)
        z = depth.reshape(-1)[seen] / 1000.0
        x, y = (columns - self.cx) / self.fx * z, (rows - self.cy) / self.fy * z
        return np.stack((x, y, z), axis=1).astype(np.float32)


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sequence that is there; the groups are the object instances."""
    hoi4d.protocol(config)
    if not config.points_at_most:
        raise InputError(
            "data.points_at_most: a frame of hoi4d_raw has two million points, of which 300 frames "
            "do not fit in memory: set it, to 8192 for instance"
        )
    root, lists = Path(config.root), hoi4d.read_lists(config.root)
    remarks = lists.remarks()
    listed = [(one, hoi4d.TRAIN) for one in dict.fromkeys(lists.train)]
    listed += [(one, hoi4d.TEST) for one in dict.fromkeys(lists.test)]
    if not listed:
        listed = [(one, hoi4d.TRAIN) for one in _walk(root)]
        remarks.append(f"{root}: no {hoi4d.TRAIN_LIST} in it: every sequence is taken for training")
    there = [(one, part) for one, part in listed if _find(root, one, "align_depth")]
    if not there:
        raise InputError(
            f"{root}: expected sequences such as {listed[0][0] if listed else 'ZY.../H1/C1/...'}"
            "/align_depth in it, got none; set data.root to the folder that holds ZY2021..."
        )
    if len(there) < len(listed):
        absent = next(one for one, _ in listed if not _find(root, one, "align_depth"))
        remarks.append(
            f"{len(listed) - len(there)} of {len(listed)} listed sequences have no align_depth "
            f"under {root}, {absent} for one; they are left out"
        )
    cameras = {name: _camera(root, name) for name in sorted({one.camera for one, _ in there})}
    with_images = bool(config.image_size)
    sources = [
        Source(
            name=lists.source_name(one, part),
            group=one.item,
            split=part,
            read=partial(read, root, one, cameras[one.camera], config.points_at_most, with_images),
        )
        for one, part in there
    ]
    return DataSet(RATE, CLASSES, sources, expected=hoi4d.EXPECTED, remarks=tuple(remarks))


def choice(config: DataConfig) -> dict[str, str]:
    """All of it is always taken; the protocols share one prepared folder."""
    return {}


def split(config: DataConfig, video: Video) -> str:
    """The part of a video by data.protocol."""
    return hoi4d.part(config, video)


def read(
    root: Path, sequence: SequenceId, camera: Camera, at_most: int, with_images: bool
) -> Iterable[LabelledVideo]:
    """One sequence: one video, decoded frame by frame."""
    annotation = _find(root, sequence, "action")
    labels = frame_labels(annotation / "color.json") if annotation else {}
    yield LabelledVideo(NO_LABEL, _frames(root, sequence, camera, at_most, with_images, labels))


def _frames(
    root: Path, sequence: SequenceId, camera: Camera, at_most: int, with_images: bool,
    labels: Mapping[int, int],
) -> Iterator[LabelledFrame]:  # fmt: skip
    random = np.random.default_rng(zlib.crc32(str(sequence).encode()))
    folder = _find(root, sequence, "align_depth") or root / str(sequence)
    images: Iterable[NDArray[np.uint8] | None] = itertools.repeat(None)
    if with_images:
        images = _colour(_find(root, sequence, "align_rgb") or root / str(sequence))
    count = 0
    for count, (depth, image) in enumerate(zip(_depth(folder), images), start=1):
        try:
            points = camera.back_project(depth, at_most, random)
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None
        yield LabelledFrame(points, labels.get(count - 1, NO_LABEL), image=image)
    if abs(count - FRAMES) > _FRAMES_MAY_BE_LACKING:
        raise InputError(f"{folder}: expected {FRAMES} frames, got {count}; {_RELEASE}")


def _find(root: Path, sequence: SequenceId, name: str) -> Path | None:
    """The folder `name` of a sequence, in whichever tree it lies."""
    places = (root / tree / str(sequence) / name for tree in _TREES)
    return next((place for place in places if place.is_dir()), None)


def _walk(root: Path) -> list[SequenceId]:
    found = {
        "/".join(path.parts[-8:-1])
        for tree in _TREES
        for path in (root / tree).glob("ZY*/H*/C*/N*/S*/s*/T*/align_depth")
    }
    return [hoi4d.parse(name, str(root)) for name in sorted(found)]


def _camera(root: Path, name: str) -> Camera:
    path = root / "camera_params" / name / "intrin.npy"
    try:
        matrix = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); unpack the owners' camera_params.zip into data.root"
        ) from None
    if (
        matrix.shape != (3, 3)
        or not np.isfinite(matrix).all()
        or min(matrix[0, 0], matrix[1, 1]) <= 0
    ):
        raise InputError(f"{path}: expected a 3 x 3 matrix of intrinsics, got {matrix.tolist()}")
    return Camera(*(float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))))


def frame_labels(path: str | Path) -> dict[int, int]:
    """From action/color.json, in either of its forms: an index into CLASSES for each frame.

    Frames in which nothing is annotated are absent; where events overlap, the later one holds. An
    empty file (the release has such) labels nothing. Raises InputError on any other.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = json.loads(text) if text.strip() else {"events": []}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not JSON ({error}); {_RELEASE}") from None
    try:
        if "events" in document:
            events = [(one["startTime"], one["endTime"], one["event"])
                      for one in document["events"]]  # fmt: skip
        else:
            events = [(one["hdTimeStart"], one["hdTimeEnd"], one["event"])
                      for one in document["markResult"]["marks"]]  # fmt: skip
        events = sorted((float(start), float(end), str(name)) for start, end, name in events)
        info = document.get("info") or {}
        duration = float(info.get("duration") or info.get("Duration") or 0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected events (event, startTime, endTime) or markResult.marks (event, "
            f"hdTimeStart, hdTimeEnd), got something else ({error!r}); {_RELEASE}"
        ) from None
    if not events:
        return {}
    seconds = _seconds_a_frame(path, duration, max(end for _, end, _ in events))
    labels: dict[int, int] = {}
    for start, end, name in events:
        label = _event(path, name)
        for frame in range(FRAMES):
            if start <= frame * seconds < end:
                labels[frame] = label
    return labels


def _seconds_a_frame(path: str | Path, duration: float, last: float) -> float:
    """By the annotation's clock; where it does not say its length, its last event tells."""
    told = duration or last
    nearest = min(_DURATIONS, key=lambda one: abs(one - told))
    if abs(nearest - told) > _DURATION_MAY_BE_OFF:
        raise InputError(
            f"{path}: expected info.duration of about 10 or 20 s, got {duration or 'none'} and a "
            f"last event that ends at {last} s; {_RELEASE}"
        )
    return (duration or nearest) / FRAMES


def _event(path: str | Path, name: str) -> int:
    letters = "".join(letter for letter in name.lower() if letter.isalpha())
    if letters not in _SPELLINGS:
        raise InputError(f"{path}: unknown event '{name}'; known: {', '.join(CLASSES)}; {_RELEASE}")
    return _SPELLINGS[letters]


def _depth(folder: Path) -> Iterator[NDArray[np.uint16]]:
    """Each frame (H, W) uint16, millimetres: from decoded PNG files, or from the video."""
    decoded = _numbered(folder, "png")
    if not decoded:
        yield from _depth_of_video(folder / "depth_video.avi")
        return
    try:
        with Image.open(decoded[0]) as first:
            size = first.size
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{decoded[0]}: damaged ({error}); decode the video again") from None
    for path in decoded:
        yield read_depth_png(path, *size)


def _depth_of_video(path: Path) -> Iterator[NDArray[np.uint16]]:
    av: Any = hoi4d.library("av")
    if not path.is_file():
        raise InputError(f"{path}: no such file, and no decoded 00000.png; {_RELEASE}")
    try:
        with av.open(str(path)) as video:
            if not video.streams.video:
                raise InputError(f"{path}: expected a video, got a file without one; {_RELEASE}")
            stream = video.streams.video[0]
            rate = float(stream.average_rate or RATE)
            if abs(rate - RATE) > 0.5:
                raise InputError(f"{path}: expected {RATE:g} Hz, got {rate:g}; {_DECODED}")
            for frame in video.decode(stream):
                if frame.format.name not in ("gray16le", "gray16be"):
                    raise InputError(
                        f"{path}: expected 16-bit grey (millimetres), got {frame.format.name}, "
                        f"which is no depth; {_RELEASE}"
                    )
                yield frame.to_ndarray(format="gray16le")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())}); {_RELEASE}") from None


def _colour(folder: Path) -> Iterator[NDArray[np.uint8]]:
    """Each frame (H, W, 3) uint8 RGB: from decoded JPEG files, or from the video."""
    decoded = _numbered(folder, "jpg")
    if not decoded:
        yield from frames_at(folder / "image.mp4", range(FRAMES))
        return
    for path in decoded:
        try:
            with Image.open(path) as image:
                colour = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{path}: damaged ({error}); decode the video again") from None
        yield colour


def _numbered(folder: Path, kind: str) -> list[Path]:
    """The files 00000, 00001, ... of a decoded video; none if it is not decoded."""
    count = sum(1 for _ in folder.glob(f"[0-9][0-9][0-9][0-9][0-9].{kind}"))
    paths = [folder / f"{number:05d}.{kind}" for number in range(count)]
    lacking = next((path for path in paths if not path.is_file()), None)
    if lacking:
        raise InputError(f"{lacking}: not there, though later frames are; decode the video again")
    return paths
