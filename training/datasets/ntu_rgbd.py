"""NTU RGB+D 60 and 120 from their masked depth maps, by the owners' four protocols.

    nturgb+d_depth_masked/S001C001P001R001A001/MDepth-00000001.png ...   16-bit millimetres
    nturgb+d_rgb/S001C001P001R001A001_rgb.avi                            only for images

The folders of samples may also lie in the root, or a few folders deep, as the owners' archives make
them. Depth is 0 outside of the people, so these clouds are segmented already.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.recordings.recording import Intrinsics
from training.datasets import ntu_protocols
from training.datasets.images import count_frames, frames_at, read_depth_png
from training.datasets.labelled_video import DataSet, LabelledFrame, LabelledVideo, Source

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Video

RATE = 30.0
"""Frames a second, of depth and of colour."""

INTRINSICS = Intrinsics(width=512, height=424, fx=365.0, fy=365.0, cx=256.0, cy=212.0)
"""The Kinect v2's depth camera, as it usually is: the owners recorded no calibration.

The public code of PSTNet and its successors takes 280 for the focal length, which makes people 1.3
times too wide and too high; its unit is 0.65535 m, hence `preprocess.unit_scale: 1.526`.
"""

_DEPTH, _COLOUR = "nturgb+d_depth_masked", "nturgb+d_rgb"
_EXPECTED = f"expected {_DEPTH}/S001C001P001R001A001/ and so on, unpacked"
_DEEPEST = 4
_LOOKS_LIKE_SAMPLE = re.compile(r"S\d+C\d+P\d+.*")
_COLOUR_NAME = re.compile(rf"({ntu_protocols.SAMPLE})_rgb\.avi")
_DEPTH_NAME = re.compile(r"MDepth-(\d{8})\.png")
_FIRST = 1
"""The number of a sample's first depth map."""

