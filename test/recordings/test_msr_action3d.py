"""Reading MSR-Action3D: both layouts, and everything that can be wrong with a folder of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fourd_perception.recordings import msr_action3d as msr
from fourd_perception.recordings.msr_action3d import MsrError, SequenceId
from fourd_perception.stream.frame import SECOND


def raw_frames(count: int, first: int = 400) -> np.ndarray:
    """(count, 240, 320) uint16: a small person whose depth tells the frame's number."""
    raw = np.zeros((count, 240, 320), np.uint16)
    raw[:, 100:140, 150:170] = first + np.arange(count)[:, None, None]
    return raw


def write_mat(path: Path, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(str(path), {"depth": raw.transpose(1, 2, 0)})


def write_bin(path: Path, raw: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames, rows, columns = raw.shape
    with path.open("wb") as file:
        np.array([frames, columns, rows], "<i4").tofile(file)
        raw.astype("<i4").tofile(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mat(tmp_path / "depth" / "a02_s01_e01_sdepth.mat", raw_frames(4))
    write_mat(tmp_path / "depth" / "a01_s06_e03_sdepth.mat", raw_frames(3))
    (tmp_path / "depth" / "notes.txt").write_text("not a sequence")
    (tmp_path / "depth" / "a21_s01_e01_sdepth.mat").write_text("there is no action 21")
    return tmp_path


def test_sequences_are_listed_by_action(root: Path) -> None:
    assert msr.list_sequences(root) == [SequenceId(1, 6, 3), SequenceId(2, 1, 1)]
    assert msr.list_sequences(root / "depth") == msr.list_sequences(root)


def test_a_sequence_knows_its_name_and_label() -> None:
    assert str(SequenceId(20, 10, 3)) == "a20_s10_e03"
    assert SequenceId(20, 10, 3).label == "pickup_and_throw"
    assert len(set(msr.ACTIONS)) == 20


@pytest.mark.parametrize("write, name", [(write_mat, "x.mat"), (write_bin, "x.bin")])
def test_both_layouts_give_the_same_metres(tmp_path: Path, write, name: str) -> None:
    raw = raw_frames(3)
    write(tmp_path / name, raw)
    depth = msr.read_depth(tmp_path / name)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, raw * 0.0052, rtol=1e-6)  # 500 units are 2.6 m
    assert msr.count_frames(tmp_path / name) == 3


def test_a_recording_joins_sequences_in_time(root: Path) -> None:
    recording = msr.recording(root, [SequenceId(2, 1, 1), SequenceId(1, 6, 3)])
    frames = list(recording.frames())
    assert recording.frame_count == len(frames) == 7
    assert [one.label for one in recording.truth] == ["horizontal_arm_wave", "high_arm_wave"]
    # 4 frames at 15 Hz: the second action starts at 4/15 s, where the first one ends.
    assert recording.truth[0].start == 0
    assert recording.truth[0].end == recording.truth[1].start == frames[4].stamp
    assert frames[4].stamp == round(4 / 15 * SECOND)
    assert recording.truth[1].end == round(7 / 15 * SECOND)
    first_of_each = [float(frames[index].depth.max()) for index in (0, 4)]
    assert first_of_each == pytest.approx([400 * 0.0052] * 2)
    assert frames[0].foreground.sum() == 40 * 20
    assert len(list(recording.frames())) == 7, "frames() starts anew"


def test_frames_are_read_when_asked_for(root: Path) -> None:
    recording = msr.recording(root, msr.list_sequences(root))
    last = root / "depth" / "a02_s01_e01_sdepth.mat"
    last.write_bytes(last.read_bytes()[:200])
    frames = recording.frames()
    assert [next(frames).stamp for _ in range(3)] == [0, 66666667, 133333333]
    with pytest.raises(MsrError, match=f"{last}: "):
        next(frames)


def test_folders_that_are_not_the_data_set(tmp_path: Path, root: Path) -> None:
    with pytest.raises(MsrError, match="no such folder; expected files named a01_s01_e01_sdepth"):
        msr.list_sequences(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MsrError, match="no MSR-Action3D sequence; expected files named"):
        msr.list_sequences(empty)
    with pytest.raises(MsrError, match="a03_s01_e01"):
        msr.recording(root, [SequenceId(3, 1, 1)])
    with pytest.raises(MsrError, match="no sequence was asked for"):
        msr.recording(root, [])


def damaged_files() -> dict[str, bytes]:
    header = np.array([2, 320, 240], "<i4").tobytes()
    plane = 2 * 240 * 320
    return {
        "empty.mat": b"",
        "text.mat": b"this is not a MATLAB file, whatever its name may say" * 9,
        "empty.bin": b"",
        "short_header.bin": header[:7],
        "cut.bin": header + bytes(plane * 4 - 1),
        "with_skeleton_bytes.bin": header + bytes(plane * 5),
        "no_frames.bin": np.array([0, 320, 240], "<i4").tobytes(),
        "negative.bin": np.array([-1, 320, 240], "<i4").tobytes(),
        "other_camera.bin": np.array([1, 640, 480], "<i4").tobytes() + bytes(640 * 480 * 4),
    }


@pytest.mark.parametrize("name", damaged_files())
def test_damaged_files_are_named_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(damaged_files()[name])
    for read in (msr.read_depth, msr.count_frames):
        with pytest.raises(MsrError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [100, 130, 300, 0.5, -1])
def test_a_truncated_mat_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "cut.mat"
    write_mat(path, raw_frames(2))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if 0 < kept < 1 else int(kept)])
    with pytest.raises(MsrError, match="cut.mat: "):
        msr.read_depth(path)


def test_a_mat_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.mat"
    scipy.io.savemat(str(path), {"skeleton": np.zeros((20, 3))})
    with pytest.raises(MsrError, match="expected 'depth'.*got.*skeleton"):
        msr.read_depth(path)
    scipy.io.savemat(str(path), {"depth": np.zeros((320, 240, 2), np.uint16)})
    with pytest.raises(MsrError, match="expected 'depth', .240, 320, 'T'.; got.*320, 240, 2"):
        msr.read_depth(path)
    scipy.io.savemat(str(path), {"depth": np.zeros((240, 320, 2))})
    with pytest.raises(MsrError, match="uint16, got float64"):
        msr.read_depth(path)
    with pytest.raises(MsrError, match="missing.mat: no such file"):
        msr.read_depth(tmp_path / "missing.mat")
