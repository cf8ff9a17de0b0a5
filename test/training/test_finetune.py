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
    prepare(sources, root / "prepared", {"dataset": "msr_action3d"}, workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    return root


def config(root, **changes):
    document = {
        "name": "tiny",
        "architecture": "im_pstnet",
        "model": str(root / "model.yaml"),
        "data": {"dataset": "msr_action3d", "prepared": str(root / "prepared"), "holdout": ["p0"]},
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
        ({"data": {"dataset": "msr_action3d", "prepared": "P", "holdout": ["p99"]}}, "p99 not in"),
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


def test_a_hold_out_that_was_trained_on_gives_no_figure(root, tmp_path):
    made = finetune.finetune(config(root, epochs=1), tmp_path)
    with pytest.raises(InputError, match="trained on p3"):
        evaluate.evaluate(
            checkpoint.load(made),
            config(
                root,
                data={
                    "dataset": "msr_action3d",
                    "prepared": str(root / "prepared"),
                    "holdout": ["p0", "p3"],
                },
            ),
            "holdout",
            views=1,
            stride=1,
        )


def test_a_run_does_not_go_on_with_another_model(root, tmp_path):
    sizes = yaml.safe_load((root / "model.yaml").read_text())
    changed = tmp_path / "model.yaml"
    changed.write_text(yaml.safe_dump(sizes))
    run = config(root, epochs=1, model=str(changed))
    finetune.finetune(run, tmp_path / "run")
    kept = (tmp_path / "run" / "config.yaml").read_text()
    sizes["layers"][1]["radius"] = 5.0
    changed.write_text(yaml.safe_dump(sizes))
    with pytest.raises(InputError, match="another configuration"):
        finetune.finetune(run, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == kept


def test_fresh_removes_the_run_and_nothing_else(root, tmp_path):
    finetune.finetune(config(root, epochs=1), tmp_path)
    (tmp_path / "thesis.txt").write_text("ten years")
    bad = config(root, epochs=2, preprocess={"points": 2})
    with pytest.raises(InputError, match="too small"):
        finetune.finetune(bad, tmp_path, fresh=True)
    assert (tmp_path / "state.pt").exists()
    finetune.finetune(config(root, epochs=2), tmp_path, fresh=True)
    assert (tmp_path / "thesis.txt").exists()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_videos_made_of_other_recordings_are_not_taken(root, tmp_path):
    data = {"dataset": "studio", "prepared": str(root / "prepared")}
    with pytest.raises(InputError, match="made of.*msr_action3d.*asks for.*studio"):
        finetune.finetune(config(root, data=data), tmp_path)


def test_somebody_must_be_left_to_train_on(root):
    with pytest.raises(InputError, match="leaves none"):
        finetune.split(PreparedVideos(root / "prepared"), tuple(f"p{n}" for n in range(10)))
