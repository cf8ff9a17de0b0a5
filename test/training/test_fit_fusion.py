"""Fitting a fusion finds what the scores were made with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fourd_perception.errors import InputError
from fourd_perception.models.fusion import FusionConfig, ScoreFusion
from training.fit_fusion import fit, fit_temperature, fit_weights

VIDEOS, CLASSES = 4000, 5


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def drawn(seed: int = 0):
    """Logits, and labels that are drawn with the probabilities that these give."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (VIDEOS, CLASSES))
    labels = (random.random((VIDEOS, 1)) > softmax(logits).cumsum(1)).sum(1)
    return logits, np.minimum(labels, CLASSES - 1)


@pytest.mark.parametrize("factor", [0.2, 1.0, 8.0])
def test_the_temperature_undoes_what_made_the_logits_too_sure(factor):
    logits, labels = drawn()
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.1)


def test_calibration_is_better_after_it():
    logits, labels = drawn()
    fitted = fit({"pc": 6 * logits}, labels, "temperature")
    assert fitted.before["pc"] > 20 > 3 > fitted.after["pc"]
    assert fitted.figures["calibration_error_fused_after"] == fitted.after["fused"]
    assert fitted.config.pc.weight == 1.0 and fitted.config.rgb == FusionConfig().rgb


def test_the_weights_are_those_that_the_truth_was_mixed_with():
    """Labels drawn from 0.7 a + 0.3 b: least squares of one-hots finds the mixture."""
    random = np.random.default_rng(1)
    scores = {name: softmax(random.normal(0, 3, (VIDEOS, CLASSES))) for name in ("pc", "rgb", "no")}
    mixed = 0.7 * scores["pc"] + 0.3 * scores["rgb"]
    labels = (random.random((VIDEOS, 1)) > mixed.cumsum(1)).sum(1)
    weights = fit_weights(scores, np.minimum(labels, CLASSES - 1))
    assert weights["pc"] == pytest.approx(0.7, abs=0.05)
    assert weights["rgb"] == pytest.approx(0.3, abs=0.05)
    assert 0 <= weights["no"] < 0.05 and sum(weights.values()) == pytest.approx(1)


def test_a_source_that_knows_nothing_gets_next_to_nothing():
    logits, labels = drawn()
    noise = np.random.default_rng(2).normal(0, 2, logits.shape)
    fitted = fit({"pc": logits, "rgb": noise}, labels, "least_squares").config
    assert fitted.rgb.weight < 0.2 < 0.8 < fitted.pc.weight
    assert fitted.rgb.temperature > 10 * fitted.pc.temperature


@pytest.mark.parametrize("method", ["temperature", "least_squares"])
def test_sources_that_know_different_things_are_as_sure_as_they_are_right(method):
    """Two halves of the logits of one truth: their mean of scores alone is not sure enough."""
    logits, labels = drawn()
    first = np.random.default_rng(3).random(logits.shape) < 0.5
    halves = {"pc": 3 * logits * first, "rgb": 3 * logits * ~first}
    given = halves | {"pc_text": halves["pc"], "rgb_text": halves["rgb"]}
    labels = (3 * logits).argmax(1)
    fitted = fit(given, labels, method)
    assert fitted.config.temperature < 0.8
    assert fitted.after["fused"] < 3 < fitted.before["fused"]
    config = dataclasses.replace(fitted.config, temperature=1.0)
    tensors = {name: torch.from_numpy(one) for name, one in given.items()}
    mean, sure = (ScoreFusion(one).fuse(tensors) for one in (config, fitted.config))
    assert torch.equal(mean.argmax(1), sure.argmax(1))  # no answer changes
    cloud = {name: tensors[name] for name in ("pc", "pc_text")}  # the images have stopped
    assert torch.equal(*(ScoreFusion(one).fuse(cloud) for one in (config, fitted.config)))


def test_nothing_is_fitted_unless_asked_and_nothing_from_nothing():
    logits, labels = drawn()
    same = fit({"pc": logits}, labels, "equal")
    assert same.config == FusionConfig() and same.before == same.after
    with pytest.raises(InputError, match="there are none"):
        fit({"pc": logits[:0]}, labels[:0], "temperature")
    with pytest.raises(ValueError, match="expected one of equal"):
        fit({"pc": logits}, labels, "guess")


def test_scores_that_never_touch_the_truth_are_weighed_equally():
    scores = {"pc": np.array([[1.0, 0.0]]), "rgb": np.array([[1.0, 0.0]])}
    assert fit_weights(scores, [1]) == {"pc": 0.5, "rgb": 0.5}
