"""Models of video and texts: what transformers computes, from folders, without a network."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_folders
import torch
from safetensors.torch import load_file, save_file
from tiny_folders import TEXTS

from fourd_perception.errors import InputError
from fourd_perception.models.clip_frames import CLIP_DEVIATION, CLIP_MEAN, ClipFramesScorer
from fourd_perception.models.video_text import KeptTexts, VideoTextScorer, check_texts, prompt_of
from fourd_perception.models.xclip import IMAGENET_DEVIATION, IMAGENET_MEAN, XClipScorer
from training import make_safetensors, tiny_xclip

SCORERS = {"xclip": XClipScorer, "clip": ClipFramesScorer}


def load(folder, kind) -> VideoTextScorer:
    return XClipScorer.load(folder) if kind == "xclip" else ClipFramesScorer.load(folder, frames=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: tiny_folders.make(root, kind) for kind in SCORERS}


@pytest.fixture
def copied(folders, tmp_path):
    """An X-CLIP to be spoilt."""
    return shutil.copytree(folders["xclip"], tmp_path / "copied")


def normalised(images, mean, deviation):
    mean, deviation = (torch.tensor(one).view(3, 1, 1) for one in (mean, deviation))
    return (images - mean) / deviation


def tokens_of(folder):
    import transformers

    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(folder)
    return tokenizer(list(TEXTS), padding=True, return_tensors="pt")


def test_x_clip_says_what_transformers_says(folders):
    import transformers

    scorer, images = XClipScorer.load(folders["xclip"]), tiny_folders.clips()
    model = transformers.XCLIPModel.from_pretrained(folders["xclip"]).eval()
    pixels = normalised(images, IMAGENET_MEAN, IMAGENET_DEVIATION)
    with torch.no_grad():
        expected = model(**tokens_of(folders["xclip"]), pixel_values=pixels)
    found = scorer.logits(scorer.video_features(images), scorer.text_features(TEXTS))
    torch.testing.assert_close(found, expected.logits_per_video, rtol=1e-5, atol=1e-5)
    video = scorer.video_features(images).video
    torch.testing.assert_close(
        torch.nn.functional.normalize(video, dim=-1), expected.video_embeds, rtol=1e-5, atol=1e-5
    )
    assert found.shape == (2, len(TEXTS)) and not found.requires_grad
    assert scorer.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))


def test_clip_is_the_mean_over_frames(folders):
    import transformers

    scorer, images = ClipFramesScorer.load(folders["clip"], frames=4), tiny_folders.clips()
    model = transformers.CLIPModel.from_pretrained(folders["clip"]).eval()
    pixels = normalised(images, CLIP_MEAN, CLIP_DEVIATION)
    with torch.no_grad():
        seen = [model(**tokens_of(folders["clip"]), pixel_values=clip) for clip in pixels]
    video = torch.stack([one.image_embeds.mean(0) for one in seen])
    expected = (
        model.logit_scale.exp()
        * (video / video.norm(dim=-1, keepdim=True))
        @ (seen[0].text_embeds.T)
    )
    found = scorer.logits(scorer.video_features(images), scorer.text_features(TEXTS))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)


# Of weights that the version of transformers does not choose; computed with 5.23, equal with 4.57.
LOGITS = [[-0.2149823, -0.2619170, -0.1126756], [-0.2610040, -0.3039582, -0.1552478]]


def test_every_version_of_transformers_says_the_same(folders, tmp_path):
    folder = shutil.copytree(folders["xclip"], tmp_path / "fixed")
    random = np.random.default_rng(3)
    state = load_file(folder / "model.safetensors")
    fixed = {
        name: torch.from_numpy(random.normal(0, 0.5, state[name].shape).astype(np.float32))
        for name in sorted(state)
    }
    save_file(fixed, folder / "model.safetensors", {"format": "pt"})
    images = random.random((2, 4, 3, 16, 16), np.float32)
    found = XClipScorer.load(folder)(torch.from_numpy(images), TEXTS)
    torch.testing.assert_close(found, torch.tensor(LOGITS), rtol=1e-4, atol=1e-4)


def test_texts_are_conditioned_on_the_video_or_not(folders):
    images = tiny_folders.clips()
    plain = XClipScorer.load(folders["xclip"], prompts=False)
    video = plain.video_features(images)
    assert video.patches is None
    texts = plain.text_features(TEXTS)
    cosine = torch.nn.functional.cosine_similarity(video.video[:, None], texts, dim=-1)
    torch.testing.assert_close(plain.logits(video, texts), plain.logit_scale * cosine)
    with_prompts = XClipScorer.load(folders["xclip"])(images, TEXTS)
    assert (with_prompts - plain(images, TEXTS)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", SCORERS)
def test_a_text_alone_is_what_it_is_among_others(folders, kind):
    """Among others it is padded; and what was asked for is not computed again."""
    scorer = load(folders[kind], kind)
    together = scorer.text_features(TEXTS)
    alone = load(folders[kind], kind)
    for number, text in enumerate(TEXTS):
        torch.testing.assert_close(
            alone.text_features([text])[0], together[number], rtol=1e-5, atol=1e-6
        )
    assert torch.equal(scorer.text_features(TEXTS[::-1]), together.flip(0))


def test_texts_are_computed_once():
    asked = []

    def encode(texts):
        asked.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    kept = KeptTexts(encode)
    kept.features(["a", "bb"])
    assert kept.features(["bb", "ccc"]).tolist() == [[2.0], [3.0]]
    assert asked == ["a", "bb", "ccc"]
    kept.forget()
    kept.features(["a"])
    assert asked[-1] == "a"


def test_remembers_no_more_than_it_may():
    kept = KeptTexts(lambda texts: torch.zeros(len(texts), 1))
    for number in range(3):
        kept.features([f"{number} {text}" for text in range(3000)])
        assert len(kept._kept) <= 4096


@pytest.mark.parametrize("kind", SCORERS)
def test_what_it_says_of_itself(folders, kind):
    scorer = load(folders[kind], kind)
    assert (scorer.frames, scorer.image_size, scorer.embed_dim) == (4, 16, 8)
    assert scorer.name == kind
    assert not any(one.requires_grad for one in scorer.parameters())


@pytest.mark.parametrize("kind", SCORERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:, :2], lambda images: images[..., :8], lambda images: images[0],
        lambda images: (255 * images).to(torch.uint8), lambda images: images[:, :, :1],
    ],
)  # fmt: skip
def test_images_of_another_size_or_type_are_refused(folders, kind, change):
    scorer = load(folders[kind], kind)
    with pytest.raises(InputError, match=r"wants images \(B, 4, 3, 16, 16\) float32, got \("):
        scorer.video_features(change(tiny_folders.clips()))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "expected a list of texts"),
        ("wave", "expected a list of texts"),
        (["wave", " "], "number 2 of 2 is empty"),
        (["wave", "sit", "wave"], "'wave' stands twice"),
    ],
)
def test_texts_that_cannot_be_classes_are_refused(texts, said):
    with pytest.raises(InputError, match=said):
        check_texts(texts)


def test_a_text_that_is_too_long_is_refused(folders):
    scorer = XClipScorer.load(folders["xclip"])
    scorer.text_features(["a" * 75])
    with pytest.raises(InputError, match="has 78 tokens, the model reads 77"):
        scorer.text_features(["a" * 76])


def test_a_class_is_said_in_words():
    assert prompt_of("wave_hand") == "wave hand"
    assert prompt_of(" sit  down ") == "sit down"


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_off(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def of_another_type(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))


def of_other_sizes(folder):
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_frames"] = 5
    (folder / "config.json").write_text(json.dumps(config))


def lacking_a_weight(folder):
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors")


def not_finite(folder):
    state = load_file(folder / "model.safetensors")
    state["logit_scale"] = torch.tensor(torch.nan)
    save_file(state, folder / "model.safetensors")


def without_tokenizer(folder):
    for path in (*folder.glob("vocab*"), *folder.glob("tokenizer*")):
        path.unlink()


def with_another_tokenizer(folder):
    tiny_xclip.write_tokenizer(folder, ["h e"])


def with_no_tokenizer_inside(folder):
    (folder / "vocab.json").write_text("[]")


def with_bad_statistics(folder):
    (folder / "preprocessor_config.json").write_text('{"image_std": [0, 1, 1]}')


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "no such folder; on a computer with a network: hf download microsoft/"),
        (without_weights, "expected model.safetensors, got no weights"),
        (pickled, r"got only pytorch_model.bin, which is a pickle .*/make_safetensors.py"),
        (cut_off, "damaged"),
        (of_another_type, "a model of type 'bert', expected 'xclip'"),
        (of_other_sizes, r"'mit.position_embedding' is \(1, 4, 8\), expected \(1, 5, 8\)"),
        (lacking_a_weight, "'visual_projection.weight' is missing"),
        (not_finite, "'logit_scale' is not finite"),
        (without_tokenizer, "no tokenizer"),
        (with_another_tokenizer, "another tokenizer: 515 tokens"),
        (with_no_tokenizer_inside, "its tokenizer cannot be read"),
        (with_bad_statistics, "image_std: expected more than 0"),
    ],
)
def test_a_folder_that_will_not_do_is_told_in_one_line(copied, spoil, said):
    spoil(copied)
    with pytest.raises(InputError, match=said) as caught:
        XClipScorer.load(copied)
    assert "\n" not in str(caught.value)


def test_the_images_own_statistics_are_taken(folders, copied):
    images = tiny_folders.clips()
    told = {"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}
    (copied / "preprocessor_config.json").write_text(json.dumps(told))
    moved = (images - 0.5) * torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1)
    moved = moved + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    torch.testing.assert_close(
        XClipScorer.load(copied)(images, TEXTS), XClipScorer.load(folders["xclip"])(moved, TEXTS),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_without_transformers_one_line_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(InputError, match=r"X-CLIP needs transformers .* pip install .\[vlm\]"):
        XClipScorer.load(tmp_path)


def test_names_of_old_files_are_let_pass(folders, copied):
    state = load_file(copied / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, copied / "model.safetensors")
    XClipScorer.load(copied)


def test_pickled_weights_are_turned_into_safetensors(copied):
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"pytorch_model.bin: no such file"):
        make_safetensors.convert(copied)
    torch.save(state, copied / "pytorch_model.bin")
    assert load_file(make_safetensors.convert(copied)).keys() == state.keys()
    XClipScorer.load(copied)
    with pytest.raises(InputError, match="already there"):
        make_safetensors.convert(copied)


def test_clips_vocabulary_of_an_installed_package(tmp_path):
    transformers = pytest.importorskip("transformers")
    try:
        merges = tiny_xclip.read_merges(tiny_xclip.find_vocabulary())
    except InputError as error:
        pytest.skip(str(error))
    assert tiny_xclip.write_tokenizer(tmp_path, merges) == 49408
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(tmp_path)
    # As CLIP's own tokenizer has it.
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_a_file_that_is_not_the_vocabulary_is_refused(tmp_path):
    (tmp_path / "words.gz").write_text("no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        tiny_xclip.read_merges(tmp_path / "words.gz")
