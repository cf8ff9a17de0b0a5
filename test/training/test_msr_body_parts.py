"""Body parts of MSR-Action3D: a person of patches at known bones, in both forms of the release."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from training import datasets
from training.config import DataConfig, FinetuneConfig
from training.datasets import msr_skeletons
from training.datasets.labelled_video import NO_POINT_LABEL
from training.datasets.msr_body_parts import PARTS, part_labels
from training.datasets.msr_skeletons import JOINTS
from training.datasets.prepared import PreparedVideos, prepare
from training.finetune import build_model

REAL = Path(os.environ.get("FOURD_MSR_ACTION3D", "data/msr_action3d"))

# Somebody 2.6 m away with both arms stretched out. Metres, x right and y up, as in the release.
SKELETON = {
    "head": (0, 0.65), "neck": (0, 0.40), "spine": (0, 0.20), "waist": (0, 0.0),
    "shoulder": (0.18, 0.36), "elbow": (0.45, 0.36), "wrist": (0.72, 0.36), "hand": (0.80, 0.36),
    "hip": (0.10, 0.0), "knee": (0.12, -0.50), "ankle": (0.12, -0.92), "foot": (0.12, -1.0),
}  # fmt: skip
# A place on the middle of each part, chosen by eye, not by the rule that is tested.
MIDDLES = {
    "head": (0, 0.65), "torso": (0, 0.20),
    "left_upper_arm": (-0.33, 0.36), "left_forearm": (-0.62, 0.36),
    "right_upper_arm": (0.33, 0.36), "right_forearm": (0.62, 0.36),
    "left_thigh": (-0.11, -0.32), "left_shin": (-0.12, -0.75),
    "right_thigh": (0.11, -0.32), "right_shin": (0.12, -0.75),
}  # fmt: skip
DISTANCE = 2.6
PATCH = 25  # pixels of each part


def skeleton(frames: int = 4) -> np.ndarray:
    """(frames, 20, 4) as the release has them: y up, and a confidence."""
    joints = np.zeros((frames, len(JOINTS), 4), np.float32)
    for number, name in enumerate(JOINTS):
        side, _, joint = name.partition("_")
        x, y = SKELETON[joint or name]
        joints[:, number] = (-x if side == "left" else x, y, DISTANCE, 1)
    return joints


def depth(frames: int = 4) -> np.ndarray:
    """(240, 320, frames) uint16: a patch of 5 x 5 pixels on each part, 5 cm before its bone."""
    raw = np.zeros((240, 320, frames), np.uint16)
    z = DISTANCE - 0.05
    for x, y in MIDDLES.values():
        column = round(160 + 285.63 * x / DISTANCE)
        row = round(120 - 285.63 * y / DISTANCE)
        raw[row - 2 : row + 3, column - 2 : column + 3] = round(z / 0.005)
    return raw


def write(root: Path, name: str, raw: np.ndarray, joints: np.ndarray | None, form: str) -> None:
    (root / "depth").mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(str(root / "depth" / f"{name}_sdepth.mat"), {"depth": raw})
    if joints is None:
        return
    if form == "npz":
        path = root / "skeletons.npz"
        arrays = dict(np.load(path)) if path.exists() else {}
        np.savez(path, **arrays, **{f"{name}_xyz": joints, f"{name}_uvd": joints})
    else:
        folder = root / "MSRAction3DSkeletonReal3D"
        folder.mkdir(exist_ok=True)
        np.savetxt(folder / f"{name}_skeleton3D.txt", joints.reshape(-1, 4), "%.7e")


def config(root, **values):
    given = {"dataset": "msr_body_parts", "root": str(root), "prepared": "nowhere"}
    return from_mapping(DataConfig, given | values, "test")


def labels(root: Path, prepared: Path) -> list[Counter]:
    """How many points of each part the frames of all videos have."""
    prepare(datasets.open_data_set(config(root)), prepared, workers=1)
    videos = PreparedVideos(prepared)
    names = dict(enumerate(videos.point_classes)) | {NO_POINT_LABEL: "none"}
    frames = [
        videos.frame(video, number) for video in videos.videos for number in range(video.frames)
    ]
    assert all(len(frame.points) == len(frame.point_labels) for frame in frames)
    return [Counter(names[label] for label in frame.point_labels.tolist()) for frame in frames]


EVERY_PART = Counter(dict.fromkeys(MIDDLES, PATCH))


@pytest.mark.parametrize("form", ["npz", "txt"])
def test_each_patch_is_the_part_that_it_lies_on(tmp_path, form):
    write(tmp_path / "msr", "a01_s01_e01", depth(), skeleton(), form)
    assert labels(tmp_path / "msr", tmp_path / "prepared") == [EVERY_PART] * 4


def test_points_are_those_of_the_clouds_and_in_their_order(tmp_path):
    """The left forearm's patch and no other is left of x = -0.5 m."""
    write(tmp_path, "a03_s06_e01", depth(), skeleton(), "npz")
    (source,) = datasets.open_data_set(config(tmp_path)).sources
    (video,) = source.read()
    frame = next(iter(video.frames))
    forearm = frame.points[frame.point_labels == PARTS.index("left_forearm")]
    np.testing.assert_array_equal(forearm, frame.points[frame.points[:, 0] < -0.5])
    np.testing.assert_allclose(forearm[:, 2], 510 * 0.0052, rtol=1e-6)
    assert video.label == frame.label == 2  # hammer


