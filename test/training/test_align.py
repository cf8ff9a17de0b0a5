"""The whole way of VG4D: videos with images, a small X-CLIP, and one file with four scores."""

# ruff: noqa: F811 (fixtures of test_pretrain.py)

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_folders
import torch
import yaml
from safetensors.torch import load_file
from test_pretrain import (
    MADE_OF,
    data_set,
    document,
    finetune_config,
    root,  # noqa: F401
    trained,  # noqa: F401
)
from torch import distributed

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.fusion import SOURCES
from fourd_perception.parameters import ConfigError, from_mapping, load_yaml, to_mapping
from training import align, finetune, measuring, source_scores
from training.align_clips import held_out_clip, joined, training_clip
from training.align_config import AlignConfig
from training.aligned_with import load_scorer
from training.data import open_videos
from training.datasets.prepared import PrepareConfig, prepare
from training.tiny_xclip import TinyConfig

SIZES = TinyConfig(image_size=16, patch_size=8, frames=4, width=16, depth=1, heads=2, embed_dim=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folders.make(tmp_path_factory.mktemp("text"), "xclip", SIZES)


def config(root, folder, **changes) -> AlignConfig:
    kept = ("architecture", "model", "data", "clip", "threads")
    whole = document(root)
    run = {
        "name": "aligned", "video_text": {"folder": str(folder)},
        "preprocess": {"points": 24, "image_size": 16}, "epochs": 2, "batch_size": 5,
        "validate_every": 2, "sampling": {"window_share": 1.0, "speed": 1.0},
        "augment": {"scale": 0.05}, "image_view": {"crop": 0.9, "hue": 0.0},
        "optimiser": {"learning_rate": 0.01, "warmup_epochs": 0.5},
        **{name: whole[name] for name in kept}, **changes,
    }  # fmt: skip
    return from_mapping(AlignConfig, run, "test")


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def aligned(root, folder):
    """The folder of a run that has ended."""
    align.align(config(root, folder), root / "aligned")
    return root / "aligned"


def test_leaves_one_file_with_all_four_scores(root, folder, aligned, monkeypatch):
    loaded = checkpoint.load(aligned / "aligned.safetensors")
    card, model = loaded.card, loaded.model
    assert isinstance(model, AlignedModel)
    assert (card.architecture, card.classes) == ("aligned", ("rise", "fall"))
    assert model.config.prompts == ("rise", "fall") and model.config.text_model == "xclip"
    assert {f"holdout_{name}" for name in (*SOURCES, "fused")} <= card.accuracy.keys()
    assert "calibration_error_fused_after" in card.accuracy
    first, last = records(aligned)
    assert {"pc_video", "pc_text", "pc", "rgb", "loss"} <= first.keys()
    assert not any(name.startswith("holdout") for name in first)
    assert first["loss"] == pytest.approx(
        sum(first[name] for name in ("pc_video", "pc_text", "pc", "rgb")), rel=1e-4
    )
    assert last["holdout_fused"] >= 0
    # The cloud's two scores need nothing else, transformers least of all.
    monkeypatch.setitem(sys.modules, "transformers", None)
    again = checkpoint.load(aligned / "aligned.safetensors").model
    said = again.cloud_logits(again.encode(torch.rand(1, 6, 24, 3)))
    assert said.keys() == {"pc", "pc_text"} and said["pc_text"].shape == (1, 2)


def test_learns_to_lie_upon_texts_and_videos(root, folder, tmp_path):
    run = config(root, folder, epochs=15, validate_every=15, optimiser={"learning_rate": 0.01})
    align.align(run, tmp_path)
    first, last = records(tmp_path)[0], records(tmp_path)[-1]
    assert last["pc_text"] < first["pc_text"] - 0.3
    assert last["pc"] < first["pc"]
    assert last["loss"] < first["loss"] - 0.5
    assert last["holdout_pc_text"] == 100


def test_a_stopped_run_ends_with_the_same_weights(
    root,
    folder,
    aligned,
    tmp_path,
    monkeypatch,
):
    whole = align.epoch_batches

    def dies(videos, chosen, config, epoch, **more):
        if epoch == 1:
            raise KeyboardInterrupt
        return whole(videos, chosen, config, epoch, **more)

    monkeypatch.setattr(align, "epoch_batches", dies)
    with pytest.raises(KeyboardInterrupt):
        align.align(config(root, folder), tmp_path)
    monkeypatch.setattr(align, "epoch_batches", whole)
    made = align.align(config(root, folder), tmp_path)
    weights = [load_file(place / made.name) for place in (tmp_path, aligned)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match=r"loss.alpha was 1.0, is 0.5"):
        align.align(config(root, folder, loss={"alpha": 0.5}), tmp_path)


@pytest.mark.parametrize(
    ("loss", "gone"),
    [
        ({"alpha": 0}, "pc_video"),
        ({"beta": 0}, "pc_text"),
        ({"theta": 0}, "pc"),
        ({"gamma": 0}, "rgb"),
    ],
)
def test_a_loss_is_left_out(root, folder, tmp_path, loss, gone):
    made = align.align(config(root, folder, loss=loss, epochs=1), tmp_path)
    assert gone not in records(tmp_path)[0]
    assert checkpoint.read_card(made).trained_on["loss"]["alpha"] == loss.get("alpha", 1.0)


def test_the_contrast_may_leave_the_encoder_alone(root, folder):
    for stopped in (True, False):
        run = config(
            root, folder,
            loss={"theta": 0, "gamma": 0, "stop_encoder": stopped}, epochs=1,
        )  # fmt: skip
        videos = open_videos(run.data)
        scorer, _ = load_scorer(run.video_text, 16)
        model = align.build_model(run, ("rise", "fall"), scorer).train()
        chosen = videos.videos[:4]
        random = np.random.default_rng(0)
        clips = [training_clip(videos, one, run, scorer.frames, random) for one in chosen]
        value, _ = align.loss_of(model, scorer, joined(clips, {0: 0, 1: 1}), run)
        value.backward()
        assert model.projection.weight.grad is not None
        got = [one.grad is not None for one in model.encoder.layers.parameters()]
        assert any(got) != stopped


def test_begins_with_a_checkpoint_or_an_encoder(
    root,
    folder,
    trained,
    tmp_path,
    capsys,
):
    still = {"optimiser": {"learning_rate": 0.0, "warmup_epochs": 0}, "epochs": 1}
    tuned = finetune.finetune(finetune_config(root), tmp_path / "tuned")
    made = align.align(config(root, folder, **still), tmp_path / "1", init=tuned)
    assert "the encoder and its classifier taken from" in capsys.readouterr().out
    begun, learnt = (checkpoint.load(path).model.state_dict() for path in (tuned, made))
    for name, tensor in begun.items():
        if tensor.is_floating_point() and "running" not in name:
            assert learnt[f"encoder.{name}"].equal(tensor), name
    told = checkpoint.read_card(made).trained_on["initial_weights"]
    assert told["name"] == "tuned" and told["groups"]
    pretrained = trained / "tiny_points.safetensors"
    align.align(config(root, folder, **still), tmp_path / "2", init=pretrained)
    assert f"tensors taken from {pretrained}" in capsys.readouterr().out
    with pytest.raises(InputError, match="no such file"):
        align.align(config(root, folder), tmp_path / "3", init=tmp_path / "none.safetensors")


def test_nothing_that_has_seen_the_hold_out_is_begun_with(root, folder, trained, tmp_path):
    """With labels or without: what is then measured on it would be no figure."""
    other = {"data": document(root)["data"] | {"holdout": ["p0", "p3"]}}
    pretrained = trained / "tiny_points.safetensors"
    tuned = finetune.finetune(finetune_config(root), tmp_path / "tuned")
    told = "trained on p3, which data.holdout keeps for judging"
    with pytest.raises(InputError, match=f"tiny_points.*{told}"):
        finetune.finetune(finetune_config(root, **other), tmp_path / "1", init=pretrained)
    with pytest.raises(InputError, match=f"tuned.*{told}"):
        align.align(config(root, folder, **other), tmp_path / "2", init=tuned)


def test_an_encoder_of_other_classes_is_refused(root, folder, tmp_path):
    tuned = finetune.finetune(finetune_config(root), tmp_path / "tuned")
    with pytest.raises(InputError, match=r"of 2 classes \(rise, fall\), the run has 1 \(rise\)"):
        align.align(config(root, folder, left_out=["fall"]), tmp_path / "out", init=tuned)


def test_a_class_that_is_left_out_has_a_score_by_its_text(root, folder, tmp_path):
    run = config(root, folder, left_out=["fall"], epochs=1)
    loaded = checkpoint.load(align.align(run, tmp_path))
    assert loaded.card.classes == ("rise",) and loaded.card.trained_on["left_out"] == ["fall"]
    videos = open_videos(run.data)
    scorer, _ = load_scorer(run.video_text, 16)
    assert isinstance(loaded.model, AlignedModel)
    assert loaded.model.unseen(("rise", "fall")) == ("fall",)
    said = source_scores.source_logits(
        loaded.model, scorer, videos, videos.videos[:3], run, ("rise", "fall")
    )
    assert {name: one.shape for name, one in said.items()} == {
        "pc_text": (3, 2), "rgb_text": (3, 2),
    }  # fmt: skip


def test_the_fusion_is_fitted_on_the_hold_out(root, folder, tmp_path):
    made = align.align(config(root, folder, fusion="least_squares", epochs=1), tmp_path)
    model = checkpoint.load(made).model
    assert isinstance(model, AlignedModel)
    weights = [model.config.fusion.of(name).weight for name in SOURCES]
    assert sum(weights) == pytest.approx(1) and weights != [0.25] * 4
    data = document(root)["data"] | {"holdout": []}
    with pytest.raises(ConfigError, match="fitted on the hold-out, and data.holdout names none"):
        config(root, folder, fusion="temperature", data=data)


def test_images_are_of_the_frames_of_the_cloud(root, folder):
    """The picture is red where the blob is: points and pixels rise together."""
    run = config(root, folder)
    videos = open_videos(run.data)
    clip = held_out_clip(videos, videos.videos[0], run, 4)
    assert clip.points.shape == (6, 24, 3) and clip.images.shape == (4, 3, 16, 16)
    again = held_out_clip(videos, videos.videos[0], run, 4)
    assert (again.points == clip.points).all() and (again.images == clip.images).all()
    rows = np.arange(16)[:, None]
    heights = [float((rows * one[0]).sum() / one[0].sum()) for one in clip.images]
    of_points = [float(np.median(one[:, 1])) for one in clip.points[[0, 2, 3, 5]]]
    assert np.corrcoef(heights, of_points)[0, 1] > 0.8


def test_the_model_knows_what_it_may_not_be_measured_on(root, aligned):
    loaded = checkpoint.load(aligned / "aligned.safetensors")
    videos = open_videos(finetune_config(root).data)
    told = {"video_text": {"dataset": "msr_action3d", "groups": ["p7"]}}
    card = replace(loaded.card, trained_on=told)
    chosen, data = checkpoint.Checkpoint(card, loaded.model), finetune_config(root).data
    with pytest.raises(InputError, match="was trained on p7"):
        measuring.choose(chosen, videos, data, "test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preprocess": {"points": 24, "image_size": 12}}, "sees images of 16 x 16 pixels"),
        ({"left_out": ["jump"]}, "left_out: jump not among the classes, which are rise, fall"),
        ({"left_out": ["rise", "fall"]}, "no training video has a label"),
    ],
)
def test_what_does_not_fit_is_told_before_training(
    root,
    folder,
    tmp_path,
    changes,
    said,
):
    with pytest.raises(InputError, match=said):
        align.align(config(root, folder, **changes), tmp_path)


