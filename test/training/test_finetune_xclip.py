"""X-CLIP is trained on the classes' own videos, and takes its place in the alignment."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import small_model
import tiny_folders
import torch
import yaml
from test_align import config as align_config
from test_pretrain import MADE_OF, SIZE, data_set, document

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.image_pipeline import ImagePipeline
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import sizes_of
from fourd_perception.parameters import ConfigError, from_mapping, load_yaml, to_mapping
from fourd_perception.stream.frame import Frame
from training import align, data, finetune, measuring, scoring
from training.aligned_with import load_scorer
from training.config import FinetuneConfig
from training.datasets.prepared import PrepareConfig, prepare
from training.image_views import images_of
from training.source_scores import source_logits
from training.tiny_xclip import TinyConfig
from training.transforms import segment_indices, window_indices

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
    seen = document(root)["data"] | {"holdout": ["p0", "p3"]}
    with pytest.raises(InputError, match="it was trained on p3, which data.holdout keeps"):
        align.align(align_config(root, folder, video_text=told, data=seen), tmp_path / "other")


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


@pytest.mark.parametrize("name", ["xclip_studio", "xclip_boxes", "ntu60_xclip"])
def test_the_recipes_are_valid(name):
    run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
    sizes = yaml.safe_load(Path(run.model).read_text())
    assert run.clip.frames == sizes["frames"] == 8
    assert run.preprocess.image_size == sizes["image_size"]
    assert run.task == "action_recognition" and run.data.image_size


@pytest.fixture(scope="module")
def joined(root, folder, tuned):
    """A run of align.py with the fine-tuned X-CLIP: its configuration, and its checkpoint."""
    told = {"folder": str(folder), "finetuned": str(tuned)}
    run = align_config(root, folder, video_text=told, epochs=1)
    return run, align.align(run, root / "joined")


def test_the_recognizer_sees_videos_as_the_evaluation_did(root, folder, joined):
    run, made = joined
    loaded = checkpoint.load(made)
    scorer = XClipScorer.load(made.parent / "video_text")
    videos = data.open_videos(run.data)
    video = videos.videos[0]
    offline = source_logits(loaded.model, load_scorer(run.video_text, 16)[0], videos, [video], run)
    # The recognizer's window takes an image in each of as many segments as the training does.
    indices = window_indices(video.frames, run.clip.frames, scoring.video_step(videos, run.clip))
    seen = indices[segment_indices(len(indices), scorer.frames)]
    pipeline = ImagePipeline(loaded, scorer, run.clip, 1.0)
    period = pipeline.window.clip.period
    none = np.empty((0, 3), np.float32)
    frames = [
        Frame(place * period, "", none, image)
        for place, image in enumerate(images_of(videos, video, seen))
    ]
    (clip,) = filter(None, map(pipeline.offer, frames))
    live = pipeline.score(clip)
    for name in ("rgb", "rgb_text"):
        np.testing.assert_allclose(live.logits[name].numpy(), offline[name][0], atol=1e-4)
    # Its own, from before the fine-tuning, would say something else, and is refused.
    with pytest.raises(InputError, match="sees videos with other weights .* folder video_text"):
        ImagePipeline(loaded, XClipScorer.load(folder), run.clip, 1.0)


def test_the_folder_that_is_left_is_a_whole_one(folder, joined):
    _, made = joined
    left = made.parent / "video_text"
    transformers = pytest.importorskip("transformers")
    before, after = (
        transformers.XCLIPModel.from_pretrained(str(one), local_files_only=True).state_dict()
        for one in (folder, left)
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and changed
    assert not any(name.startswith("text_") for name in changed)
    texts = [XClipScorer.load(one).text_features(["rise", "fall"]) for one in (folder, left)]
    assert torch.equal(*texts)


def test_classes_that_are_left_out_are_not_learnt(root, folder, tmp_path):
    run = config(root, folder, left_out=["fall"], epochs=1)
    loaded = checkpoint.load(finetune.finetune(run, tmp_path, init=folder))
    assert loaded.card.classes == ("rise",) and loaded.card.trained_on["left_out"] == ["fall"]
    whole = data.open_videos(run.data)
    assert loaded.card.trained_on["videos"] == sum(
        video.label == 0 for video in data.split(whole, run.data)["train"]
    )
    with pytest.raises(InputError, match="left_out: jump not among the classes"):
        finetune.finetune(config(root, folder, left_out=["jump"]), tmp_path / "no", init=folder)
    with pytest.raises(ConfigError, match="left_out: it is for the task action_recognition"):
        config(root, folder, left_out=["fall"], task="action_segmentation")
