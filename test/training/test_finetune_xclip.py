"""X-CLIP is trained on the classes' own videos, and takes its place in the alignment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import small_model
import tiny_folders
import yaml
from test_align import config as align_config
from test_pretrain import MADE_OF, SIZE, data_set, document

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import sizes_of
from fourd_perception.parameters import from_mapping, load_yaml, to_mapping
from training import align, data, finetune, measuring
from training.aligned_with import load_scorer
from training.config import FinetuneConfig
from training.datasets.prepared import PrepareConfig, prepare
from training.tiny_xclip import TinyConfig

SIZES = TinyConfig(image_size=16, patch_size=4, frames=4, width=16, depth=1, heads=2, embed_dim=8)


def tinted(read):
    """What rises is red, what falls is blue: the smallest X-CLIP sees that, and no motion."""
    return [
        replace(
            video,
            frames=[
                replace(one, image=one.image[..., ::-1].copy()) if video.label else one
                for one in video.frames
            ],
        )
        for video in read()
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("xclip")
    whole = data_set(8)
    sources = [replace(source, read=partial(tinted, source.read)) for source in whole.sources]
    kept = PrepareConfig(0, (SIZE, SIZE))
    prepare(replace(whole, sources=sources), root / "prepared", MADE_OF, kept, workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    return root


@pytest.fixture(scope="module")
def folder(root) -> Path:
    return tiny_folders.make(root / "folder", "xclip", SIZES)


def config(root, folder, **changes) -> FinetuneConfig:
    sizes = to_mapping(sizes_of(XClipScorer.load(folder).visual))
    (root / "xclip.yaml").write_text(yaml.safe_dump(sizes))
    run = {
        "name": "seen", "architecture": "xclip_video", "model": str(root / "xclip.yaml"),
        "clip": {"frames": 4, "frame_step": 1, "rate": 10.0}, "preprocess": {"image_size": 16},
        "epochs": 25, "validate_every": 25, "batch_size": 5, "threads": 1,
        "sampling": {"window_share": 0.0}, "image_view": {"crop": 0.9, "hue": 0.0},
        "optimiser": {"learning_rate": 0.003, "warmup_epochs": 1},
        "data": document(root)["data"], **changes,
    }  # fmt: skip
    return from_mapping(FinetuneConfig, run, "test")


@pytest.fixture(scope="module")
def tuned(root, folder):
    """A checkpoint that has learnt to tell the two actions by their colour."""
    return finetune.finetune(config(root, folder), root / "tuned", init=folder)


def test_learns_from_images(root, folder, tuned):
    loaded = checkpoint.load(tuned)
    assert loaded.card.trained_on["initial_weights"] == {"name": "xclip"}
    run = config(root, folder)
    videos = data.open_videos(run.data)
    options = measuring.Options(("segments",), views=1)
    for part in ("train", "test"):
        chosen = measuring.choose(loaded, videos, run.data, part)
        figures = measuring.evaluate(loaded, videos, chosen, options).figures
        assert figures["video_accuracy"] >= 75
    assert measuring.cost(loaded)["clip_ms"] > 0


def test_takes_its_place_in_the_alignment(root, folder, tuned, tmp_path):
    told = {"folder": str(folder), "finetuned": str(tuned)}
    run = align_config(
        root, folder, video_text=told, epochs=10, validate_every=10,
        optimiser={"learning_rate": 0.02}, sampling={"window_share": 0.0},
    )  # fmt: skip
    made = align.align(run, tmp_path)
    card = checkpoint.read_card(made)
    assert card.trained_on["video_text"]["name"] == "seen"
    assert card.accuracy["holdout_rgb_text"] >= 75 and card.accuracy["holdout_fused"] >= 75


def test_only_what_was_made_of_the_same_folder_fits(root, folder, tuned, tmp_path):
    told = {"folder": str(folder), "finetuned": str(tuned), "conditioned": False}
    other = align_config(root, folder, video_text=told)
    with pytest.raises(InputError, match="prompt_depth is 0, not 2; or another"):
        load_scorer(other.video_text, 16)
    of_points = align.align(align_config(root, folder, epochs=1), tmp_path)
    told = {"folder": str(folder), "finetuned": str(of_points)}
    other = align_config(root, folder, video_text=told)
    with pytest.raises(InputError, match="a checkpoint of aligned, expected xclip_video"):
        load_scorer(other.video_text, 16)


def test_its_texts_must_come_from_somewhere(root, folder, tmp_path):
    with pytest.raises(InputError, match="come from a pre-trained model: --init FOLDER"):
        finetune.finetune(config(root, folder), tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        finetune.finetune(config(root, folder), tmp_path, init=tmp_path / "none")


@pytest.mark.parametrize("name", ["xclip_studio", "ntu60_xclip"])
def test_the_recipes_are_valid(name):
    run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
    sizes = yaml.safe_load(Path(run.model).read_text())
    assert run.clip.frames == sizes["frames"] == 8
    assert run.preprocess.image_size == sizes["image_size"]
    assert run.task == "action_recognition" and run.data.image_size
