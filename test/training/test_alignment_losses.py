"""VG4D's equations 3 to 6, against their transcription in loops and float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.errors import InputError
from fourd_perception.parameters import ConfigError, from_mapping
from training.alignment_losses import (
    Aligned,
    AlignmentConfig,
    alignment_loss,
    classifier_loss,
    pc_text_loss,
    pc_video_loss,
)

N, K, D = 6, 4, 5


def some(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Aligned, torch.Tensor]:
    random = np.random.default_rng(seed)

    def tensor(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(0, 2, shape)).to(dtype)

    labels = torch.from_numpy(random.integers(0, K, N))
    made = Aligned(tensor(N, D), tensor(N, D), tensor(K, D), tensor(N, K), tensor(N, K))
    return made, labels


def unit(vector):
    return np.asarray(vector) / math.sqrt(sum(float(one) ** 2 for one in vector))


def equation_3(texts, points, labels, scale):
    total = 0.0
    for i in range(len(points)):
        f_p = unit(points[i])
        own = math.exp(scale * float(unit(texts[labels[i]]) @ f_p))
        every = sum(math.exp(scale * float(unit(texts[j]) @ f_p)) for j in range(len(texts)))
        total += -math.log(own / every)
    return total / len(points)


def equation_4(videos, points, scale):
    total = 0.0
    for i in range(len(points)):
        f_p = unit(points[i])
        own = math.exp(scale * float(unit(videos[i]) @ f_p))
        every = sum(math.exp(scale * float(unit(videos[j]) @ f_p)) for j in range(len(videos)))
        total += -math.log(own / every)
    return total / len(points)


def classification(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels):
        total += -math.log(math.exp(row[label]) / sum(math.exp(one) for one in row))
    return total / len(logits)


def equation_6(batch, labels, scale, config):
    points, videos, texts, pc, rgb = (one.detach().numpy() for one in vars(batch).values())
    contrast = config.alpha * equation_4(videos, points, scale)
    contrast += config.beta * equation_3(texts, points, labels, scale)
    return (
        contrast
        + config.theta * classification(pc, labels)
        + config.gamma * classification(rgb, labels)
    )


weights = st.sampled_from((0.0, 0.25, 1.0, 3.0))


@settings(deadline=None)
@given(weights, weights, weights, weights, st.sampled_from((0.0, 1.0, 14.3)), st.integers(0, 99))
def test_equals_the_equations(alpha, beta, theta, gamma, scale, seed):
    if not alpha + beta + theta + gamma:
        return
    config = AlignmentConfig(alpha, beta, theta, gamma, scale)
    batch, labels = some(seed)
    terms = alignment_loss(batch, labels, 7.5, config)
    expected = equation_6(batch, labels.tolist(), scale or 7.5, config)
    assert float(terms.total(config)) == pytest.approx(expected, rel=1e-9)
    assert set(terms.kept) == {
        name
        for name, weight in zip(("pc_video", "pc_text", "pc", "rgb"), (alpha, beta, theta, gamma))
        if weight
    }


def test_by_hand():
    """Points at right angles to all but their own: -log(e / (e + 1)) of two, at scale 1."""
    corners, labels = torch.eye(2, dtype=torch.float64), torch.tensor([0, 1])
    expected = math.log(1 + math.exp(-1))
    assert float(pc_text_loss(corners, 3 * corners, labels, 1.0)) == pytest.approx(expected)
    assert float(pc_video_loss(5 * corners, corners, 1.0)) == pytest.approx(expected)
    opposite = pc_text_loss(corners, corners, labels.flip(0), 1.0)
    assert float(opposite) == pytest.approx(expected + 1)


def test_without_a_scale_the_loss_cannot_be_small():
    """Texts as far apart as can be, the point on its own: log(1 + (K - 1) / e^2) of K = 2."""
    texts = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = pc_text_loss(texts[:1], texts, torch.tensor([0]), 1.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-2)))
    assert float(pc_text_loss(texts[:1], texts, torch.tensor([0]), 100.0)) < 1e-6


def test_gradients_are_those_of_finite_differences():
    batch, labels = some()
    config = AlignmentConfig(0.7, 1.3, 0.4, 2.0, 3.0, stop_video=False, stop_text=False)
    leaves = [one.clone().requires_grad_() for one in vars(batch).values()]

    def total(*given: torch.Tensor) -> torch.Tensor:
        return alignment_loss(Aligned(*given), labels, 1.0, config).total(config)

    assert torch.autograd.gradcheck(total, leaves)


def test_gradients_stop_where_they_are_told_to():
    for stops in ({}, {"stop_video": False}, {"stop_text": False}):
        batch, labels = some()
        leaves = {name: one.clone().requires_grad_() for name, one in vars(batch).items()}
        config = AlignmentConfig(**stops)
        alignment_loss(Aligned(**leaves), labels, 1.0, config).total(config).backward()
        assert leaves["points"].grad is not None
        assert (leaves["videos"].grad is None) == config.stop_video
        assert (leaves["texts"].grad is None) == config.stop_text


def test_each_clip_may_have_its_own_texts():
    batch, labels = some()
    same = batch.texts.expand(N, -1, -1)
    found = pc_text_loss(batch.points, same, labels, 4.0)
    torch.testing.assert_close(found, pc_text_loss(batch.points, batch.texts, labels, 4.0))
    other = same.clone()
    other[0] += 1
    assert not torch.equal(found, pc_text_loss(batch.points, other, labels, 4.0))


def test_clips_without_a_label_are_left_out():
    batch, labels = some()
    known, some_labels = torch.tensor([0, 2, 3]), labels.clone()
    some_labels[[1, 4, 5]] = -1
    whole = alignment_loss(batch, some_labels, 4.0, AlignmentConfig())
    part = Aligned(
        batch.points[known], batch.videos[known], batch.texts, batch.pc_logits[known],
        batch.rgb_logits[known],
    )  # fmt: skip
    alone = alignment_loss(part, labels[known], 4.0, AlignmentConfig())
    for name in ("pc_text", "pc", "rgb"):
        torch.testing.assert_close(whole.kept[name], alone.kept[name])
    nobody = torch.full((N,), -1)
    assert float(classifier_loss(batch.pc_logits, nobody)) == 0.0


def test_half_precision_is_computed_in_single():
    batch, labels = some(dtype=torch.float32)
    config = AlignmentConfig(logit_scale=100.0)
    exact = alignment_loss(batch, labels, 1.0, config).total(config)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = alignment_loss(batch, labels, 1.0, config).total(config)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact)


def test_bad_features_and_batches_are_refused():
    batch, labels = some()
    with pytest.raises(InputError, match="a batch of one clip has no other videos"):
        pc_video_loss(batch.points[:1], batch.videos[:1], 1.0)
    spoilt = replace(batch, points=batch.points.clone())
    spoilt.points[2, 1] = torch.nan
    with pytest.raises(InputError, match="1 of 6 features of clouds are not finite"):
        alignment_loss(spoilt, labels, 1.0, AlignmentConfig())
    with pytest.raises(ValueError, match="expected"):
        pc_video_loss(batch.points, batch.videos[:, :2], 1.0)
    with pytest.raises(ValueError, match="expected"):
        pc_text_loss(batch.points, batch.texts[:, :2], labels, 1.0)
    with pytest.raises(ConfigError, match="nothing is left to learn"):
        from_mapping(AlignmentConfig, {"alpha": 0, "beta": 0, "theta": 0, "gamma": 0}, "test")
