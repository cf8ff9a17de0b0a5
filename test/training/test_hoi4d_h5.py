"""The challenges' h5 files, of the owners' layout with a few rows, prepared and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from training import datasets
from training.config import DataConfig
from training.datasets import hoi4d, hoi4d_semantic
from training.datasets.labelled_video import NO_LABEL, NO_POINT_LABEL
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare

h5py = pytest.importorskip("h5py")

KEPT = "ZY20210800004/H4/C8/N13/S71/s02/T2"
HELD = "ZY20210800001/H1/C5/N03/S7/s01/T1"
LEAKED = "ZY20210800001/H1/C4/N01/S19/s05/T1"
TESTED = "ZY20210800002/H2/C10/N02/S9/s02/T3"


def config(root: Path, dataset: str = "hoi4d_actions", **values: Any) -> DataConfig:
    given = {"dataset": dataset, "root": str(root), "prepared": str(root.parent / "prepared")}
    return from_mapping(DataConfig, given | values, "test")


def write_h5(path: Path, **arrays: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="lzf")


def actions(rows: int, first: int = 0) -> dict[str, np.ndarray]:
    """Row r: points at x = first + r, and action (frame // 10 + first + r) % 19."""
    number = first + np.arange(rows)
    pcd = np.zeros((rows, 150, 2048, 3), np.float32)
    pcd[..., 0] = number[:, None, None]
    pcd[..., 2] = 1 + np.arange(2048) / 2048
    label = (np.arange(150) // 10 + number[:, None]) % 19
    return {"pcd": pcd, "center": pcd.mean(2), "label": label.astype(np.int64)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    folder.mkdir()
    write_h5(folder / "train1.h5", **actions(2))
    write_h5(folder / "train4.h5", **actions(1, first=2))
    test = actions(2, first=3)
    write_h5(folder / "test_wolabel.h5", pcd=test["pcd"], center=test["center"])
    return folder


def write_lists(root: Path) -> None:
    (root / "release.txt").write_text(f"{KEPT}\n{LEAKED}\n{HELD}\n")
    (root / "testset.txt").write_text(f"{LEAKED}\n{TESTED}\n")


def prepared(data: DataConfig) -> PreparedVideos:
    kept = PrepareConfig(data.points_at_most, data.image_size)
    prepare(datasets.open_data_set(data), data.prepared, datasets.made_of(data), kept, workers=1)
    return PreparedVideos(data.prepared)


def test_rows_are_named_by_the_lists_and_keep_their_order(root: Path) -> None:
    write_lists(root)
    videos = prepared(config(root))
    assert videos.rate == 7.5
    assert len(videos.classes) == 19
    assert [(one.name, one.group, one.split) for one in videos.videos] == [
        (f"train/{KEPT}/0", "C8/N13", "train"),
        (f"train_and_test/{LEAKED}/0", "C4/N01", "train"),
        (f"train/{HELD}/0", "C5/N03", "train"),
        (f"test/{LEAKED}/0", "C4/N01", "test"),
        (f"test/{TESTED}/0", "C10/N02", "test"),
    ]
    for row, one in enumerate(videos.videos):
        frame = videos.frame(one, 25)
        assert frame.points.shape == (2048, 3)
        np.testing.assert_allclose(frame.points[:, 0], row, atol=1e-4)
        np.testing.assert_allclose(frame.points[1024], (row, 0, 1.5), atol=1e-4)
        expected = [NO_LABEL] * 150 if one.split == "test" else actions(1, row)["label"][0]
        np.testing.assert_array_equal(videos.frame_labels(one), expected)


def test_one_prepared_folder_serves_the_protocols(root: Path) -> None:
    write_lists(root)
    videos = prepared(config(root)).videos
    parts = {
        protocol: [datasets.split(config(root, protocol=protocol), one) for one in videos[:3]]
        for protocol in hoi4d.PROTOCOLS
    }
    assert parts == {
        "official": ["train", "train", "train"],
        "without_leak": ["train", "", "train"],
        "local_validation": [
            "holdout" if hoi4d.held_out(one.group) else "train" for one in videos[:3]
        ],
    }
    assert parts["local_validation"] == ["train", "train", "holdout"]
    asked = [datasets.made_of(config(root, protocol=one)) for one in hoi4d.PROTOCOLS]
    assert asked[0] == asked[1] == asked[2]


def test_rows_without_lists_are_named_by_file(root: Path) -> None:
    found = datasets.open_data_set(config(root))
    assert [(one.name, one.group) for one in found.sources] == [
        ("train1/0000", "train1"), ("train1/0001", "train1"), ("train4/0000", "train4"),
        ("test_wolabel/0000", "test_wolabel"), ("test_wolabel/0001", "test_wolabel"),
    ]  # fmt: skip
    assert any("train: 3 rows, 0 names" in line for line in found.remarks)
    assert found.expected == {"train": 2971, "test": 892}


def test_lists_of_another_length_name_nothing(root: Path) -> None:
    write_lists(root)
    (root / "train4.h5").unlink()  # a partial copy
    found = datasets.open_data_set(config(root))
    assert [one.name for one in found.sources][:3] == [
        "train1/0000", "train1/0001", f"test/{LEAKED}",
    ]  # fmt: skip
    assert any("train: 2 rows, 3 names" in line for line in found.remarks)
    assert any(line.startswith("1 sequences of release.txt") for line in found.remarks)


def test_labels_of_a_test_file_are_read_where_they_are(root: Path) -> None:
    write_h5(root / "test1.h5", **actions(1, first=7))
    data = config(root)
    videos = prepared(data)
    tested = [one for one in videos.videos if one.split == "test"]
    assert [one.name for one in tested] == ["test1/0000/0"]
    np.testing.assert_array_equal(videos.frame_labels(tested[0])[:20], [7] * 10 + [8] * 10)


def test_what_a_file_without_truth_is_filled_with_is_no_truth(root: Path) -> None:
    write_h5(root / "test_wolabel.h5", **(actions(1) | {"label": np.zeros((1, 150), np.int64)}))
    videos = prepared(config(root))
    assert set(videos.frame_labels(videos.videos[-1]).tolist()) == {NO_LABEL}


BROKEN = {
    "pcd of another shape": (
        {"pcd": np.zeros((2, 150, 1024, 3), np.float32)},
        r"train1.h5: expected 'pcd' \(rows, 150, 2048, 3\) of floats, got \(2, 150, 1024, 3\)",
    ),
    "pcd of whole numbers": ({"pcd": np.zeros((2, 150, 2048, 3), np.int32)}, "got .* of int32"),
    "no pcd": ({"pcd": None}, "expected 'pcd' in it, got center, label"),
    "no labels": ({"label": None}, "expected 'label' in it"),
    "labels of points": ({"label": np.zeros((2, 150, 2048), np.int8)}, "expected 'label'"),
    "fewer labels": ({"label": np.zeros((1, 150), np.int64)}, r"have \[1, 2\] rows"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_of_another_form_is_refused(root: Path, broken: str) -> None:
    changed, message = BROKEN[broken]
    arrays = {key: array for key, array in (actions(2) | changed).items() if array is not None}
    write_h5(root / "train1.h5", **arrays)
    with pytest.raises(InputError, match=message):
        datasets.open_data_set(config(root))


def test_a_cut_off_file_is_refused(root: Path) -> None:
    whole = (root / "train1.h5").read_bytes()
    (root / "train1.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"train1.h5: damaged .*download it again"):
        datasets.open_data_set(config(root))


@pytest.mark.parametrize("bad", [19, -1, 3.5])
def test_an_unknown_action_is_refused_with_its_row(root: Path, bad: float) -> None:
    arrays = actions(2)
    arrays["label"] = arrays["label"].astype(np.float64)
    arrays["label"][1, 30] = bad
    write_h5(root / "train1.h5", **arrays)
    with pytest.raises(InputError, match=f"train1.h5, row 1: expected labels 0 to 18.*got {bad}"):
        prepared(config(root))


@pytest.mark.parametrize("dataset", ["hoi4d_actions", "hoi4d_semantic"])
def test_an_absent_release_is_said_to_be_so(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(InputError, match="expected train1.h5"):
        datasets.open_data_set(config(tmp_path / "nowhere", dataset))
    assert datasets.made_of(config(tmp_path / "nowhere", dataset))["dataset"] == dataset


def test_points_that_are_not_scored_have_no_class(tmp_path: Path) -> None:
    root = tmp_path / "release"
    root.mkdir()
    semantic = np.zeros((1, 300, 8192), np.int8)
    semantic[..., :49] = np.arange(49)
    pcd = np.zeros((1, 300, 8192, 3), np.float32)
    pcd[..., 0] = np.arange(8192) / 8192
    write_h5(root / "train2.h5", pcd=pcd, center=pcd.mean(2), semantic=semantic)
    write_h5(root / "test2_right.h5", pcd=pcd, center=pcd.mean(2))
    videos = prepared(config(root, "hoi4d_semantic"))
    assert (videos.rate, videos.classes, len(videos.point_classes)) == (15.0, (), 47)
    labels = videos.frame(videos.videos[0], 299).point_labels
    assert labels is not None
    assert labels[:2].tolist() == [NO_POINT_LABEL] * 2
    np.testing.assert_array_equal(labels[2:49], np.arange(47))
    assert (labels[49:] == NO_POINT_LABEL).all()
    untold = videos.frame(videos.videos[1], 0).point_labels
    assert untold is not None
    assert (untold == NO_POINT_LABEL).all()


def test_the_owners_names_of_points() -> None:
    named = {2: "chair", 5: "ground", 9: "bucket", 17: "mug", 24: "toy_car", 27: "safe",
             29: "desk_lamp", 31: "knife", 35: "door", 46: "other_objects", 47: "hand",
             48: "scissors", 6: "label_06", 18: "label_18"}  # fmt: skip
    for label, name in named.items():
        assert hoi4d_semantic.POINT_CLASSES[label - hoi4d_semantic.FIRST_LABEL] == name
    assert len(set(hoi4d_semantic.POINT_CLASSES)) == 47
