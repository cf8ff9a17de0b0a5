"""MSR-Action3D with a body part for every point, derived from the release's skeletons.

Nobody has labelled these points by hand. A point belongs to the bone whose surface, a capsule of
a typical radius, is nearest. Left is the image's left while the person faces the camera; so it is
on every camera. The release's own images are mirrored, as far as can be told: what its people were
asked to do with the right arm they do on the right of the image. So a mirrored training clip
(`augment.mirror`) would have wrong labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.recordings import msr_action3d
from training.datasets import msr_skeletons
from training.datasets.labelled_video import (
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
)
from training.datasets.msr_action3d import EXPECTED, split_of
from training.datasets.msr_skeletons import JOINTS

if TYPE_CHECKING:
    from training.config import DataConfig

PARTS = (
    "head", "torso", "left_upper_arm", "left_forearm", "right_upper_arm", "right_forearm",
    "left_thigh", "left_shin", "right_thigh", "right_shin",
)  # fmt: skip
"""A forearm has its hand, a shin its foot. The torso reaches from the neck to the crotch."""

TOO_FAR = 0.10
"""Metres from the nearest bone's surface beyond which a point has no label."""

FITTING = 0.95
"""Share of a frame's points that must be nearer than `TOO_FAR`, or none of them has a label."""

BENT = 0.10
"""Metres that a head must be above the shoulders. Of people who bend lower the tracker has a wrong
skeleton, or one that takes the back for the head."""

TURNED = 0.05
"""Metres by which shoulders and hips may be the wrong way round in the image; beyond it left is
right."""

BROKEN = frozenset({msr_action3d.SequenceId(13, 9, 3)})
"""In the release itself their skeletons are of another length than their depth."""

REMARKS = (
    "body parts are derived from the Kinect's skeletons, not labelled by hand: a border between "
    "two parts is right within a few centimetres",
    "left is the image's left, of a person who faces the camera; keep augment.mirror at 0",
    f"label {NO_POINT_LABEL}: points far from every bone, and frames without a fitting skeleton "
    "(6 % of the release's; three in four of them of people who bend down)",
)


@dataclass(frozen=True)
class _Bone:
    """A capsule along a share (from, to) of the line between two joints; radius in metres."""

    part: str
    joints: tuple[str, str]
    share: tuple[float, float]
    radius: float


def _limbs(side: str) -> Iterator[_Bone]:
    def joint(name: str) -> str:
        return f"{side}_{name}"

    # Shoulders and hips are the torso's; hands reach beyond the last joint.
    yield _Bone(joint("upper_arm"), (joint("shoulder"), joint("elbow")), (0.1, 1), 0.06)
    yield _Bone(joint("forearm"), (joint("elbow"), joint("wrist")), (0.1, 1), 0.055)
    yield _Bone(joint("forearm"), (joint("wrist"), joint("hand")), (0, 1.3), 0.055)
    yield _Bone(joint("thigh"), (joint("hip"), joint("knee")), (0.3, 0.95), 0.085)
    yield _Bone(joint("shin"), (joint("knee"), joint("ankle")), (0.05, 1), 0.06)
    yield _Bone(joint("shin"), (joint("ankle"), joint("foot")), (0, 1), 0.06)
    yield _Bone("torso", (joint("shoulder"), joint("hip")), (0.1, 1), 0.06)
    yield _Bone("torso", (joint("shoulder"), "neck"), (0.2, 1), 0.07)
    yield _Bone("torso", (joint("hip"), joint("knee")), (0, 0.2), 0.10)


# The tracker's spine and waist are uncertain; the middles of shoulders and of hips are not.
_MIDDLES = {
    "chest": {"left_shoulder": 0.5, "right_shoulder": 0.5},
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    "crotch": {"left_hip": 0.4, "right_hip": 0.4, "left_knee": 0.1, "right_knee": 0.1},
}
_BONES = (
    _Bone("head", ("neck", "head"), (0.6, 1.1), 0.10),
    _Bone("torso", ("chest", "pelvis"), (0, 1), 0.165),
    _Bone("torso", ("pelvis", "crotch"), (0, 1), 0.14),
    *_limbs("left"),
    *_limbs("right"),
)
_BONE_PART = np.array([PARTS.index(bone.part) for bone in _BONES], np.uint8)
_HEAD = JOINTS.index("head")
_PAIRS = tuple(
    (JOINTS.index(f"left_{name}"), JOINTS.index(f"right_{name}")) for name in ("shoulder", "hip")
)


def _weights(joint: str) -> NDArray[np.float64]:
    """(20,): a joint, or a middle of some, as a mean of the release's joints."""
    mean = np.zeros(len(JOINTS))
    for name, weight in _MIDDLES.get(joint, {joint: 1.0}).items():
        mean[JOINTS.index(name)] = weight
    return mean


