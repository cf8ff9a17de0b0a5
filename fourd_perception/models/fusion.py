"""The fusion of VG4D's scores: of the cloud, its text, the images, their text (section III-B)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fourd_perception.parameters import param

SOURCES = ("pc", "pc_text", "rgb", "rgb_text")
"""Of Table III: the cloud's classifier, the cloud against texts, and both of the images."""


@dataclass(frozen=True)
class SourceConfig:
    """How one source's logits take part."""

    weight: float = param(1.0, "of its scores in the mean", at_least=0, at_most=1e6)
    temperature: float = param(
        1.0, "its logits are divided by this before the softmax", at_least=1e-3, at_most=1e4
    )


@dataclass(frozen=True)
class FusionConfig:
    """Weights and temperatures of the sources; equal where nothing was fitted.

    The paper "fuses four scores" and says neither with which weights nor of what: here it is the
    mean of probabilities, which a source that is very sure of itself cannot overrule alone.
    Sources that know different things leave that mean less sure than it is right; `temperature`
    mends it, where all sources are there for which it was fitted.
    """

    pc: SourceConfig = param(SourceConfig(), "the cloud's classifier")
    pc_text: SourceConfig = param(SourceConfig(), "the cloud against the classes' texts")
    rgb: SourceConfig = param(SourceConfig(), "the images' classifier")
    rgb_text: SourceConfig = param(SourceConfig(), "the images against the classes' texts")
    temperature: float = param(
        1.0, "the logarithms of the fused scores are divided by this before a last softmax",
        at_least=1e-3, at_most=1e4,
    )  # fmt: skip

    def of(self, source: str) -> SourceConfig:
        """Of a source by its name. Raises ValueError if there is none of that name."""
        if source not in SOURCES:
            raise ValueError(f"source '{source}'; expected one of {', '.join(SOURCES)}")
        found: SourceConfig = getattr(self, source)
        return found

    def having(self, source: str, config: SourceConfig) -> FusionConfig:
        """The same with another of one source, by its name."""
        changes: dict[str, Any] = {source: config}
        return replace(self, **changes)


class ScoreFusion:
    """Logits of any of the sources in, scores out: what is there is fused, what is not left out."""

    def __init__(self, config: FusionConfig | None = None) -> None:
        """config: None for equal weights."""
        self.config = config or FusionConfig()

    def scores(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each source's own scores: softmax of (..., K) logits by its temperature.

        Raises ValueError if there is no source, an unknown one, or shapes differ.
        """
        if not logits:
            raise ValueError(f"logits: expected one of {', '.join(SOURCES)} at least, got none")
        shapes = {name: tuple(one.shape) for name, one in logits.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"logits: expected one shape (..., K), got {shapes}")
        return {
            name: torch.softmax(one.float() / self.config.of(name).temperature, -1)
            for name, one in logits.items()
        }

    def fuse(self, logits: Mapping[str, Tensor]) -> Tensor:
        """(..., K) scores that sum to 1, from the (..., K) logits of one source or more.

        Raises ValueError as `scores`.
        """
        scores = self.scores(logits)
        weights = self.weights(scores)
        mean = torch.stack([weights[name] * one for name, one in scores.items()]).sum(0)
        whole = all(name in scores for name in SOURCES if self.config.of(name).weight)
        if not whole or self.config.temperature == 1:
            return mean
        return torch.softmax(mean.log() / self.config.temperature, -1)

    def weights(self, sources: Iterable[str]) -> dict[str, float]:
        """Of the sources that are there; they sum to 1.

        Where only sources of weight 0 are there (the stream of the others has stopped), they are
        equal: some answer is better than none.
        """
        given = {name: self.config.of(name).weight for name in sources}
        total = sum(given.values())
        if not total:
            return dict.fromkeys(given, 1 / len(given))
        return {name: weight / total for name, weight in given.items()}
