from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.ops.interpolate import interpolate_at, k_nearest
from fourd_perception.ops.label_at import label_at


def oracle(logits, distance, index):
    """float64, one target after the other."""
    labels, confidence = [], []
    for row, who in zip(distance.double(), index):
        weight = 1 / (row + 1e-8)
        carried = (weight[:, None] / weight.sum() * logits.double()[who]).sum(0)
        score = torch.softmax(carried, 0)
        labels.append(int(score.argmax()))
        confidence.append(float(score.max()))
    return torch.tensor(labels, dtype=torch.int64), torch.tensor(confidence)


@settings(max_examples=40)
@given(
    st.integers(1, 40), st.integers(0, 600), st.integers(1, 5), st.integers(1, 7),
    st.sampled_from([0.1, 1.0, 40.0]), st.integers(0, 10_000),
)  # fmt: skip
def test_is_the_likeliest_class_of_the_interpolated_logits(points, targets, k, classes, size, seed):
    random = torch.Generator().manual_seed(seed)
    cloud = torch.rand(1, points, 3, generator=random)
    # Some targets lie on a point, where one weight is all.
    on_them = cloud[:, torch.randint(points, (targets // 3,), generator=random)]
    where = torch.cat((on_them, torch.rand(1, targets - targets // 3, 3, generator=random)), 1)
    distance, index = (one[0] for one in k_nearest(cloud, where, min(k, points)))
    logits = size * torch.randn(points, classes, generator=random)
    labels, confidence = label_at(logits, distance, index)
    wanted, score = oracle(logits, distance, index)
    assert labels.dtype == torch.int64 and confidence.dtype == torch.float32
    torch.testing.assert_close(confidence, score.float(), rtol=1e-3, atol=1e-5)
    carried = interpolate_at(logits[None], distance[None], index[None])[0]
    differ = labels != wanted
    if differ.any():  # but for two that are as likely, to rounding
        rows = torch.arange(len(labels))
        gap = carried[rows, labels] - carried[rows, wanted]
        assert gap[differ].abs().max() < 1e-4 * size


def test_of_equal_classes_the_first():
    logits = torch.tensor([[1.0, 2.0, 2.0]])
    distance, index = torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.int64)
    labels, confidence = label_at(logits, distance, index)
    assert labels.tolist() == [1] * 4
    np.testing.assert_allclose(confidence, 1 / (2 + np.exp(-1)), rtol=1e-6)


def test_what_does_not_fit_is_refused():
    distance, index = torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits: expected \(N, K\), K 1 or more"):
        label_at(torch.zeros(5), distance, index)
    with pytest.raises(ValueError, match=r"logits: expected"):
        label_at(torch.zeros(5, 0), distance, index)
    with pytest.raises(ValueError, match=r"expected one shape \(M, k\)"):
        label_at(torch.zeros(5, 2), distance[:, :2], index)
    with pytest.raises(ValueError, match="float32"):
        label_at(torch.zeros(5, 2, dtype=torch.float64), distance, index)
