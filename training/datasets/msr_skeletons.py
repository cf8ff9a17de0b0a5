"""The skeletons of MSR-Action3D: 20 joints a frame, in either form in which they are passed on.

    skeletons.npz                                  a01_s01_e01_xyz: (T, 20, 4), and so on
    MSRAction3DSkeletonReal3D/a01_s01_e01_skeleton3D.txt    T times 20 lines of 4 numbers

The four numbers are x (right in the image), y (up), z (forward), in metres, and a confidence. The
text files may also lie in `skeletons/`, or beside everything else.

What is written nowhere was measured on the release: which joint is which, the camera that
projects them onto the depth images, and that they come late, see `LAG`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.recordings.msr_action3d import METRES_PER_UNIT
from fourd_perception.recordings.recording import Intrinsics

JOINTS = (
    "left_shoulder", "right_shoulder", "neck", "spine", "left_hip", "right_hip", "waist",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
    "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot", "head",
)  # fmt: skip
"""Joint 1 to 20. Left is the image's left while the person faces the camera."""

CAMERA = Intrinsics(width=320, height=240, fx=285.63, fy=285.63, cx=160.0, cy=120.0)
"""The Kinect SDK's camera, by which the skeletons fall onto the depth images."""

DEPTH_SCALE = 0.0050 / METRES_PER_UNIT
"""From depth as `msr_action3d` reads it to the skeletons' metres: there a unit is 5.0 mm."""

LAG = 0.6
"""Frames by which the skeletons come after the depth, because the tracker smooths over time."""

_CROSSED = 0.05
_NEAREST = 0.5  # metres; the tracker writes zeros where it has nobody
_NAME = re.compile(r"(a\d\d_s\d\d_e\d\d)_skeleton3D\.txt")
_FOLDERS = ("", "skeletons", "MSRAction3DSkeletonReal3D")
_EXPECTED = "expected skeletons.npz, or MSRAction3DSkeletonReal3D/a01_s01_e01_skeleton3D.txt"
_JOINT = {name: index for index, name in enumerate(JOINTS)}
_CHAINS = tuple(
    [(_JOINT[f"left_{joint}"], _JOINT[f"right_{joint}"]) for joint in chain]
    for chain in (("knee", "ankle", "foot"), ("ankle", "foot"))
)

Read = Callable[[], NDArray[np.float32]]


def readers(root: str | Path) -> dict[str, Read]:
    """What reads the skeletons of each sequence under `root`, by the sequence's name.

    A reader gives (T, 20, 4) float32 as the release has them, and is picklable; it raises
    InputError if the file is damaged. Raises InputError if there are no skeletons.
    """
    root = Path(root)
    archive = root / "skeletons.npz"
    if archive.is_file():
        names = _members(archive)
        return {name: partial(_read_archive, archive, name) for name in names}
    found: dict[str, Read] = {}
    for folder in (root / name for name in _FOLDERS):
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match:
                found.setdefault(match[1], partial(_read_text, path))
    if not found:
        raise InputError(f"{root}: no skeletons; {_EXPECTED}")
    return found


def joints_of_depth(skeletons: NDArray[np.float32]) -> NDArray[np.float64]:
    """The joints at the moments of the depth frames, in the optical frame of `CAMERA`.

    skeletons: (T, 20, 4), as `readers` gives them. Returns (T, 20, 3) float64, metres; a frame
    without a skeleton is NaN. Legs that the tracker has exchanged are put back.
    """
    joints = skeletons[..., :3].astype(np.float64) * (1, -1, 1)
    missing = ~(np.isfinite(joints).all(axis=2) & (joints[..., 2] > _NEAREST)).all(axis=1)
    joints[missing] = np.nan
    joints = _uncrossed(joints)
    following = np.concatenate((joints[1:], joints[-1:]))
    return (1 - LAG) * joints + LAG * following


def _uncrossed(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Knees, then ankles, in the order of the hips. (T, 20, 3) to the same.

    Two of the ten people have them exchanged in 33 % and 58 % of their frames, standing still.
    """
    joints = joints.copy()
    across = joints[:, _JOINT["right_hip"]] - joints[:, _JOINT["left_hip"]]
    across /= np.linalg.norm(across, axis=1, keepdims=True).clip(1e-6)
    for chain in _CHAINS:
        left, right = chain[0]
        crossed = ((joints[:, right] - joints[:, left]) * across).sum(axis=1) < -_CROSSED
        for left, right in chain:
            exchanged = joints[np.ix_(crossed, [right, left])]
            joints[np.ix_(crossed, [left, right])] = exchanged
    return joints


def _members(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            names = [Path(name).stem for name in file.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: damaged ({error}); copy it again") from None
    found = [name.removesuffix("_xyz") for name in names if name.endswith("_xyz")]
    if not found:
        raise InputError(f"{archive}: expected arrays named a01_s01_e01_xyz, got {names[:3]}")
    return found


def _read_archive(archive: Path, name: str) -> NDArray[np.float32]:
    try:
        with np.load(archive) as file:
            array = file[f"{name}_xyz"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: {name}_xyz is damaged ({error}); copy it again") from None
    if array.dtype.kind != "f" or array.shape[1:] != (len(JOINTS), 4) or not len(array):
        raise InputError(
            f"{archive}: {name}_xyz: expected float (T, {len(JOINTS)}, 4), "
            f"got {array.dtype} {array.shape}"
        )
    return array.astype(np.float32)


def _read_text(path: Path) -> NDArray[np.float32]:
    try:
        rows = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        rows = [row for row in rows if row]
        if not rows or len(rows) % len(JOINTS) or {len(row) for row in rows} != {4}:
            widths = ", ".join(str(width) for width in sorted({len(row) for row in rows}))
            raise InputError(
                f"{path}: expected {len(JOINTS)} lines of 4 numbers a frame, got {len(rows)} lines "
                f"of {widths or 'no'} numbers; copy it again"
            )
        numbers = np.array(rows, np.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a file of skeletons ({reason}); copy it again") from None
    return numbers.reshape(-1, len(JOINTS), 4)
