from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import scipy.io

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from fourd_perception.recordings import studio_seeds
from training import data, datasets
from training import prepare as prepare_script
from training.config import DataConfig, FinetuneConfig
from training.datasets.prepared import PreparedVideos, prepare
from training.finetune import build_model

STUDIO = {"studio", "studio_actions", "studio_boxes", "studio_points"}


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
    whole = datasets.open_data_set(config(dataset="msr_action3d", root=str(msr_root)))
    assert {(source.group, source.split) for source in whole.sources} == {
        ("s01", "train"), ("s05", "train"), ("s06", "test"), ("s10", "test"),
    }  # fmt: skip
    prepare(whole, tmp_path / "prepared", workers=1)
    videos = PreparedVideos(tmp_path / "prepared")
    assert len(videos.classes) == 20
    assert {(video.group, videos.classes[video.label]) for video in videos.videos} == {
        ("s01", "high_arm_wave"), ("s05", "pickup_and_throw"),
        ("s06", "high_arm_wave"), ("s10", "hammer"),
    }  # fmt: skip
    first = videos.frame(videos.videos[0], 0).points
    assert first.shape == (40 * 20, 3)
    assert np.allclose(first[:, 2], 401 * 0.0052, atol=1e-5)
    assert videos.frame_labels(videos.videos[0]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", sorted({*datasets.NAMES} - STUDIO))
def test_an_absent_release_is_said_to_be_so(tmp_path, name):
    absent = config(dataset=name, root=str(tmp_path / "nowhere"), points_at_most=100)
    with pytest.raises(InputError, match="nowhere"):
        datasets.open_data_set(absent)


@pytest.mark.parametrize("name", datasets.NAMES)
def test_every_data_set_tells_its_choices_without_its_release(tmp_path, name):
    made_of = datasets.made_of(config(dataset=name, root=str(tmp_path / "nowhere")))
    assert made_of["dataset"] == name
    assert json.loads(json.dumps(made_of)) == made_of  # it is kept as JSON and compared


@pytest.mark.parametrize("name", sorted(STUDIO))
def test_the_studios_test_seeds_are_never_trained_on(name):
    whole = datasets.open_data_set(config(dataset=name, recordings=3, test_recordings=2))
    assert [(source.group, source.split) for source in whole.sources] == [
        ("0", "train"), ("1", "train"), ("2", "train"),
        (str(studio_seeds.TEST), "test"), (str(studio_seeds.TEST + 1), "test"),
    ]  # fmt: skip
    pickle.dumps(whole.sources)  # they go to worker processes


RECIPES = {
    "msr_action3d": 20, "studio": 14, "studio_actions": 14, "studio_points": 10,
    "msr_body_parts_p4": 11, "msr_body_parts_pptr": 11,
    "msr_joined_actions_p4": 20, "msr_joined_actions_pptr": 20,
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_are_valid(name):
    run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
    model, _ = build_model(run, RECIPES[name])
    assert model.task == run.task
    assert run.name == name


def test_the_prepare_script_counts_and_remarks(msr_root, tmp_path, monkeypatch, capsys):
    arguments = [
        "prepare.py", "--config", "config/training/msr_action3d.yaml",
        "--set", f"data.root={msr_root}", "--set", f"data.prepared={tmp_path / 'p'}",
        "--set", "data.holdout=[s05]", "--workers", "1", "--json",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    for _ in range(2):  # the second time there is nothing to do
        assert prepare_script.main() == 0
        told = json.loads(capsys.readouterr().out)
        assert told["videos"] == {"train": 1, "holdout": 1, "test": 2}
        assert told["frames"] == 12
        assert told["remarks"][:2] == [
            "train: 2 recordings; the release has 270",
            "test: 2 recordings; the release has 297",
        ]


def test_the_prepare_script_takes_recipes_of_pretraining(msr_root, tmp_path, monkeypatch, capsys):
    arguments = [
        "prepare.py", "--config", "config/training/crossvideo_msr_action3d.yaml",
        "--set", f"data.root={msr_root}", "--set", f"data.prepared={tmp_path / 'p'}",
        "--workers", "1", "--json",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert prepare_script.main() == 0
    assert json.loads(capsys.readouterr().out)["videos"] == {"train": 1, "holdout": 1, "test": 2}
    video = PreparedVideos(tmp_path / "p").videos[0]
    assert PreparedVideos(tmp_path / "p").frame(video, 0).image.shape == (64, 64, 3)


def test_a_release_that_has_grown_is_noticed(msr_root, tmp_path, monkeypatch, capsys):
    given = config(dataset="msr_action3d", root=str(msr_root), prepared=str(tmp_path / "p"))
    data.open_videos(given, workers=1)
    assert "note: train: 2 recordings" in capsys.readouterr().err
    source = next((msr_root / "depth").glob("a01_s01*"))
    (msr_root / "depth" / "a02_s02_e01_sdepth.mat").write_bytes(source.read_bytes())
    assert len(data.open_videos(given).videos) == 4  # training needs no release
    with pytest.raises(InputError, match="made of other recordings"):
        data.open_videos(given, compare=True)


def test_several_processes_do_not_prepare(msr_root, tmp_path):
    given = config(dataset="msr_action3d", root=str(msr_root), prepared=str(tmp_path / "p"))
    with pytest.raises(InputError, match=r"training/prepare\.py"):
        data.open_videos(given, alone=False)


def test_a_protocol_where_there_is_none_to_choose_is_refused(tmp_path):
    given = config(dataset="msr_action3d", protocol="cross_view", prepared=str(tmp_path / "p"))
    with pytest.raises(InputError, match="one split alone, got 'cross_view'"):
        data.open_videos(given)


def test_a_prepared_folder_of_another_choice_is_not_overwritten(msr_root, tmp_path):
    first = config(dataset="msr_action3d", root=str(msr_root), prepared=str(tmp_path / "p"))
    data.open_videos(first, workers=1)
    with pytest.raises(InputError, match="asks for.*points_at_most.*: 7"):
        data.open_videos(
            config(
                dataset="msr_action3d", root=str(msr_root), prepared=str(tmp_path / "p"),
                points_at_most=7,
            )
        )  # fmt: skip
    assert len(PreparedVideos(tmp_path / "p").videos) == 4
