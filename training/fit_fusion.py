"""Weights and temperatures of a fusion, from scores of videos that were not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls

from fourd_perception.errors import InputError
from fourd_perception.evaluation import metrics
from fourd_perception.models.fusion import SOURCES, FusionConfig, ScoreFusion

METHODS = ("equal", "temperature", "least_squares")
_TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True)
class Fitted:
    """A fusion, and what it is worth on the videos that it was fitted on.

    calibration_error: expected calibration error in percent, of `fused` and of each source, before
    (every weight and temperature 1) and after.
    """

    config: FusionConfig
    before: dict[str, float]
    after: dict[str, float]

    @property
    def figures(self) -> dict[str, float]:
        """As a checkpoint's card keeps them."""
        told = (("before", self.before), ("after", self.after))
        return {
            f"calibration_error_{name}_{when}": value
            for when, errors in told
            for name, value in errors.items()
        }


def fit(logits: Mapping[str, NDArray[np.floating]], labels: ArrayLike, method: str) -> Fitted:
    """A fusion of the sources that are given.

    logits: for each source (V, K), of V videos; labels: (V,) integers in 0 .. K - 1. method: equal
    (nothing is fitted); temperature, of each source the one of the least negative log-likelihood
    (Guo et al. 2017), weights equal; least_squares, temperatures too, then the weights, none
    negative, whose mean of scores is nearest to the truth (one-hot), by squares. With either,
    where all four sources are given, a temperature of their mean at last.
    Raises InputError if there are no videos, ValueError on another method and on shapes.
    """
    if method not in METHODS:
        raise ValueError(f"method '{method}'; expected one of {', '.join(METHODS)}")
    truth = np.asarray(labels)
    if not truth.size:
        raise InputError("a fusion is fitted on held-out videos with labels, and there are none")
    config = FusionConfig()
    if method != "equal":
        for name, values in logits.items():
            fitted = replace(config.of(name), temperature=fit_temperature(values, truth))
            config = config.having(name, fitted)
    if method == "least_squares":
        scores = ScoreFusion(config).scores(_tensors(logits))
        weights = fit_weights({name: one.double().numpy() for name, one in scores.items()}, truth)
        for name, weight in weights.items():
            config = config.having(name, replace(config.of(name), weight=weight))
    if method != "equal" and set(logits) == set(SOURCES):
        fused = ScoreFusion(config).fuse(_tensors(logits)).double().log().numpy()
        config = replace(config, temperature=fit_temperature(fused, truth))
    return Fitted(
        config,
        _errors(FusionConfig(), logits, truth),
        _errors(config, logits, truth),
    )


def fit_temperature(logits: NDArray[np.floating], labels: ArrayLike) -> float:
    """What (V, K) logits are divided by, so that their softmax makes (V,) labels most likely."""
    values = np.asarray(logits, np.float64)
    truth = np.asarray(labels)
    rows = np.arange(len(truth))

    def surprise(exponent: float) -> float:
        scaled = values / np.exp(exponent)
        scaled = scaled - scaled.max(1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(1)) - scaled[rows, truth]).mean())

    found = minimize_scalar(surprise, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def fit_weights(scores: Mapping[str, NDArray[np.floating]], labels: ArrayLike) -> dict[str, float]:
    """Weights that sum to 1, from each source's (V, K) scores and (V,) labels."""
    columns = np.stack([one.ravel() for one in scores.values()], 1).astype(np.float64)
    classes = next(iter(scores.values())).shape[1]
    weights, _ = nnls(columns, np.eye(classes)[np.asarray(labels)].ravel())
    total = weights.sum()
    if not total:  # no source gives any true class more than nothing
        return dict.fromkeys(scores, 1 / len(scores))
    return {name: float(weight / total) for name, weight in zip(scores, weights)}


def _errors(
    config: FusionConfig, logits: Mapping[str, NDArray[np.floating]], labels: NDArray
) -> dict[str, float]:
    fusion, given = ScoreFusion(config), _tensors(logits)
    everything = {"fused": fusion.fuse(given), **fusion.scores(given)}
    return {
        name: metrics.expected_calibration_error(scores.double().numpy(), labels)
        for name, scores in everything.items()
    }


def _tensors(logits: Mapping[str, NDArray[np.floating]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in logits.items()}
