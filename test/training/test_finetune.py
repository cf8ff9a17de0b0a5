"""The whole way: recordings, training, a checkpoint, its evaluation."""

from __future__ import annotations

import json
from functools import partial

import pytest
import small_model
import tiny_recordings
import yaml

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from training import evaluate, finetune
from training.config import FinetuneConfig
from training.datasets.prepared import PreparedVideos, Source, prepare


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    sources = [
        Source(f"p{n}", f"p{n}", "train" if n < 10 else "test", partial(tiny_recordings.record, n))
        for n in range(14)
    ]
    prepare(sources, root / "prepared", workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    return root


def config(root, **changes):
    document = {
        "name": "tiny",
        "architecture": "im_pstnet",
        "model": str(root / "model.yaml"),
        "data": {"dataset": "studio", "prepared": str(root / "prepared"), "holdout": ["p0"]},
        "clip": {"frames": 4, "frame_step": 1, "rate": 10.0},
        "preprocess": {"points": 24, "unit_scale": 1.0},
        "epochs": 16,
        "batch_size": 6,
        "optimiser": {"learning_rate": 0.02, "average": 0.9},
    }
    return from_mapping(FinetuneConfig, document | changes, "test")


def test_learns_and_its_checkpoint_says_what_it_is(root):
    made = finetune.finetune(config(root), root / "out")
    loaded = checkpoint.load(made)
    assert loaded.card.classes == ("rise", "fall")
    assert loaded.card.clip.frames == 4
    assert loaded.card.trained_on["videos"] == 18
    assert set(loaded.card.accuracy) == {"holdout_segments", "holdout_windows"}
    figures, count = evaluate.evaluate(loaded, config(root), "test", views=2, stride=1)
    assert count == 8
    assert figures["video_accuracy_segments"] >= 75
    assert figures["video_accuracy_windows"] >= 75
    lines = (root / "out" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 16
    assert "holdout_segments" in json.loads(lines[-1])


def test_the_holdout_is_not_trained_on(root):
    parts = finetune.split(PreparedVideos(root / "prepared"), ("p0", "p3"))
    assert {video.group for video in parts["holdout"]} == {"p0", "p3"}
    assert not {video.group for video in parts["train"]} & {"p0", "p3", "p10", "p13"}
    assert {video.group for video in parts["test"]} == {"p10", "p11", "p12", "p13"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": {"dataset": "studio", "prepared": "P", "holdout": ["p99"]}}, "p99 not in"),
        ({"clip": {"frames": 4, "frame_step": 1, "rate": 15.0}}, "does not fall on them"),
        ({"preprocess": {"points": 2}}, "too small for this model"),
        ({"architecture": "pstnet9"}, "unknown architecture"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(root, tmp_path, changes, says):
    if "data" in changes:
        changes = {"data": changes["data"] | {"prepared": str(root / "prepared")}}
    with pytest.raises(InputError, match=says):
        finetune.finetune(config(root, **changes), tmp_path)
    assert not (tmp_path / "state.pt").exists()


def test_a_model_of_other_classes_is_not_evaluated(root, tmp_path):
    loaded = checkpoint.load(small_model.save(tmp_path / "a.safetensors"))
    with pytest.raises(InputError, match="small knows 3 classes"):
        evaluate.evaluate(loaded, config(root), "test", views=1, stride=1)


def test_a_mistyped_key_is_named_with_its_neighbour(root):
    with pytest.raises(InputError, match="unknown key 'epoch'; did you mean 'epochs'"):
        config(root, epoch=3)
