from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tiny_recordings
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fourd_perception.errors import InputError
from training.datasets import prepared
from training.datasets.labelled_video import (
    NO_LABEL,
    NO_POINT_LABEL,
    DataSet,
    LabelledFrame,
    LabelledVideo,
    Source,
    actions_of,
)
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare
from training.folder_lock import locked


def people(n):
    return actions_of(tiny_recordings.record(n))


def tiny_set(count=3):
    sources = [
        Source(f"person{n}", f"p{n}", "train" if n < 2 else "test", partial(people, n))
        for n in range(count)
    ]
    return DataSet(tiny_recordings.RATE, tiny_recordings.CLASSES, sources)


def of(*frames, point_classes=("part",)):
    """A data set of one video."""
    read = partial(list, [LabelledVideo(NO_LABEL, frames)])
    return DataSet(5.0, ("a", "b"), [Source("one", "g", "train", read)], point_classes)


@pytest.fixture
def folder(tmp_path):
    prepare(tiny_set(), tmp_path / "prepared", workers=1)
    return tmp_path / "prepared"


def test_every_interval_is_a_video_of_its_foreground(folder):
    videos = PreparedVideos(folder)
    assert videos.classes == tiny_recordings.CLASSES
    assert videos.rate == tiny_recordings.RATE
    assert [(v.name, v.group, v.split, v.label) for v in videos.videos[:3]] == [
        ("person0/0", "p0", "train", 0),
        ("person0/1", "p0", "train", 1),
        ("person1/0", "p1", "train", 0),
    ]
    recording = tiny_recordings.record(1)
    frames = list(recording.frames())
    second = videos.videos[3]
    assert second.frames == 6
    for number in range(second.frames):
        frame = frames[6 + number]
        cloud = recording.intrinsics.back_project(frame.depth)[frame.foreground & (frame.depth > 0)]
        np.testing.assert_allclose(videos.frame(second, number).points, cloud, atol=2e-5)
    with pytest.raises(IndexError):
        videos.frame(second, 6)


@given(
    st_numpy.arrays(np.float32, (7, 3), elements=st.floats(-50, 50, width=32)),
    st.floats(0.001, 1),
)
def test_points_are_kept_to_a_65536th_of_their_extent(tmp_path_factory, points, scale):
    points = (points * np.float32(scale)).astype(np.float32)
    folder = tmp_path_factory.mktemp("grid") / "p"
    prepare(of(LabelledFrame(points[:5]), LabelledFrame(points[5:])), folder, workers=1)
    videos = PreparedVideos(folder)
    got = np.concatenate([videos.frame(videos.videos[0], n).points for n in range(2)])
    extent = float((points.max(0) - points.min(0)).max())
    rounding = 4 * np.finfo(np.float32).eps * float(np.abs(points).max())
    assert np.abs(got - points).max() <= 0.51 * extent / 65535 + rounding + 1e-6


def test_labels_and_images_come_back(tmp_path):
    random = np.random.default_rng(0)
    frames = [
        LabelledFrame(
            random.random((count, 3), np.float32),
            label,
            labels,
            np.full((4, 6, 3), value, np.uint8),
        )
        for count, label, labels, value in (
            (5, 1, np.arange(5, dtype=np.uint8), 10),
            (0, NO_LABEL, np.zeros(0, np.uint8), 20),
            (2, 0, None, 30),
        )
    ]
    data_set = of(*frames, point_classes=tuple("abcde"))
    prepare(data_set, tmp_path / "p", config=PrepareConfig(0, (2, 3)), workers=1)
    videos = PreparedVideos(tmp_path / "p")
    video = videos.videos[0]
    got = [videos.frame(video, n) for n in range(3)]
    assert [len(frame.points) for frame in got] == [5, 0, 2]
    assert [frame.label for frame in got] == [1, NO_LABEL, 0]
    assert videos.frame_labels(video).tolist() == [1, NO_LABEL, 0]
    assert got[0].point_labels.tolist() == [0, 1, 2, 3, 4]
    assert got[2].point_labels.tolist() == [NO_POINT_LABEL] * 2
    assert [frame.image.shape for frame in got] == [(2, 3, 3)] * 3
    assert [int(frame.image.mean()) for frame in got] == [10, 20, 30]
    with pytest.raises(InputError, match="images were asked for"):
        prepare(of(replace(frames[1], image=None)), tmp_path / "q",
                config=PrepareConfig(0, (2, 3)), workers=1)  # fmt: skip


def test_no_more_points_are_kept_than_asked_for_each_with_its_own_label(tmp_path):
    points = np.arange(300, dtype=np.float32).reshape(100, 3) / 10
    frame = LabelledFrame(points, 0, np.arange(100, dtype=np.uint8))
    names = tuple(map(str, range(100)))
    for name in ("p", "again"):
        prepare(
            of(frame, point_classes=names), tmp_path / name, config=PrepareConfig(10), workers=1
        )
    videos = PreparedVideos(tmp_path / "p")
    kept = videos.frame(videos.videos[0], 0)
    assert len(set(kept.point_labels.tolist())) == 10
    np.testing.assert_allclose(kept.points, points[kept.point_labels], atol=0.01)
    again = PreparedVideos(tmp_path / "again")
    np.testing.assert_array_equal(again.frame(again.videos[0], 0).points, kept.points)


def broken():
    raise InputError("a file is damaged")


