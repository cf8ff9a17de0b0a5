from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.io

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from fourd_perception.recordings import studio_seeds
from training import datasets
from training.config import DataConfig
from training.datasets.prepared import PreparedVideos, prepare


def config(**values):
    return from_mapping(DataConfig, {"prepared": "nowhere"} | values, "test")


@pytest.fixture
def msr_root(tmp_path):
    """The official layout: two subjects of each side, three frames each."""
    (tmp_path / "depth").mkdir()
    for action, subject in ((1, 1), (20, 5), (1, 6), (3, 10)):
        depth = np.zeros((240, 320, 3), np.uint16)
        depth[100:140, 150:170] = 400 + subject
        name = f"a{action:02d}_s{subject:02d}_e01_sdepth.mat"
        scipy.io.savemat(tmp_path / "depth" / name, {"depth": depth})
    return tmp_path


def test_msr_action3d_is_split_by_subjects(msr_root, tmp_path):
    sources = datasets.sources(config(dataset="msr_action3d", root=str(msr_root)))
    assert {(source.group, source.split) for source in sources} == {
        ("s01", "train"), ("s05", "train"), ("s06", "test"), ("s10", "test"),
    }  # fmt: skip
    prepare(sources, tmp_path / "prepared", workers=1)
    videos = PreparedVideos(tmp_path / "prepared")
    assert len(videos.classes) == 20
    assert {(video.group, videos.classes[video.label]) for video in videos.videos} == {
        ("s01", "high_arm_wave"), ("s05", "pickup_and_throw"),
        ("s06", "high_arm_wave"), ("s10", "hammer"),
    }  # fmt: skip
    first = videos.frame(videos.videos[0], 0)
    assert first.shape == (40 * 20, 3)
    assert np.allclose(first[:, 2], 401 * 0.0052)


def test_an_absent_release_is_said_to_be_so(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        datasets.sources(config(dataset="msr_action3d", root=str(tmp_path / "nowhere")))


def test_the_studios_test_seeds_are_never_trained_on():
    sources = datasets.sources(config(dataset="studio", recordings=3, test_recordings=2))
    assert [(source.group, source.split) for source in sources] == [
        ("0", "train"), ("1", "train"), ("2", "train"),
        (str(studio_seeds.TEST), "test"), (str(studio_seeds.TEST + 1), "test"),
    ]  # fmt: skip
    pickle.dumps(sources)  # they go to worker processes


def test_the_published_configurations_are_valid():
    from fourd_perception.parameters import load_yaml
    from training.config import FinetuneConfig
    from training.finetune import build_model

    for name in ("msr_action3d", "studio"):
        run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
        build_model(run, 20)
