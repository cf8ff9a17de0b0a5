"""Long videos of real actions: MSR-Action3D's sequences of one person, one after another.

For temporal segmentation: 150 frames of several actions, with a label for each frame. Nothing is
simulated but the joins, at which the person jumps from one pose to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fourd_perception.errors import InputError
from fourd_perception.recordings import msr_action3d
from training.datasets.labelled_video import (
    NO_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)
from training.datasets.msr_action3d import split_of

if TYPE_CHECKING:
    from training.config import DataConfig

FRAMES = 150
"""Frames of a video, as in HOI4D: 10 s."""

PASSES = {"train": 9, "test": 1}
"""How often a person's sequences are joined, each time in another random order.

Of 3 for training the orders are learnt by heart.
"""

REMARKS = (
    f"sequences of one person in random order, cut into videos of {FRAMES} frames; "
    "what is left at the end of an order is dropped",
    "the person jumps where two sequences meet: boundaries are easier to see than in one recording",
)

Piece = tuple[Path, int]
"""A sequence's file, and its action's index."""


def read(pieces: Sequence[Piece], where: str) -> Iterator[LabelledVideo]:
    """Videos of `FRAMES` frames; every file is read once, and one at a time.

    where: what an error calls them. Raises InputError if they are too short for one video.
    """
    stream = _frames(pieces)
    first = list(islice(stream, FRAMES))
    if len(first) < FRAMES:
        raise InputError(
            f"{where}: {len(pieces)} sequences with {len(first)} frames in all, a video needs "
            f"{FRAMES}; add more of this person's sequences, or remove them"
        )
    video = first
    while len(video) == FRAMES:
        yield LabelledVideo(NO_LABEL, video)
        video = list(islice(stream, FRAMES))


def _frames(pieces: Iterable[Piece]) -> Iterator[LabelledFrame]:
    camera = msr_action3d.INTRINSICS
    for path, action in pieces:
        for depth in msr_action3d.read_depth(path):
            yield LabelledFrame(camera.back_project_where(depth, depth > 0), action)


def open_data_set(config: DataConfig) -> DataSet:
    """One source for each order of a person's sequences; the groups are the people."""
    files = msr_action3d.files(config.root)
    sources = []
    for subject in sorted({one.subject for one in files}):
        theirs = sorted(one for one in files if one.subject == subject)
        group, split = f"s{subject:02d}", split_of(theirs[0])
        for number in range(PASSES[split]):
            order = np.random.default_rng([subject, number]).permutation(len(theirs))
            drawn = [theirs[index] for index in order]
            pieces = [(files[one], one.action - 1) for one in drawn]
            where = f"{config.root}, subject {subject}"
            sources.append(
                Source(f"{group}_order{number}", group, split, partial(read, pieces, where))
            )
    return DataSet(msr_action3d.RATE, msr_action3d.ACTIONS, sources, remarks=REMARKS)


def choice(config: DataConfig) -> dict[str, int]:
    """All of it is always taken, in the same orders."""
    return {"frames": FRAMES, **{f"{split}_passes": count for split, count in PASSES.items()}}
