"""Whether features collapse, and what they already tell, while a model learns without labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def alignment(anchors: Tensor, others: Tensor) -> float:
    """The mean squared distance of positives on the unit sphere (Wang and Isola); 0 is best.

    anchors, others: (N, C) float.
    """
    return (_unit(anchors) - _unit(others)).square().sum(1).mean().item()


def uniformity(features: Tensor) -> float:
    """The log of the mean of exp(-2 d^2) over pairs, d on the unit sphere (Wang and Isola).

    features: (N, C) float, N of 2 or more. 0 where all are one; the further below, the more evenly
    they lie.
    """
    _expect(len(features) > 1, f"uniformity: expected 2 features or more, got {len(features)}")
    distances = torch.nn.functional.pdist(_unit(features))
    return distances.square().mul(-2).exp().mean().log().item()


def effective_rank(features: Tensor) -> float:
    """In how many directions the features spread (Roy and Vetterli): from 1 to min(N - 1, C).

    features: (N, C) float; the exponential of the entropy of their singular values' shares, about
    their mean. 0 where they do not spread at all.
    """
    values = features.double()
    spread = torch.linalg.svdvals(values - values.mean(0))
    # What rounding leaves of features that are all the same is no direction.
    spread = spread[spread > 1e-9 * values.abs().max().clamp(min=1e-30) * len(values)]
    if len(spread) == 0:
        return 0.0
    share = spread / spread.sum()
    return (-(share * share.log()).sum()).exp().item()


def top_1_retrieval(queries: Tensor, gallery: Tensor) -> float:
    """Percent of queries whose nearest in the gallery, by angle, is their own; chance is 100 / N.

    queries, gallery: (N, C) float, row i of one belongs to row i of the other.
    """
    nearest = (_unit(queries) @ _unit(gallery).T).argmax(1)
    own = torch.arange(len(queries), device=nearest.device)
    return 100 * (nearest == own).double().mean().item()


def knn_accuracy(
    known: Tensor, known_labels: Tensor, asked: Tensor, asked_labels: Tensor, k: int
) -> float:
    """Percent of `asked` that the k nearest of `known`, by angle, label rightly.

    known: (M, C), asked: (N, C) float; labels (M,), (N,) int64 from 0 on. With fewer than k known
    ones all are asked. Where two labels have as many votes, the nearer ones together decide.
    """
    _expect(k > 0 and len(known) > 0, f"knn_accuracy: {k} neighbours of {len(known)} known ones")
    near = (_unit(asked) @ _unit(known).T).topk(min(k, len(known)), dim=1)
    votes = one_hot(known_labels[near.indices], int(known_labels.max()) + 1).double()
    # Similarities lie in -1 to 1: all of them together weigh less than one vote.
    weight = 1 + near.values / (2 * k + 1)
    answers = (votes * weight[..., None]).sum(1).argmax(1)
    return 100 * (answers == asked_labels).double().mean().item()


def _unit(features: Tensor) -> Tensor:
    return normalize(features.double(), dim=1)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