def test_subjects_are_split_and_kept_apart(tmp_path):
    for name in ("a01_s05_e01", "a02_s06_e01", "a20_s10_e02"):
        write(tmp_path, name, depth(1), skeleton(1), "npz")
    found = datasets.open_data_set(config(tmp_path))
    assert [(one.name, one.group, one.split) for one in found.sources] == [
        ("a01_s05_e01", "s05", "train"),
        ("a02_s06_e01", "s06", "test"),
        ("a20_s10_e02", "s10", "test"),
    ]
    assert (found.rate, found.point_classes) == (15.0, PARTS)
    assert any("derived" in remark for remark in found.remarks)
    pickle.dumps(found.sources)
    datasets.made_of(config("nowhere"))


def test_exchanged_legs_are_put_back(tmp_path):
    joints = skeleton()
    for joint in ("knee", "ankle", "foot"):
        left, right = JOINTS.index(f"left_{joint}"), JOINTS.index(f"right_{joint}")
        joints[:, [left, right]] = joints[:, [right, left]]
    write(tmp_path / "msr", "a01_s01_e01", depth(), joints, "npz")
    assert labels(tmp_path / "msr", tmp_path / "prepared") == [EVERY_PART] * 4


def test_the_skeletons_come_late():
    """A joint that moves 10 cm a frame is 6 cm further at the moment of the depth."""
    joints = skeleton(3)
    joints[..., 0] += 0.1 * np.arange(3, dtype=np.float32)[:, None]
    found = msr_skeletons.joints_of_depth(joints)
    np.testing.assert_allclose(found[:2, :, 0], joints[:2, :, 0] + 0.06, atol=1e-6)
    np.testing.assert_allclose(found[2, :, 0], joints[2, :, 0], atol=1e-6)
    np.testing.assert_allclose(found[..., 1], -joints[..., 1], atol=1e-6)


def test_points_far_from_the_bones_have_no_label(tmp_path):
    raw = depth()
    raw[10:13, 300:303] = raw.max()  # 9 of 259 points: the frame's others keep theirs
    write(tmp_path / "msr", "a01_s01_e01", raw, skeleton(), "npz")
    found = labels(tmp_path / "msr", tmp_path / "prepared")
    assert found == [EVERY_PART + Counter(none=9)] * 4


def raised(names: list[str], height: float) -> np.ndarray:
    joints = skeleton()
    joints[:, [JOINTS.index(name) for name in names], 1] += height
    return joints


def turned() -> np.ndarray:
    joints = skeleton()
    joints[..., 0] *= -1
    return joints


@pytest.mark.parametrize(
    "joints",
    [
        pytest.param(np.zeros_like(skeleton()), id="none"),
        pytest.param(skeleton() + np.float32([0.5, 0, 0, 0]), id="elsewhere"),
        pytest.param(raised(["left_elbow", "left_wrist", "left_hand"], 0.5), id="lost arm"),
        pytest.param(raised(["head"], -0.25), id="bent"),
        pytest.param(turned(), id="turned"),
        pytest.param(np.where(skeleton() == 1, skeleton(), np.nan), id="not a number"),
    ],
)
def test_a_frame_whose_skeleton_does_not_fit_has_no_labels(tmp_path, joints):
    write(tmp_path / "msr", "a01_s01_e01", depth(), joints, "npz")
    found = labels(tmp_path / "msr", tmp_path / "prepared")
    assert found == [Counter(none=PATCH * len(PARTS))] * 4


def test_a_frame_without_a_skeleton_leaves_the_others_theirs(tmp_path):
    """The frame before it has none either: its joints lie between the two."""
    joints = skeleton()
    joints[2] = 0
    write(tmp_path / "msr", "a01_s01_e01", depth(), joints, "npz")
    found = labels(tmp_path / "msr", tmp_path / "prepared")
    nothing = Counter(none=PATCH * len(PARTS))
    assert found == [EVERY_PART, nothing, nothing, EVERY_PART]


def test_a_frame_without_a_person_has_no_points():
    joints = msr_skeletons.joints_of_depth(skeleton(1))[0]
    assert part_labels(np.zeros((0, 3), np.float32), joints).shape == (0,)


