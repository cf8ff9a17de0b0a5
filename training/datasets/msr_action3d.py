"""MSR-Action3D by the field's protocol: subjects 1-5 train, 6-10 test.

It has no colour. Where images are asked for, they are its depth maps.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourd_perception.recordings import msr_action3d
from training.datasets.labelled_video import DataSet, LabelledFrame, LabelledVideo, Source

if TYPE_CHECKING:
    from training.config import DataConfig

EXPECTED = {"train": 270, "test": 297}
"""Videos of the release."""

IMAGE_REMARK = "there is no colour: the images are the depth maps, cut around the person"

_BACK, _FRONT = 64, 255
"""How bright the farthest and the nearest of a person is drawn; what is not the person is 0."""


def read(path: Path, action: int, images: bool = False) -> Iterable[LabelledVideo]:
    """One sequence: one video. images: whether its frames have the depth maps as images."""
    depth = msr_action3d.read_depth(path)
    camera = msr_action3d.INTRINSICS
    pictures = depth_images(depth) if images else [None] * len(depth)
    frames = (
        LabelledFrame(camera.back_project_where(one, one > 0), action - 1, image=picture)
        for one, picture in zip(depth, pictures)
    )
    return [LabelledVideo(action - 1, frames)]


def depth_images(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A video's depth maps as grey images, three equal channels: (T, S, S, 3) uint8.

    depth: (T, H, W), metres, 0 where there is nobody. All frames are cut to one square around
    everywhere that the person is, and share one scale of grey, so that steps to the side and
    towards the camera are seen. The nearest and the farthest hundredth of the person do not set the
    scale: they are often stray.
    """
    person = depth > 0
    if not person.any():
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth[person], (1, 99))
    share = np.clip((far - depth) / max(far - near, 1e-6), 0, 1)
    grey = np.where(person, np.rint(_BACK + (_FRONT - _BACK) * share), 0).astype(np.uint8)
    rows, columns = (np.flatnonzero(person.any(axis)) for axis in ((0, 2), (0, 1)))
    heights, widths = np.ptp(rows) + 1, np.ptp(columns) + 1
    size = int(max(heights, widths))
    square = np.zeros((len(depth), size, size), np.uint8)
    top, left = (size - heights) // 2, (size - widths) // 2
    square[:, top : top + heights, left : left + widths] = grey[
        :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1
    ]
    return np.repeat(square[..., None], 3, axis=-1)


def split_of(sequence: msr_action3d.SequenceId) -> str:
    """The part that a sequence's subject belongs to."""
    return "train" if sequence.subject in msr_action3d.TRAIN_SUBJECTS else "test"


def open_data_set(config: DataConfig) -> DataSet:
    """One source a sequence; the groups are the subjects, "s01" to "s10"."""
    sources = [
        Source(
            name=str(sequence),
            group=f"s{sequence.subject:02d}",
            split=split_of(sequence),
            read=partial(read, path, sequence.action, bool(config.image_size)),
        )
        for sequence, path in sorted(msr_action3d.files(config.root).items())
    ]
    remarks = (IMAGE_REMARK,) if config.image_size else ()
    return DataSet(
        msr_action3d.RATE, msr_action3d.ACTIONS, sources, expected=EXPECTED, remarks=remarks
    )


def choice(config: DataConfig) -> dict[str, int]:
    """All of it is always taken."""
    return {}
