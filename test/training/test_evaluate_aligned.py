"""Tables II and III: every subset of the scores, losses left out, classes left out."""

# ruff: noqa: F811 (fixtures of test_align.py and test_pretrain.py)

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_folders
import yaml
from test_align import SIZES, aligned, config, folder  # noqa: F401
from test_pretrain import finetune_config, root, trained  # noqa: F401

from fourd_perception.errors import InputError
from fourd_perception.models.fusion import FusionConfig, SourceConfig
from fourd_perception.parameters import to_mapping
from training import align, evaluate_aligned, finetune
from training.evaluate_aligned import figures_of, subset_accuracies


def test_subsets_by_hand():
    """Two videos of classes 0 and 1: pc is right of the first, rgb of both and very sure."""
    sure, flat = np.float32([[4, 0], [0, 4]]), np.zeros((2, 2), np.float32)
    logits = {
        "pc": np.float32([[1, 0], [1, 0]]), "pc_text": flat, "rgb": sure, "rgb_text": -sure,
    }  # fmt: skip
    found = subset_accuracies(logits, np.array([0, 1]), FusionConfig())
    assert len(found) == 15
    assert found["pc"] == 50 and found["rgb"] == 100 and found["rgb_text"] == 0
    assert found["pc+rgb"] == 100 and found["rgb+rgb_text"] == 50 and found["fused"] == 50
    for_rgb = FusionConfig(rgb_text=SourceConfig(0.0))
    assert subset_accuracies(logits, np.array([0, 1]), for_rgb)["fused"] == 100


def test_measures_all_subsets_and_losses_left_out(root, folder, aligned, tmp_path):
    run = config(root, folder)
    without = align.align(config(root, folder, loss={"beta": 0}, epochs=1), tmp_path)
    files = [str(aligned / "aligned.safetensors"), f"without_pc_text={without}"]
    figures, cards = figures_of(files, run, "test")
    assert {"pc", "pc_text", "rgb", "rgb_text", "fused", "pc+rgb_text"} <= figures.keys()
    assert {"fused_without_pc_text", "fused_equal_weights"} <= figures.keys()
    assert figures["videos"] == 2 and len(cards) == 2
    assert all(np.isfinite(value) for value in figures.values())


def test_classes_left_out_are_told_apart_by_their_texts(root, folder, aligned, monkeypatch):
    """Of two classes, both are left out of a model that pretends to know two others."""
    run = config(root, folder)
    device = evaluate_aligned.device_of("cpu")
    opened = evaluate_aligned.open_aligned(str(aligned / "aligned.safetensors"), device)
    pretends = evaluate_aligned.Aligned(
        type(opened.card)(**{**vars(opened.card), "classes": ("sit", "stand")}), opened.model
    )
    videos = evaluate_aligned.open_videos(run.data)
    scorer, _ = evaluate_aligned.load_scorer(run.video_text, 16)
    found = evaluate_aligned.zero_shot(pretends, scorer, videos, run, "test")
    assert found.keys() == {
        "zero_shot_pc_text", "zero_shot_rgb_text", "zero_shot_chance", "zero_shot_videos",
    }  # fmt: skip
    assert found["zero_shot_chance"] == 50
    assert evaluate_aligned.zero_shot(opened, scorer, videos, run, "test") == {}
    with pytest.raises(InputError, match="knows sit, stand, of which"):
        evaluate_aligned.known_videos(pretends, videos, run, "test")


def test_what_does_not_belong_together_is_refused(root, folder, aligned, tmp_path):
    file = str(aligned / "aligned.safetensors")
    other = tiny_folders.make(tmp_path, "xclip", type(SIZES)(**{**vars(SIZES), "seed": 5}))
    run = config(root, other)
    with pytest.raises(InputError, match="has other features of 'rise'"):
        figures_of([file], run, "test")
    tuned = finetune.finetune(finetune_config(root), tmp_path / "tuned")
    with pytest.raises(InputError, match="a checkpoint of im_pstnet, expected aligned"):
        figures_of([str(tuned)], config(root, folder), "test")
    data = to_mapping(config(root, folder).data) | {"holdout": ["p2"]}
    with pytest.raises(InputError, match="was trained on p2"):
        figures_of([file], config(root, folder, data=data), "holdout")


def test_the_command_line(root, folder, aligned, tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_mapping(config(root, folder))))
    arguments = [
        "evaluate_aligned.py", "--model", str(aligned / "aligned.safetensors"), "--config",
        str(tmp_path / "run.yaml"), "--json", "--results", str(tmp_path / "vg4d.json"),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert evaluate_aligned.main() == 0
    said = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "vg4d.json").read_text())["figures"] == said