def test_sequences_without_usable_skeletons_are_left_out_and_told_of(tmp_path):
    write(tmp_path, "a01_s01_e01", depth(1), skeleton(1), "npz")
    write(tmp_path, "a01_s01_e02", depth(1), None, "npz")
    write(tmp_path, "a13_s09_e03", depth(1), skeleton(5), "npz")  # so it is in the release
    found = datasets.open_data_set(config(tmp_path))
    assert [source.name for source in found.sources] == ["a01_s01_e01"]
    assert any(remark.startswith("2 sequences have no usable") for remark in found.remarks)


def test_a_folder_without_skeletons_is_refused(tmp_path):
    write(tmp_path, "a01_s01_e01", depth(1), None, "npz")
    with pytest.raises(InputError, match=r"no skeletons; expected skeletons.npz"):
        datasets.open_data_set(config(tmp_path))
    write(tmp_path, "a01_s02_e01", depth(1), None, "npz")
    np.savez(tmp_path / "skeletons.npz", a02_s01_e01_xyz=skeleton(1))
    with pytest.raises(InputError, match="no sequence has both"):
        datasets.open_data_set(config(tmp_path))
    with pytest.raises(InputError, match="no such folder"):
        datasets.open_data_set(config(tmp_path / "absent"))


def refused(root: Path) -> str:
    """What is said of the only sequence of a folder, in one line."""
    with pytest.raises(InputError) as caught:
        _ = [source.read() for source in datasets.open_data_set(config(root)).sources]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "got 0 lines of no numbers"),
        ("1 2 3 1\n" * 19, "got 19 lines of 4 numbers"),
        ("1 2 3\n" * 20, "got 20 lines of 3 numbers"),
        ("1 2 3 1\n" * 19 + "1 2 3\n", "got 20 lines of 3, 4 numbers"),
        ("1 2 3 \u0661\n" * 20, "not a file of skeletons"),
        ("1 2 three 1\n" * 20, "not a file of skeletons"),
        ("1 2 3 1\n" * 40, "4 frames of depth, but 2 of skeletons"),
    ],
)
def test_a_damaged_text_file_is_named(tmp_path, text, said):
    write(tmp_path, "a01_s01_e01", depth(), skeleton(), "txt")
    path = tmp_path / "MSRAction3DSkeletonReal3D" / "a01_s01_e01_skeleton3D.txt"
    path.write_text(text, encoding="utf-8")
    assert said in refused(tmp_path) and "a01_s01_e01" in refused(tmp_path)


def test_a_damaged_archive_is_named(tmp_path):
    write(tmp_path, "a01_s01_e01", depth(), None, "npz")
    path = tmp_path / "skeletons.npz"
    np.savez(path, a01_s01_e01_xyz=skeleton()[:, :19])
    assert "expected float (T, 20, 4), got float32 (4, 19, 4)" in refused(tmp_path)
    np.savez(path, something=skeleton())
    assert "expected arrays named a01_s01_e01_xyz, got ['something']" in refused(tmp_path)
    np.savez(path, a01_s01_e01_xyz=skeleton())
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    assert "skeletons.npz: damaged" in refused(tmp_path)
    path.write_bytes(whole[:300] + b"?" * 40 + whole[340:])
    assert "a01_s01_e01_xyz is damaged" in refused(tmp_path)


def test_the_published_configurations_are_valid():
    sizes = []
    for name in ("p4", "pptr"):
        run = load_yaml(FinetuneConfig, f"config/training/msr_body_parts_{name}.yaml")
        assert run.augment.mirror == 0, "left and right would be exchanged"
        model, kept = build_model(run, len(PARTS))
        assert model.task == run.task == "semantic_segmentation"
        sizes.append(kept)
    p4, pptr = sizes
    assert all(p4[name] == pptr[name] for name in ("down", "up"))
    assert p4["transformer"] == pptr["inter"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
def test_the_real_skeletons_fit_the_real_depth():
    """Of a sequence in fifty: most points have a label, and the middle of the head is a head's."""
    camera, head = msr_skeletons.CAMERA, JOINTS.index("head")
    readers = msr_skeletons.readers(REAL)
    labelled = points = heads = hits = 0
    for source in datasets.open_data_set(config(REAL)).sources[::50]:
        (video,) = source.read()
        joints = msr_skeletons.joints_of_depth(readers[source.name]())
        for number, frame in list(enumerate(video.frames))[::8]:
            known = frame.point_labels != NO_POINT_LABEL
            points, labelled = points + len(known), labelled + int(known.sum())
            if not known.any():
                continue
            # Rays, so that neither the scale of depth nor its distance to the joint matters.
            rays = frame.points[:, :2] / frame.points[:, 2:] * 280 / camera.fx
            aside = np.abs(rays - joints[number, head, :2] / joints[number, head, 2]).max(axis=1)
            seen = frame.point_labels[aside < 2 / camera.fx]
            heads, hits = heads + len(seen), hits + int((seen == PARTS.index("head")).sum())
    assert labelled > 0.85 * points
    assert heads > 100 and hits > 0.8 * heads
