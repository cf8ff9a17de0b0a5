"""The model that is aligned with texts: one file, both of the cloud's scores, and new texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_model
import torch

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.fusion import FusionConfig, SourceConfig
from fourd_perception.models.video_text import VideoFeatures
from fourd_perception.parameters import from_mapping, to_mapping
from fourd_perception.pipeline import ActionPipeline
from fourd_perception.stream.frame import SECOND, Frame

PROMPTS = ("doing nothing", "waving a hand", "kicking")
DIM = 6


def sizes(**changes) -> dict:
    config = models.ALIGNED_ARCHITECTURES["aligned"].config
    given = {
        "encoder": "im_pstnet", "encoder_sizes": small_model.card().model, "embed_dim": DIM,
        "logit_scale": 20.0, "prompts": PROMPTS, "text_model": "tiny",
        "fusion": to_mapping(FusionConfig(pc_text=SourceConfig(0.5, 2.0))),
    }  # fmt: skip
    return to_mapping(from_mapping(config, given | changes, "test"))


def build(seed: int = 0, **changes) -> AlignedModel:
    torch.manual_seed(seed)
    model = models.build("aligned", sizes(**changes), len(PROMPTS))
    assert isinstance(model, AlignedModel)
    model.set_texts(torch.randn(len(PROMPTS), DIM))
    return model.eval()


def clips(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 4, 32, 3, generator=torch.Generator().manual_seed(3))


def test_its_classifier_is_its_encoders():
    model = build()
    with torch.no_grad():
        torch.testing.assert_close(model(clips()), model.encoder(clips()))
        assert model.cloud_logits(model.encode(clips()))["pc"].equal(model(clips()))


def test_scores_against_texts_are_scaled_cosines():
    model = build()
    with torch.no_grad():
        features = model.encode(clips())
        found = model.cloud_logits(features)["pc_text"]
        projected = model.projection(features.video).double().numpy()
    expected = np.zeros((2, len(PROMPTS)))
    for clip, vector in enumerate(projected):
        for text, other in enumerate(model.texts.double().numpy()):
            cosine = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
            expected[clip, text] = 20.0 * cosine
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.texts.norm(dim=1), torch.ones(len(PROMPTS)))


def test_new_texts_are_scored_without_training():
    model = build()
    with torch.no_grad():
        features = model.encode(clips())
        new = torch.stack((model.embed(features.video)[0], torch.randn(DIM)))
        logits = model.text_logits(features, 7 * new)
    assert logits.shape == (2, 2)
    assert float(logits[0, 0]) == pytest.approx(20.0, abs=1e-3)  # the text that lies upon it
    assert model.unseen(("kicking", "juggling")) == ("juggling",)


def test_images_have_a_classifier_of_their_own():
    model = build()
    logits = model.rgb_logits(VideoFeatures(torch.randn(5, DIM)))
    assert logits.shape == (5, len(PROMPTS))


def saved(tmp_path, model: AlignedModel):
    card = small_model.card(architecture="aligned", model=to_mapping(model.config))
    checkpoint.save(tmp_path / "aligned.safetensors", model, card, half=False)
    return checkpoint.load(tmp_path / "aligned.safetensors")


def test_one_file_holds_it_all(tmp_path, monkeypatch):
    """Without transformers; prompts, texts, both heads, and the fusion's weights."""
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    model = build()
    loaded = saved(tmp_path, model).model
    assert isinstance(loaded, AlignedModel)
    assert loaded.config == model.config
    assert loaded.config.fusion.pc_text == SourceConfig(0.5, 2.0)
    with torch.no_grad():
        for name, logits in model.cloud_logits(model.encode(clips())).items():
            assert loaded.cloud_logits(loaded.encode(clips()))[name].equal(logits)


def stream(count: int = 12) -> list[Frame]:
    random = np.random.default_rng(0)
    return [
        Frame(number * SECOND // 30, "camera", random.random((64, 3), np.float32))
        for number in range(count)
    ]


def test_a_pipeline_fuses_the_clouds_two_scores_as_the_checkpoint_says(tmp_path):
    model = build()
    alone = checkpoint.Checkpoint(small_model.card(), model.encoder)
    both = [
        [one for one in map(ActionPipeline(loaded).push, stream()) if one is not None]
        for loaded in (saved(tmp_path, model), alone)
    ]
    assert both[0]
    for ours, encoders in zip(*both, strict=True):
        assert set(ours.by_source) == {"pc", "pc_text"} and encoders.by_source == {}
        np.testing.assert_allclose(ours.by_source["pc"], encoders.scores, atol=1e-4)
        # Weights 1 and 0.5; the temperature is in the score against texts already.
        mean = (ours.by_source["pc"] + 0.5 * ours.by_source["pc_text"]) / 1.5
        np.testing.assert_allclose(ours.scores, mean, atol=1e-6)
        assert ours.scores.sum() == pytest.approx(1, abs=1e-5)


def test_nobody_in_view_has_no_score_of_any_source(tmp_path):
    pipeline = ActionPipeline(saved(tmp_path, build()))
    nothing = [Frame(one.stamp, "camera", one.points[:0]) for one in stream(7)]
    answer = [pipeline.push(frame) for frame in nothing][6]
    assert not answer.scores.any() and answer.by_source == {}


def test_every_weight_is_learnt_from_some_score():
    model = build().train()
    features = model.encode(clips(3))
    total = sum(one.square().sum() for one in model.cloud_logits(features).values())
    total = total + model.rgb_logits(VideoFeatures(torch.randn(3, DIM))).square().sum()
    total.backward()
    assert all(one.grad is not None for one in model.parameters())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompts": PROMPTS[:2]}, "2 texts for 3 classes"),
        ({"prompts": ("a", "a", "b")}, "'a' stands twice"),
        ({"encoder": "image_video"}, "unknown architecture 'image_video'"),
        ({"encoder_sizes": {"layers": []}}, "layers: expected 1 to 64"),
        ({"encoder": "aligned"}, "unknown architecture 'aligned'"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changes, said):
    with pytest.raises(InputError, match=said):
        models.build("aligned", sizes(**changes), len(PROMPTS))


def test_an_encoder_of_frames_is_refused():
    case = models.ARCHITECTURES["p4_transformer"]
    frame_sizes = to_mapping(from_mapping(case.config, small_model.FRAME_SIZES, "test"))
    with pytest.raises(InputError, match="a model for action_segmentation"):
        models.build(
            "aligned", sizes(encoder="p4_transformer", encoder_sizes=frame_sizes), len(PROMPTS)
        )


def test_a_card_of_other_sizes_is_refused(tmp_path):
    model = build()
    card = small_model.card(
        architecture="aligned", model=to_mapping(replace(model.config, embed_dim=DIM + 1))
    )
    checkpoint.save(tmp_path / "a.safetensors", model, card)
    with pytest.raises(InputError, match="weights and card disagree"):
        checkpoint.load(tmp_path / "a.safetensors")
