"""CrossVideo's losses against its equations, written down one by one with loops."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from fourd_perception.errors import InputError
from fourd_perception.parameters import ConfigError, from_mapping
from training.losses import CrossVideoConfig, Projected, crossvideo_loss, nt_xent

ALL = CrossVideoConfig()
CLIPS, MOMENTS, CHANNELS = 4, 3, 5


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


def equation_1(z1, z2, i, tau):
    """z1, z2: lists of N vectors. Also equations 2, 5 and 6, for other z."""
    n = len(z1)
    denominator = 0.0
    for k in range(n):
        if k != i:
            denominator += math.exp(cosine(z1[i], z1[k]) / tau)
    for k in range(n):
        denominator += math.exp(cosine(z1[i], z2[k]) / tau)
    return -math.log(math.exp(cosine(z1[i], z2[i]) / tau) / denominator)


def video_term(one, other, i, tau):
    return equation_1(one.video.tolist(), other.video.tolist(), i, tau)


def frame_term(one, other, i, tau, negatives):
    """The mean over clip i's frames."""
    moments = one.frames.shape[1]
    total = 0.0
    for t in range(moments):
        if negatives == "same_frame":
            z1, z2, place = one.frames[:, t].tolist(), other.frames[:, t].tolist(), i
        else:
            z1 = [frame for clip in one.frames.tolist() for frame in clip]
            z2 = [frame for clip in other.frames.tolist() for frame in clip]
            place = i * moments + t
        total += equation_1(z1, z2, place, tau)
    return total / moments


def mean_of(first, second):
    """Equation 4."""
    return Projected((first.frames + second.frames) / 2, (first.video + second.video) / 2)


def equations_3_and_7(first, second, image, tau, negatives="same_frame"):
    """L_intra and L_cross, each as its video part and its frame part."""
    n = len(first.video)
    z = mean_of(first, second)
    intra_video = sum(video_term(first, second, i, tau) for i in range(n)) / (2 * n)
    intra_frame = sum(frame_term(first, second, i, tau, negatives) for i in range(n)) / (2 * n)
    cross_video = sum(video_term(z, image, i, tau) for i in range(n)) / (2 * n)
    cross_frame = sum(frame_term(z, image, i, tau, negatives) for i in range(n)) / (2 * n)
    return intra_video, intra_frame, cross_video, cross_frame


def projected(random, clips=CLIPS, dtype=torch.float64):
    frames = torch.randn(clips, MOMENTS, CHANNELS, generator=random, dtype=torch.float64)
    video = torch.randn(clips, CHANNELS, generator=random, dtype=torch.float64)
    return Projected(frames.to(dtype), video.to(dtype))


def three(seed=0, **more):
    random = torch.Generator().manual_seed(seed)
    return tuple(projected(random, **more) for _ in range(3))


def test_equation_1_of_two_clips_by_hand():
    # Of the first anchor: s = 0 with its positive, 1 with the other's second view, 0 with the other
    # anchor; of the second 0, 1 and 0; all by tau = 1/2. The numerator is exp(0).
    anchors = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    others = torch.tensor([[0.0, 3.0], [1.0, 0.0]])
    expected = math.log(math.exp(0) + math.exp(2) + math.exp(0))
    assert nt_xent(anchors, others, 0.5).tolist() == pytest.approx([expected] * 2, rel=1e-6)
    # Of the positives exchanged: s = 1, 0 and 0.
    swapped = nt_xent(anchors, others.flip(0), 0.5).tolist()
    assert swapped == pytest.approx([expected - 2] * 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 3.0])
@pytest.mark.parametrize("clips", [2, 3, 7])
def test_equation_1_is_that_of_the_paper(clips, temperature):
    random = torch.Generator().manual_seed(clips)
    one = torch.randn(clips, CHANNELS, generator=random, dtype=torch.float64)
    other = torch.randn(clips, CHANNELS, generator=random, dtype=torch.float64)
    expected = [
        equation_1(one.tolist(), other.tolist(), i, temperature) for i in range(clips)
    ]  # fmt: skip
    got = nt_xent(one, other, temperature)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


def test_axes_before_the_clips_are_contrasted_each_alone():
    first, second, _ = three()
    one, other = first.frames.transpose(0, 1), second.frames.transpose(0, 1)
    together = nt_xent(one, other, 0.07)
    assert together.shape == (MOMENTS, CLIPS)
    for t in range(MOMENTS):
        torch.testing.assert_close(together[t], nt_xent(one[t], other[t], 0.07))


@pytest.mark.parametrize("negatives", ["same_frame", "all_frames"])
@pytest.mark.parametrize("tau", [0.07, 1.0])
def test_equations_1_to_8_are_those_of_the_paper(tau, negatives):
    streams = three()
    config = CrossVideoConfig(temperature=tau, frame_negatives=negatives)
    terms = crossvideo_loss(*streams, config)
    halves = equations_3_and_7(*streams, tau, negatives)
    got = [terms.intra_video, terms.intra_frame, terms.cross_video, terms.cross_frame]
    for term, half in zip(got, halves):
        assert term.item() / 2 == pytest.approx(half, rel=1e-10)
    assert terms.total.item() == pytest.approx(sum(halves), rel=1e-10)


def test_the_two_kinds_of_negatives_differ():
    same, every = (
        crossvideo_loss(*three(), CrossVideoConfig(frame_negatives=name))
        for name in ("same_frame", "all_frames")
    )
    assert same.intra_frame < every.intra_frame  # among three times as many
    torch.testing.assert_close(same.intra_video, every.intra_video)


