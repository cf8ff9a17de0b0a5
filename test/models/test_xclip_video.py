"""X-CLIP with the classes' texts in its weights: what the scorer says, from one file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small_model
import tiny_folders
import torch
from tiny_folders import SIZES, TEXTS

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import XClipVideoConfig, XClipVideoModel, sizes_of
from fourd_perception.parameters import from_mapping, load_yaml, to_mapping
from training.tiny_xclip import TinyConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folders.make(tmp_path_factory.mktemp("models"))


def begun(folder, *, prompts: bool = True) -> tuple[XClipVideoModel, XClipScorer]:
    scorer = XClipScorer.load(folder, prompts=prompts)
    model = models.build_any("xclip_video", to_mapping(sizes_of(scorer.visual)), len(TEXTS))
    assert isinstance(model, XClipVideoModel)
    model.take(scorer.visual, scorer.text_features(TEXTS))
    return model.eval(), scorer


@pytest.mark.parametrize("prompts", [True, False])
def test_begins_as_the_pre_trained_model(folder, prompts):
    model, scorer = begun(folder, prompts=prompts)
    with torch.no_grad():
        torch.testing.assert_close(
            model(tiny_folders.clips()), scorer(tiny_folders.clips(), TEXTS), rtol=1e-5, atol=1e-5
        )


def test_one_file_holds_it_and_no_tokenizer_is_needed(folder, tmp_path):
    model, _ = begun(folder)
    card = small_model.card(
        architecture="xclip_video", model=to_mapping(model.config),
        clip=replace(small_model.card().clip, frames=SIZES.frames),
    )  # fmt: skip
    checkpoint.save(tmp_path / "x.safetensors", model, card, half=False)
    loaded = checkpoint.load(tmp_path / "x.safetensors").model
    with torch.no_grad():
        assert loaded(tiny_folders.clips()).equal(model(tiny_folders.clips()))
    assert loaded.modality == "images" and loaded.task == "action_recognition"


def test_learns_all_but_the_texts(folder):
    model, _ = begun(folder)
    model.train()(tiny_folders.clips()).square().sum().backward()
    assert not model.texts.requires_grad
    assert all(one.grad is not None for one in model.parameters())


def test_clips_are_told_apart_and_alone(folder):
    model, _ = begun(folder)
    clips = tiny_folders.clips(3)
    with torch.no_grad():
        together = model(clips)
        alone = torch.cat([model(one[None]) for one in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_weights_of_other_sizes_are_refused_by_name(folder):
    scorer = XClipScorer.load(folder)
    sizes = replace(sizes_of(scorer.visual), depth=3, heads=4)
    model = XClipVideoModel(sizes, len(TEXTS))
    with pytest.raises(InputError, match=r"depth is 2, not 3; heads is 2, not 4"):
        model.take(scorer.visual, scorer.text_features(TEXTS))


def test_clips_of_another_length_are_refused(folder):
    model, _ = begun(folder)
    with pytest.raises(InputError, match="wants clips of 4 frames, got 6: set clip.frames"):
        model.check_input(6, 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": 5}, "heads: 5 heads cannot share 768 channels"),
        ({"patch_size": 15}, "patch_size: 15 does not divide 224"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        from_mapping(XClipVideoConfig, changes, "test")


def test_texts_are_one_for_each_class(folder):
    sizes = replace(sizes_of(XClipScorer.load(folder).visual), prompts=("a", "b"))
    with pytest.raises(InputError, match="2 texts for 3 classes"):
        XClipVideoModel(sizes, 3)


def test_without_transformers_one_line_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"xclip_video needs transformers .* \.\[vlm\]"):
        models.build_any("xclip_video", {}, 3)


def test_the_published_sizes_can_be_built():
    pytest.importorskip("transformers", reason="transformers is not installed (pip install .[vlm])")
    config = load_yaml(XClipVideoConfig, "config/models/xclip_video.yaml")
    assert config == XClipVideoConfig()
    with torch.device("meta"):
        model = models.build_any("xclip_video", to_mapping(config), 60)
    # CLIP-B/16's 86 million, a message attention in each of 12 layers, and the parts in 512.
    count = sum(one.numel() for one in model.parameters()) / 1e6
    assert 125 < count < 135


def test_the_small_sizes_are_those_of_the_tiny_model(tmp_path):
    folder = tiny_folders.make(tmp_path, sizes=TinyConfig())
    config = load_yaml(XClipVideoConfig, "config/models/xclip_video_small.yaml")
    assert config == sizes_of(XClipScorer.load(folder).visual)
