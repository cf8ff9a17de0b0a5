"""Joined sequences of MSR-Action3D: whose depth tells which sequence and frame a frame is."""

from __future__ import annotations

import itertools
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from fourd_perception.recordings.msr_action3d import ACTIONS
from training import datasets
from training.config import DataConfig, FinetuneConfig
from training.datasets.labelled_video import NO_LABEL
from training.datasets.msr_joined_actions import FRAMES
from training.datasets.prepared import PreparedVideos, prepare
from training.finetune import build_model

REAL = Path(os.environ.get("FOURD_MSR_ACTION3D", "data/msr_action3d"))
LENGTH = 40  # frames of each sequence
ACTIONS_DONE = range(1, 9)  # by each person: 320 frames, two videos and 20 frames


def write(root: Path, subject: int, actions=ACTIONS_DONE) -> None:
    """Two pixels a frame; action and frame are in their depth."""
    (root / "depth").mkdir(parents=True, exist_ok=True)
    for action in actions:
        raw = np.zeros((240, 320, LENGTH), np.uint16)
        raw[100:102, 150] = 100 * action + np.arange(LENGTH)
        name = f"a{action:02d}_s{subject:02d}_e01_sdepth.mat"
        scipy.io.savemat(str(root / "depth" / name), {"depth": raw})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for subject in (2, 7):
        write(tmp_path / "msr", subject)
    return tmp_path / "msr"


def config(root, **values):
    given = {"dataset": "msr_joined_actions", "root": str(root), "prepared": "nowhere"}
    return from_mapping(DataConfig, given | values, "test")


def seen(source) -> list[list[tuple[int, int, int]]]:
    """(action in the depth, frame in the depth, label) of every frame of every video."""
    videos = []
    for video in source.read():
        assert video.label == NO_LABEL
        raw = [(round(float(f.points[0, 2]) / 0.0052), f.label) for f in video.frames]
        videos.append([(depth // 100, depth % 100, label) for depth, label in raw])
    return videos


def test_people_are_kept_apart_and_trained_on_nine_times(root):
    found = datasets.open_data_set(config(root))
    assert [(one.name, one.group, one.split) for one in found.sources] == [
        *((f"s02_order{number}", "s02", "train") for number in range(9)),
        ("s07_order0", "s07", "test"),
    ]
    assert (found.rate, found.classes, found.point_classes) == (15.0, ACTIONS, ())
    pickle.dumps(found.sources)
    datasets.made_of(config("nowhere"))


def test_every_frame_is_labelled_with_the_sequence_that_it_comes_from(root):
    for source in datasets.open_data_set(config(root)).sources:
        videos = seen(source)
        assert [len(video) for video in videos] == [FRAMES, FRAMES]
        frames = list(itertools.chain(*videos))
        assert all(label == action - 1 for action, _, label in frames)
        # 300 of 320 frames in order, each sequence once from its first frame on.
        assert [frame for _, frame, _ in frames] == [n % LENGTH for n in range(2 * FRAMES)]
        counts = Counter(action for action, _, _ in frames)
        assert sorted(counts) == list(ACTIONS_DONE)
        assert sorted(counts.values()) == [LENGTH // 2] + [LENGTH] * 7


def test_orders_differ_and_are_always_the_same(root):
    first = [seen(one) for one in datasets.open_data_set(config(root)).sources]
    again = [seen(one) for one in datasets.open_data_set(config(root)).sources]
    assert first == again
    orders = {tuple(label for _, _, label in itertools.chain(*videos)) for videos in first}
    assert len(orders) == 10


def test_prepared_videos_have_a_label_a_frame_and_none_of_their_own(root, tmp_path):
    prepare(datasets.open_data_set(config(root)), tmp_path / "prepared", workers=1)
    videos = PreparedVideos(tmp_path / "prepared")
    assert [video.split for video in videos.videos] == ["train"] * 18 + ["test"] * 2
    assert {(video.frames, video.label) for video in videos.videos} == {(FRAMES, NO_LABEL)}
    last = videos.videos[-1]
    for number, label in enumerate(videos.frame_labels(last)):
        depth = videos.frame(last, number).points[0, 2] / 0.0052
        assert round(float(depth)) // 100 == label + 1


def test_only_its_own_sequences_are_read(root):
    for path in (root / "depth").glob("*_s07_*"):
        path.write_bytes(b"damaged")
    *train, test = datasets.open_data_set(config(root)).sources
    assert all(len(seen(source)) == 2 for source in train)
    with pytest.raises(InputError, match="_s07_e01_sdepth.mat"):
        seen(test)


def test_a_person_with_too_few_frames_is_named(tmp_path):
    write(tmp_path, 3, actions=[1, 2, 3])
    source = datasets.open_data_set(config(tmp_path)).sources[0]
    with pytest.raises(InputError, match=r"subject 3: 3 sequences with 120 frames.* needs 150"):
        seen(source)


def test_an_absent_release_is_said_to_be_so(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        datasets.open_data_set(config(tmp_path / "nowhere"))


def test_the_published_configurations_are_valid():
    runs = [
        load_yaml(FinetuneConfig, f"config/training/msr_joined_actions_{name}.yaml")
        for name in ("p4", "pptr")
    ]
    models = [build_model(run, len(ACTIONS)) for run in runs]
    assert {model.task for model, _ in models} == {"action_segmentation"}
    assert all(run.clip.frames == FRAMES for run in runs)
    assert models[0][1]["tube"] == models[1][1]["tube"]
    assert models[0][1]["transformer"] == models[1][1]["inter"]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
def test_a_real_persons_sequences_are_joined():
    sources = datasets.open_data_set(config(REAL)).sources
    assert len(sources) == 50
    first = next(iter(sources[0].read()))
    frames = list(first.frames)
    assert len(frames) == FRAMES
    assert 2 <= len({frame.label for frame in frames}) <= 10
    assert all(len(frame.points) > 500 for frame in frames)