@pytest.mark.parametrize(
    "off, gone",
    [
        ("intra", {"intra_video", "intra_frame"}),
        ("cross", {"cross_video", "cross_frame"}),
        ("frame", {"intra_frame", "cross_frame"}),
        ("video", {"intra_video", "cross_video"}),
    ],
)
def test_a_switch_removes_its_terms_and_no_other(off, gone):
    streams = three()
    everything = crossvideo_loss(*streams, ALL)
    without = crossvideo_loss(*streams, replace(ALL, **{off: False}))
    names = {field.name for field in fields(everything)}
    assert without.kept.keys() == names - gone
    for name in names - gone:
        torch.testing.assert_close(getattr(without, name), getattr(everything, name))
    removed = sum(getattr(everything, name) for name in gone) / 2
    torch.testing.assert_close(without.total, everything.total - removed)


def test_symmetric_is_the_mean_of_both_orderings():
    first, second, image = three()
    z = mean_of(first, second)
    terms = crossvideo_loss(first, second, image, replace(ALL, symmetric=True))
    for term, one, other in (
        (terms.intra_video, first, second), (terms.cross_video, z, image),
    ):  # fmt: skip
        both = [
            video_term(*pair, i, 0.07)
            for pair in ((one, other), (other, one))
            for i in range(CLIPS)
        ]
        assert term.item() == pytest.approx(sum(both) / len(both), rel=1e-10)
    frames = [
        frame_term(*pair, i, 0.07, "same_frame")
        for pair in ((z, image), (image, z)) for i in range(CLIPS)
    ]  # fmt: skip
    assert terms.cross_frame.item() == pytest.approx(sum(frames) / len(frames), rel=1e-10)
    assert terms.total != crossvideo_loss(first, second, image, ALL).total


@pytest.mark.parametrize(
    "config",
    [
        CrossVideoConfig(temperature=0.5),
        CrossVideoConfig(temperature=0.5, frame_negatives="all_frames", symmetric=True),
        CrossVideoConfig(temperature=0.5, intra=False, video=False),
    ],
)
def test_gradients_are_those_of_finite_differences(config):
    tensors = [
        tensor.requires_grad_()
        for one in three(clips=3) for tensor in (one.frames, one.video)
    ]  # fmt: skip

    def total(*flat):
        return crossvideo_loss(*map(Projected, flat[::2], flat[1::2]), config).total

    assert torch.autograd.gradcheck(total, tensors)


def test_gradients_of_equation_1_at_the_papers_temperature():
    first, second, _ = three()
    one, other = first.video.requires_grad_(), second.video.requires_grad_()
    assert torch.autograd.gradcheck(partial(nt_xent, temperature=0.07), (one, other))


def test_the_length_of_a_feature_is_nothing():
    first, second, _ = three()
    scale = torch.tensor([0.01, 1.0, 30.0, 4.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(
        nt_xent(first.video * scale, second.video, 0.07), nt_xent(first.video, second.video, 0.07)
    )


def test_clips_may_come_in_any_order():
    first, second, _ = three()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        nt_xent(first.video[order], second.video[order], 0.07),
        nt_xent(first.video, second.video, 0.07)[order],
    )


def test_float32_is_exact_enough_and_half_precision_is_not_used_inside():
    exact = crossvideo_loss(*three(), ALL).total
    single = crossvideo_loss(*three(dtype=torch.float32), ALL).total
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(exact.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = crossvideo_loss(*three(dtype=torch.float32), ALL).total
    assert torch.equal(inside, single)
    assert nt_xent(torch.eye(2).bfloat16(), torch.eye(2).bfloat16(), 1.0).dtype == torch.float32


def test_features_that_are_all_one_cost_the_log_of_the_number_of_candidates():
    same = torch.ones(6, 4)
    torch.testing.assert_close(nt_xent(same, same, 0.07), torch.full((6,), math.log(11)))


@pytest.mark.parametrize("temperature", [0.0, -0.1, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(InputError, match=f"temperature: expected more than 0, got {temperature:g}"):
        nt_xent(torch.eye(2), torch.eye(2), temperature)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"temperature": 0.0}, "temperature: expected more than 0, got 0"),
        ({"temperature": -1.0}, "temperature: expected at least 0, got -1"),
        ({"temperature": math.nan}, "temperature: expected a finite number, got nan"),
        ({"frame_negatives": "same_frames"}, "did you mean 'same_frame'"),
        ({"intra": False, "cross": False}, "nothing is left to contrast"),
        ({"frame": False, "video": False}, "nothing is left to contrast"),
    ],
)
def test_a_bad_configuration_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(CrossVideoConfig, given, "run.yaml")


def test_a_batch_of_one_is_refused():
    with pytest.raises(InputError, match="a batch of 1 has no negatives .* give 2 clips or more"):
        crossvideo_loss(*three(clips=1), ALL)
    with pytest.raises(InputError, match="a batch of 1 "):
        nt_xent(torch.ones(1, 3), torch.ones(1, 3), 0.07)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_no_numbers_are_refused(bad, side):
    both = [torch.eye(5, 3), torch.eye(5, 3)]
    both[side][2, 1] = both[side][4, 0] = bad
    with pytest.raises(InputError, match="2 of 5 features .* not finite, the first is number 2"):
        nt_xent(*both, 0.07)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 3\)"):
        nt_xent(torch.ones(2, 3), torch.ones(3, 3), 0.07)
    first, second, image = three()
    shorter = replace(image, frames=image.frames[:, :2])
    with pytest.raises(ValueError, match=r"'image': \(4, 2, 5\)"):
        crossvideo_loss(first, second, shorter, ALL)