def test_what_is_being_made_is_not_taken_for_what_is_made(tmp_path):
    whole = tiny_set()
    damaged = replace(whole, sources=[*whole.sources, Source("x", "g", "train", broken)])
    with pytest.raises(InputError, match="a file is damaged"):
        prepare(damaged, tmp_path / "p", {"of": 1}, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["p.part"]
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "p.part").glob("person*")}
    assert len(made) == 3
    mended = replace(
        damaged, sources=[*whole.sources, Source("x", "g", "train", partial(people, 9))]
    )
    prepare(mended, tmp_path / "p", {"of": 1}, workers=1)  # goes on
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    after = {name: (tmp_path / "p" / name).stat().st_mtime_ns for name in made}
    assert after == made
    assert len(PreparedVideos(tmp_path / "p").videos) == 8


def test_what_was_begun_of_another_data_set_is_not_gone_on_with(tmp_path):
    part = tmp_path / "p.part"
    part.mkdir()
    (part / "made_of.json").write_text('{"of": 2}')
    (part / "person0.safetensors").write_text("of another data set")
    prepare(tiny_set(1), tmp_path / "p", {"of": 1}, workers=1)
    assert len(PreparedVideos(tmp_path / "p").videos) == 2


def dies():
    os._exit(1)


def test_a_worker_that_dies_is_reported(tmp_path):
    data_set = replace(tiny_set(), sources=[Source("x", "g", "train", dies)])
    with pytest.raises(InputError, match="a worker process died.*go on"):
        prepare(data_set, tmp_path / "p", workers=1)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (LabelledFrame(np.full((2, 3), np.nan, np.float32)), "one, frame 0: a coordinate is NaN"),
        (LabelledFrame(np.zeros((2, 4), np.float32)), r"expected points \(N, 3\), got \(2, 4\)"),
        (LabelledFrame(np.zeros((2, 3), np.float32), 0, np.zeros(1, np.uint8)), "2 points, but 1"),
        (LabelledFrame(np.zeros((2, 3), np.float32), 2), "frame 0: label 2, but there are 2"),
        (LabelledFrame(np.zeros((2, 3), np.float32), 0, np.array([0, 1], np.uint8)),
         "frame 0: point label 1, but there are 1"),
    ],
)  # fmt: skip
def test_frames_that_are_not_what_they_should_be_are_refused(tmp_path, frame, says):
    with pytest.raises(InputError, match=says):
        prepare(of(frame), tmp_path / "p", workers=1)


def test_nothing_and_the_same_name_twice_are_refused(tmp_path):
    whole = tiny_set(1)
    with pytest.raises(InputError, match="nothing to prepare"):
        prepare(replace(whole, sources=[]), tmp_path / "p")
    with pytest.raises(InputError, match="the same name"):
        prepare(replace(whole, sources=[*whole.sources] * 2), tmp_path / "p")
    with pytest.raises(InputError, match="one: video 0 has no frames"):
        prepare(of(), tmp_path / "p", workers=1)


def test_many_files_are_read_with_few_open(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_OPEN_FILES", 1)
    prepare(tiny_set(), tmp_path / "p", workers=1)
    videos = PreparedVideos(tmp_path / "p")
    counts = [len(videos.frame(video, 0).points) for video in videos.videos * 2]
    assert counts[: len(counts) // 2] == counts[len(counts) // 2 :]
    assert len(videos._files) == 1


def test_several_threads_may_read(tmp_path, monkeypatch):
    monkeypatch.setattr(prepared, "_OPEN_FILES", 1)
    prepare(tiny_set(), tmp_path / "p", workers=1)
    videos = PreparedVideos(tmp_path / "p")
    asked = [(video, number) for video in videos.videos for number in range(video.frames)] * 4
    expected = [videos.frame(*one).points for one in asked]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(lambda one: videos.frame(*one).points, asked), expected):
            np.testing.assert_array_equal(got, wanted)


def test_what_is_there_is_never_overwritten(folder):
    with pytest.raises(InputError, match="already there"):
        prepare(tiny_set(1), folder, workers=1)
    assert len(PreparedVideos(folder).videos) == 6


def test_two_do_not_prepare_the_same(tmp_path):
    with locked(tmp_path / "p.part"), pytest.raises(InputError, match="another run"):
        prepare(tiny_set(1), tmp_path / "p", workers=1)


def test_points_out_of_any_room_are_refused(tmp_path):
    points = np.zeros((5, 3), np.float32)
    points[3, 1] = 1e4
    with pytest.raises(InputError, match="one, video 0: its points reach.*is it in metres"):
        prepare(of(LabelledFrame(points)), tmp_path / "p", workers=1)


def test_it_knows_what_has_labels(tmp_path):
    labels = np.array([0, NO_POINT_LABEL, 0], np.uint8)
    frames = [LabelledFrame(np.zeros((3, 3), np.float32), 1, labels),
              LabelledFrame(np.ones((2, 3), np.float32))]  # fmt: skip
    prepare(of(*frames), tmp_path / "p", workers=1)
    video = PreparedVideos(tmp_path / "p").videos[0]
    assert (video.label, video.labelled_frames, video.labelled_points) == (NO_LABEL, 1, 2)


@pytest.mark.parametrize("damage", ["missing", "json", "list", "points", "cut", "version"])
def test_a_damaged_folder_is_refused_with_its_path(folder, damage):
    index, file = folder / "index.json", folder / "person1.safetensors"
    if damage == "missing":
        index.unlink()
    elif damage == "json":
        index.write_text("{")
    elif damage == "list":
        index.write_text("[]")
    elif damage == "points":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 0}))

    def read_all():
        videos = PreparedVideos(folder)
        return [videos.frame(video, 0) for video in videos.videos]

    with pytest.raises(InputError, match=str(folder)):
        read_all()