def _ends(end: int) -> NDArray[np.float64]:
    """(bones, 20): what the joints are multiplied by to give an end of each bone."""
    return np.array([
        (1 - bone.share[end]) * _weights(bone.joints[0])
        + bone.share[end] * _weights(bone.joints[1])
        for bone in _BONES
    ])  # fmt: skip


_STARTS, _STOPS = _ends(0), _ends(1)


def part_labels(points: NDArray[np.float32], joints: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The part of every point of a person, or NO_POINT_LABEL.

    points: (N, 3) float32 and joints: (20, 3), metres, both in the skeletons' space
    (`msr_skeletons.CAMERA`); joints are NaN where there are none. Returns (N,) uint8, indices into
    PARTS; none has a label where the skeleton does not fit the points.
    """
    nothing = np.full(len(points), NO_POINT_LABEL, np.uint8)
    if not len(points) or not _is_upright(joints):
        return nothing
    nearest = np.full(len(points), np.inf, np.float32)
    labels = nothing.copy()
    bones = zip(_BONES, _BONE_PART, _STARTS @ joints, _STOPS @ joints)
    for bone, part, start, stop in bones:
        distance = _to_segment(points, start, stop) - np.float32(bone.radius)
        closer = distance < nearest
        nearest[closer], labels[closer] = distance[closer], part
    near = nearest < TOO_FAR
    return np.where(near, labels, nothing) if near.mean() >= FITTING else nothing


def _is_upright(joints: NDArray[np.float64]) -> bool:
    """Whether there is a skeleton whose head is up and whose sides are not exchanged."""
    if np.isnan(joints).any():
        return False
    across = [joints[right, 0] - joints[left, 0] for left, right in _PAIRS]
    shoulders = joints[list(_PAIRS[0]), 1].mean()
    return bool(max(across) > -TURNED and joints[_HEAD, 1] < shoulders - BENT)


def _to_segment(
    points: NDArray[np.float32], start: NDArray[np.float64], stop: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(N,): the distance of (N, 3) points from the segment between two points, (3,) each."""
    along = (stop - start).astype(np.float32)
    offset = points - start.astype(np.float32)
    share = (offset @ along / max(float(along @ along), 1e-9)).clip(0, 1)
    offset -= share[:, None] * along
    distance: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", offset, offset))
    return distance


def read(
    path: Path, sequence: msr_action3d.SequenceId, skeletons: msr_skeletons.Read
) -> Iterable[LabelledVideo]:
    """One sequence: one video, of the same points as `msr_action3d` gives."""
    depth, found = msr_action3d.read_depth(path), skeletons()
    if len(depth) != len(found):
        raise InputError(
            f"{path}: {len(depth)} frames of depth, but {len(found)} of skeletons; copy both "
            f"again, or remove the skeletons of {sequence}"
        )
    action = sequence.action - 1
    frames = (
        _frame(image, joints, action)
        for image, joints in zip(depth, msr_skeletons.joints_of_depth(found))
    )
    return [LabelledVideo(action, frames)]


def _frame(depth: NDArray[np.float32], joints: NDArray[np.float64], action: int) -> LabelledFrame:
    person = depth > 0
    scaled = depth * np.float32(msr_skeletons.DEPTH_SCALE)
    labels = part_labels(msr_skeletons.CAMERA.back_project_where(scaled, person), joints)
    points = msr_action3d.INTRINSICS.back_project_where(depth, person)
    return LabelledFrame(points, action, labels)


def open_data_set(config: DataConfig) -> DataSet:
    """One source for each sequence that has depth and skeletons; the groups are the subjects."""
    depth, skeletons = msr_action3d.files(config.root), msr_skeletons.readers(config.root)
    both = [one for one in sorted(depth) if str(one) in skeletons and one not in BROKEN]
    if not both:
        raise InputError(
            f"{config.root}: no sequence has both depth and skeletons; "
            f"depth begins with {min(depth)}, the skeletons with {min(skeletons)}"
        )
    sources = [
        Source(
            name=str(one),
            group=f"s{one.subject:02d}",
            split=split_of(one),
            read=partial(read, depth[one], one, skeletons[str(one)]),
        )
        for one in both
    ]
    lacking = len(depth) - len(both)
    without = (f"{lacking} sequences have no usable skeletons and are left out",) if lacking else ()
    return DataSet(
        msr_action3d.RATE, msr_action3d.ACTIONS, sources, PARTS, EXPECTED, REMARKS + without
    )


def choice(config: DataConfig) -> dict[str, int]:
    """All of it is always taken; the number changes with the rule that labels the points."""
    return {"labels": 1}
