from __future__ import annotations

import json
import sys

from benchmarks import pretrain_step
from fourd_perception.parameters import load_yaml
from training.pretrain_config import PretrainConfig

SMALL = (
    "config/training/crossvideo_msr_action3d.yaml", "clip.frames=6", "preprocess.points=128",
    "batch_size=3", "preprocess.image_size=16",
)  # fmt: skip
PARTS = {"points_ms", "images_ms", "contrast_ms", "backward_ms", "optimiser_ms"}


def test_batches_are_of_the_recipes_sizes():
    config = load_yaml(PretrainConfig, SMALL[0], SMALL[1:])
    batch = pretrain_step.random_batch(config)
    assert batch.clips.shape == (3, 6, 128, 3)
    assert batch.second.shape == (3, 3, 128, 3)  # every second frame
    assert batch.images.shape == (3, 6, 3, 16, 16)
    assert batch.second_frames[0].tolist() == [0, 2, 4]


def test_a_step_is_the_sum_of_its_parts(tmp_path, monkeypatch):
    path, overrides = tmp_path / "step.json", [f"--set={one}" for one in SMALL[1:]]
    arguments = ["--config", SMALL[0], *overrides, "--results", str(path)]
    monkeypatch.setattr(sys, "argv", ["pretrain_step.py", *arguments])
    assert pretrain_step.main() == 0
    figures = json.loads(path.read_text())["figures"]
    assert figures.keys() == {"memory_mb", "step_ms", *PARTS}
    assert all(value > 0 for name, value in figures.items() if name in ("points_ms", "images_ms"))
    assert figures["step_ms"] == sum(figures[part] for part in PARTS)
