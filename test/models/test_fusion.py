"""The fusion of scores: whatever sources are there, and whatever their weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.models.fusion import SOURCES, FusionConfig, ScoreFusion, SourceConfig
from fourd_perception.parameters import ConfigError, from_mapping, to_mapping

subsets = st.lists(st.sampled_from(SOURCES), min_size=1, unique=True)


def some_logits(sources, seed: int = 0, scale: float = 3.0) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    return {name: torch.from_numpy(scale * random.normal(size=(5, 4))) for name in sources}


@st.composite
def configs(draw) -> FusionConfig:
    weight, temperature = st.sampled_from((0.0, 0.3, 1.0, 7.0)), st.sampled_from((0.1, 1.0, 20.0))
    return FusionConfig(**{name: SourceConfig(draw(weight), draw(temperature)) for name in SOURCES})


@given(subsets, configs(), st.integers(0, 99))
def test_any_subset_gives_scores(sources, config, seed):
    fused = ScoreFusion(config).fuse(some_logits(sources, seed))
    assert fused.shape == (5, 4) and (fused >= 0).all()
    torch.testing.assert_close(fused.sum(-1), torch.ones(5))


@given(subsets, configs(), st.integers(0, 99))
def test_equals_the_mean_written_out(sources, config, seed):
    given = some_logits(sources, seed)
    expected, total = np.zeros((5, 4)), 0.0
    for name, logits in given.items():
        powers = np.exp(logits.numpy() / config.of(name).temperature)
        weight = config.of(name).weight or (0.0 if any(config.of(n).weight for n in given) else 1.0)
        expected += weight * powers / powers.sum(1, keepdims=True)
        total += weight
    found = ScoreFusion(config).fuse(given)
    np.testing.assert_allclose(found.numpy(), expected / total, atol=1e-6)


def test_by_hand():
    """Two classes; scores 0.8 and 0.2, 0.4 and 0.6; weights 3 and 1: 0.7 and 0.3."""
    logits = {"pc": torch.tensor([0.8, 0.2]).log(), "rgb": torch.tensor([0.4, 0.6]).log()}
    fusion = ScoreFusion(FusionConfig(pc=SourceConfig(3.0)))
    torch.testing.assert_close(fusion.fuse(logits), torch.tensor([0.7, 0.3]))
    equal = ScoreFusion().fuse(logits)
    torch.testing.assert_close(equal, torch.tensor([0.6, 0.4]))


def test_one_source_is_itself_and_the_order_does_not_count():
    logits = some_logits(SOURCES)
    fusion = ScoreFusion(FusionConfig(rgb=SourceConfig(2.0, 3.0)))
    torch.testing.assert_close(
        fusion.fuse({"rgb": logits["rgb"]}), torch.softmax(logits["rgb"].float() / 3, -1)
    )
    backwards = dict(reversed(list(logits.items())))
    torch.testing.assert_close(fusion.fuse(backwards), fusion.fuse(logits))


def test_when_the_images_stop_the_cloud_alone_answers():
    """Although the fit gave it no weight beside them."""
    fusion = ScoreFusion(FusionConfig(pc=SourceConfig(0.0), pc_text=SourceConfig(0.0)))
    logits = some_logits(("pc", "pc_text"))
    expected = (torch.softmax(logits["pc"], -1) + torch.softmax(logits["pc_text"], -1)) / 2
    torch.testing.assert_close(fusion.fuse(logits), expected.float())
    assert fusion.weights(SOURCES) == {"pc": 0.0, "pc_text": 0.0, "rgb": 0.5, "rgb_text": 0.5}


def test_is_plain_data_and_back():
    config = FusionConfig(pc_text=SourceConfig(0.25, 4.0))
    document = json.loads(json.dumps(to_mapping(config)))
    assert from_mapping(FusionConfig, document, "card") == config
    for bad, said in (
        ({"pc": {"weight": -1}}, "pc: weight: expected 0 to"),
        ({"pc": {"temperature": 0}}, "temperature: expected 0.001"),
        ({"depth": {}}, "unknown key 'depth'"),
    ):
        with pytest.raises(ConfigError, match=said):
            from_mapping(FusionConfig, bad, "card")


@pytest.mark.parametrize(
    ("logits", "said"),
    [
        ({}, "got none"),
        ({"depth": torch.zeros(2)}, "source 'depth'; expected one of pc"),
        ({"pc": torch.zeros(2), "rgb": torch.zeros(3)}, "expected one shape"),
    ],
)
def test_what_cannot_be_fused_is_refused(logits, said):
    with pytest.raises(ValueError, match=said):
        ScoreFusion().fuse(logits)
