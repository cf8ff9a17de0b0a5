from __future__ import annotations

import math

import pytest
import torch

from training.monitors import (
    alignment,
    effective_rank,
    knn_accuracy,
    top_1_retrieval,
    uniformity,
)


def test_alignment_is_the_mean_squared_distance_on_the_sphere():
    # [2, 0] and [0, 3] are at right angles: 2; [1, 1] and [4, 4] are one: 0; opposite: 4.
    one = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    other = torch.tensor([[0.0, 3.0], [4.0, 4.0], [-5.0, 0.0]])
    assert alignment(one, other) == pytest.approx((2 + 0 + 4) / 3)


def test_uniformity_is_over_pairs_of_different_features():
    # Three on the axes: two pairs at squared distance 2, one opposite pair at 4.
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    expected = math.log((2 * math.exp(-4) + math.exp(-8)) / 3)
    assert uniformity(features) == pytest.approx(expected)
    assert uniformity(torch.ones(4, 3)) == pytest.approx(0)
    with pytest.raises(ValueError, match="expected 2 features or more, got 1"):
        uniformity(torch.ones(1, 3))


def test_effective_rank_counts_directions():
    # Corners of a square; and of a rectangle, with singular values 6 and 2: shares 3/4 and 1/4.
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert effective_rank(square) == pytest.approx(2)
    assert effective_rank(square + 100) == pytest.approx(2)  # not about the origin
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(square * torch.tensor([3.0, 1.0])) == pytest.approx(math.exp(entropy))
    line = torch.outer(torch.arange(5.0), torch.tensor([1.0, 2.0, 3.0]))
    assert effective_rank(line) == pytest.approx(1)
    assert effective_rank(torch.full((6, 4), 0.1)) == 0
    assert effective_rank(torch.full((6, 4), 1e5)) == 0
    # Four corners of a simplex spread in three directions, evenly.
    assert effective_rank(torch.eye(4)) == pytest.approx(3)


def test_retrieval_is_the_percent_that_find_their_own():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert top_1_retrieval(gallery * 7, gallery) == 100
    # The first is nearer to the second's own; the fourth to the first's.
    queries = torch.tensor([[1.0, 2.0], [0.1, 1.0], [-1.0, 0.2], [2.0, -1.0]])
    assert top_1_retrieval(queries, gallery) == 50
    assert top_1_retrieval(torch.ones(4, 2), torch.ones(4, 2)) == 25  # chance, if all are one


def test_neighbours_vote():
    known = torch.tensor([[1.0, 0.0], [1.0, 0.2], [1.0, 0.4], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 2])
    asked = torch.tensor([[5.0, 0.0]])
    # The nearest says 0; the three nearest 0, 1, 1; of all four 1 has two votes.
    for k, answer in ((1, 0), (3, 1), (4, 1), (99, 1)):
        for label in range(3):
            found = knn_accuracy(known, labels, asked, torch.tensor([label]), k)
            assert found == (100 if label == answer else 0), (k, label)


def test_where_votes_are_even_the_nearer_ones_decide():
    known = torch.tensor([[0.0, 1.0], [1.0, 0.5], [1.0, 0.1]])
    labels = torch.tensor([0, 0, 1])
    asked = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Two neighbours each: of [1, 0] one says 0 and, nearer, one says 1; of [0, 1] both say 0.
    assert knn_accuracy(known, labels, asked, torch.tensor([1, 0]), 2) == 100
    # Farther together than one vote, though: 1 has one, 0 has two.
    assert knn_accuracy(known, labels, asked[:1], torch.tensor([0]), 3) == 100
    # A class that none of the known ones is of is never right.
    assert knn_accuracy(known, labels, asked, torch.tensor([5, 5]), 2) == 0
    with pytest.raises(ValueError, match="0 neighbours of 3"):
        knn_accuracy(known, labels, asked, torch.tensor([0, 0]), 0)