def test_prompts_are_one_for_each_class(root, folder, tmp_path):
    def with_prompts(*prompts):
        return config(root, folder, video_text={"folder": str(folder), "prompts": prompts})

    with pytest.raises(InputError, match="1 texts for 2 classes"):
        align.align(with_prompts("it rises"), tmp_path)
    with pytest.raises(InputError, match="stands twice"):
        align.align(with_prompts("it rises", "it rises"), tmp_path)


def test_videos_without_images_are_refused(folder, tmp_path, root):
    made_of = MADE_OF | {"image_size": [12, 12]}
    prepare(data_set(4, images=False), tmp_path / "bare", made_of, PrepareConfig(0, ()), workers=1)
    data = document(root)["data"] | {"prepared": str(tmp_path / "bare"), "holdout": []}
    with pytest.raises(InputError, match="has no images"):
        align.align(config(root, folder, data=data), tmp_path / "out")


def test_another_kind_of_model_fits(root, tmp_path):
    """Of images alone, the mean over frames."""
    plain = tiny_folders.make(tmp_path, "clip", SIZES)
    run = config(root, plain, epochs=1, video_text={"folder": str(plain), "kind": "clip"})
    assert checkpoint.load(align.align(run, tmp_path / "out")).card.architecture == "aligned"


def test_the_command_line(root, folder, tmp_path, monkeypatch, capsys):
    kept = document(root)
    run = {name: kept[name] for name in ("architecture", "model", "data", "clip", "threads")}
    run |= {
        "name": "said", "video_text": {"folder": str(folder)}, "batch_size": 5, "epochs": 3,
        "preprocess": {"points": 24, "image_size": 16},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    arguments = [
        "align.py", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out"),
        "--set", "epochs=1",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert align.main() == 0
    assert str(tmp_path / "out" / "said.safetensors") in capsys.readouterr().out


def test_the_papers_schedule_is_the_default(root, folder):
    made = from_mapping(
        AlignConfig,
        {
            **{name: document(root)[name] for name in ("architecture", "model", "data", "clip")},
            "name": "paper", "video_text": {"folder": str(folder)}, "preprocess": {},
        },
        "test",
    )  # fmt: skip
    assert (made.epochs, made.batch_size) == (30, 32)
    assert made.optimiser.kind == "sgd" and made.optimiser.schedule == "cosine"
    assert (made.optimiser.learning_rate, made.optimiser.final_learning_rate) == (1e-3, 1e-4)


@pytest.mark.parametrize("name", ["align_studio", "ntu60_align"])
def test_the_recipes_are_valid(name):
    run = load_yaml(AlignConfig, f"config/training/{name}.yaml")
    assert run.epochs == 30 and run.optimiser.learning_rate == 1e-3
    assert run.optimiser.final_learning_rate == 1e-4
    kind = models.architecture(run.architecture)
    load_yaml(kind.config, run.model)


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="no gloo"
)
def test_two_processes_learn_what_one_does(root, folder, tmp_path):
    """Batches of 5 clips, 2 and 3 a process: the videos of all of them are negatives of each."""
    changes = {"epochs": 1, "optimiser": {"kind": "sgd", "learning_rate": 0.01}}
    run = to_mapping(config(root, folder, **changes))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    ran = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1",
            align.__file__, "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "2"),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    alone = load_file(align.align(config(root, folder, **changes), tmp_path / "1"))
    torch.testing.assert_close(
        load_file(tmp_path / "2" / "aligned.safetensors"), alone, rtol=1e-2, atol=1e-3
    )
    said = [records(tmp_path / number)[0]["loss"] for number in ("1", "2")]
    assert said[0] == pytest.approx(said[1], rel=1e-4)