_MAY_LACK = 0.1
"""Share of a sample's frames; with more missing it is damaged."""


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sample; the groups are the performers, "P001" to "P106"."""
    protocol = ntu_protocols.protocol(config.protocol)
    root = Path(config.root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; {_EXPECTED}")
    samples = {sample: path for sample, path in _samples(root).items() if protocol.part(sample)}
    if not samples:
        raise InputError(f"{root}: no sample of NTU RGB+D {protocol.release}; {_EXPECTED}")
    videos = _colour_videos(root, samples) if config.image_size else {}
    sources = [
        Source(str(sample), sample.group, protocol.part(sample),
               partial(read, str(path), sample.action - 1, str(videos.get(sample, ""))))
        for sample, path in sorted(samples.items())
    ]  # fmt: skip
    remarks = [
        f"no calibration was recorded: a focal length of {INTRINSICS.fx:g} px is assumed, "
        "where public code takes 280"
    ]
    if config.image_size:
        remarks.append("colour and depth are not aligned; colour sees a wider field")
    return DataSet(
        RATE, protocol.classes, sources, expected=protocol.expected, remarks=tuple(remarks)
    )


def choice(config: DataConfig) -> dict[str, int]:
    """Which release: its two protocols read the same prepared folder."""
    return {"release": ntu_protocols.protocol(config.protocol).release}


def split(config: DataConfig, video: Video) -> str:
    """The part of a prepared video by the protocol."""
    sample = ntu_protocols.parse(video.name.partition("/")[0])
    return ntu_protocols.protocol(config.protocol).part(sample)


def read(folder: str, label: int, colour: str = "") -> Iterable[LabelledVideo]:
    """One sample: one video. colour: its colour video; '' for frames without images."""
    return [LabelledVideo(label, _frames(Path(folder), colour))]


def points_of(depth: NDArray[np.uint16]) -> NDArray[np.float32]:
    """depth: (424, 512) uint16, millimetres, 0 where there is nobody.

    Returns (N, 3) float32, metres, optical frame.
    """
    return INTRINSICS.back_project_where(depth.astype(np.float32) / np.float32(1000), depth > 0)


def _frames(folder: Path, colour: str) -> Iterator[LabelledFrame]:
    """A frame whose file is missing has no points, so that the others keep their moments.

    Missing ones at the start are left out; colour begins when number 1 was taken all the same.
    """
    files = _depth_files(folder)
    first, last = min(files), max(files)
    start = min(first, _FIRST)
    images = _images(colour, last + 1 - start, first - start) if colour else None
    for number in range(first, last + 1):
        depth: NDArray[np.uint16] = np.zeros((INTRINSICS.height, INTRINSICS.width), np.uint16)
        if number in files:
            depth = read_depth_png(files[number], INTRINSICS.width, INTRINSICS.height)
        yield LabelledFrame(points_of(depth), image=None if images is None else next(images))


def _depth_files(folder: Path) -> dict[int, Path]:
    """The depth maps of a sample, by number."""
    files: dict[int, Path] = {}
    for path in folder.glob("*.png"):
        match = _DEPTH_NAME.fullmatch(path.name)
        if not match:
            raise InputError(
                f"{path}: expected masked depth, MDepth-00000001.png and so on; "
                f"take {_DEPTH}, or remove the file"
            )
        files[int(match[1])] = path
    if not files:
        raise InputError(f"{folder}: no MDepth-*.png in it; unpack the sample again, or remove it")
    length = max(files) + 1 - min(_FIRST, *files)
    if length - len(files) > _MAY_LACK * length:
        raise InputError(
            f"{folder}: its numbers ask for {length} frames, it has {len(files)}; "
            "unpack the sample again, or remove it"
        )
    return files


def _images(video: str, frames: int, skip: int) -> Iterator[NDArray[np.uint8]]:
    """An image for each of `frames` depth maps but the first `skip`.

    Lengths that differ by a few are stretched.
    """
    count = count_frames(video)
    if abs(count - frames) > _MAY_LACK * frames:
        raise InputError(
            f"{video}: expected about {frames} frames, as of depth, got {count}; "
            "copy it again, or remove the sample"
        )
    at = np.rint(np.linspace(0, count - 1, frames)).astype(int)
    return frames_at(video, at[skip:].tolist())


def _samples(root: Path) -> dict[ntu_protocols.SampleId, Path]:
    """The folder of every sample."""
    found: dict[ntu_protocols.SampleId, Path] = {}
    start = root / _DEPTH if (root / _DEPTH).is_dir() else root
    for entry in _walk(start):
        if entry.is_dir() and _LOOKS_LIKE_SAMPLE.fullmatch(entry.name):
            try:
                sample = ntu_protocols.parse(entry.name)
            except InputError as error:
                raise InputError(f"{Path(entry.path).parent}: {error}") from None
            _add(found, sample, Path(entry.path))
    return found


def _colour_videos(
    root: Path, samples: Iterable[ntu_protocols.SampleId]
) -> dict[ntu_protocols.SampleId, Path]:
    """The colour video of every sample. Raises InputError if one has none."""
    found: dict[ntu_protocols.SampleId, Path] = {}
    start = root / _COLOUR if (root / _COLOUR).is_dir() else root
    for entry in _walk(start):
        match = _COLOUR_NAME.fullmatch(entry.name)
        if match:
            _add(found, ntu_protocols.parse(match[1]), Path(entry.path))
    missing = sorted(set(samples) - set(found))
    if missing:
        raise InputError(
            f"{root}: no {_COLOUR}/{missing[0]}_rgb.avi, nor of {len(missing) - 1} more samples; "
            "unpack the colour videos, or leave out data.image_size"
        )
    return found


def _add(
    found: dict[ntu_protocols.SampleId, Path], sample: ntu_protocols.SampleId, path: Path
) -> None:
    if sample in found:
        raise InputError(
            f"{path}: {sample} is also {found[sample]}; let data.root hold one of the two"
        )
    found[sample] = path


def _walk(folder: Path, depth: int = 0) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder, a few folders deep; what looks like a sample is not looked into."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    for entry in entries:
        yield entry
        if depth < _DEEPEST and not _LOOKS_LIKE_SAMPLE.fullmatch(entry.name) and entry.is_dir():
            yield from _walk(Path(entry.path), depth + 1)
