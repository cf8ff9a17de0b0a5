from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import tiny_recordings

from fourd_perception.errors import InputError
from training.datasets.prepared import PreparedVideos, Source, prepare


@pytest.fixture
def folder(tmp_path):
    sources = [
        Source(f"person{n}", f"p{n}", "train" if n < 2 else "test",
               partial(tiny_recordings.record, n))
        for n in range(3)
    ]  # fmt: skip
    prepare(sources, tmp_path / "prepared", workers=1)
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
        np.testing.assert_array_equal(videos.frame(second, number), cloud)


def test_what_is_being_made_is_not_taken_for_what_is_made(folder, tmp_path):
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]

    def broken():
        raise InputError("a file is damaged")

    with pytest.raises(Exception, match=r"damaged|pickle"):
        prepare([Source("a", "g", "train", broken)], tmp_path / "other", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_recordings_that_disagree_are_refused(tmp_path):
    sources = [
        Source("a", "g", "train", partial(tiny_recordings.record, 0)),
        Source("b", "g", "train", partial(tiny_recordings.record, 0, rate=5.0)),
    ]
    with pytest.raises(InputError, match="b: its classes or rate"):
        prepare(sources, tmp_path / "x", workers=1)


@pytest.mark.parametrize("damage", ["missing", "json", "points", "version"])
def test_a_damaged_folder_is_refused_with_its_path(folder, damage):
    index = folder / "index.json"
    if damage == "missing":
        index.unlink()
    elif damage == "json":
        index.write_text("{")
    elif damage == "points":
        np.save(folder / "points.npy", np.zeros((3, 3), np.float32))
    else:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"format": 0}))
    with pytest.raises(InputError, match=str(folder)):
        PreparedVideos(folder)
