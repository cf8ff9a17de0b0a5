"""Primitives: who belongs to which, and what PPTr makes of them."""

from __future__ import annotations

import pytest
import torch
from model_cases import BLOCKS, CASES, TUBE

from fourd_perception import models
from fourd_perception.errors import InputError
from fourd_perception.models.primitives import Members, masked_maximum, with_memory
from fourd_perception.models.transformer import Transformer, TransformerConfig
from fourd_perception.parameters import from_mapping


def named(name):
    return next(case for case in CASES if case.name == name)


def test_members_are_the_points_of_each_label():
    labels = torch.tensor([[1, 0, 1, -1, 1], [2, 2, 2, 2, 2]])
    members = Members.labelled(labels, 3)
    found = [
        [sorted(index[there].tolist()) for index, there in zip(*rows)]
        for rows in zip(members.index, members.there)
    ]
    assert found == [[[1], [0, 2, 4], []], [[], [], [0, 1, 2, 3, 4]]]


def test_groups_in_sampling_order_follow_one_another():
    members = Members.in_sampling_order(2, 6, 3, torch.device("cpu"))
    assert members.index.tolist() == [[[0, 1], [2, 3], [4, 5]]] * 2
    assert members.there.all()


def test_points_of_one_plane_do_not_see_those_of_another():
    """The segmenter of planes, primitive by primitive and frame by frame."""
    case = named("pptr_segmenter_planes")
    model, points = case.build(), case.clip(batch=1)
    with torch.no_grad():
        level = model.run_layers(points)
        below, intra = level.below, model.intra.transformer
        channels = below.features.shape[2] // 2
        own = below.features[..., :channels]
        tokens, learnt = torch.zeros(case.frames, 3, channels), torch.zeros_like(own)
        there = torch.zeros(case.frames, 3, dtype=torch.bool)
        for frame in range(case.frames):
            for label in range(3):
                mine = below.primitives[frame] == label
                if mine.any():
                    inside = intra(torch.relu(own[frame, mine])[None])[0]
                    learnt[frame, mine] = inside
                    tokens[frame, label] = inside.amax(0)
                    there[frame, label] = True
        torch.testing.assert_close(below.features[..., channels:], learnt, rtol=1e-4, atol=1e-5)
        alone = torch.relu(tokens[there])[None]
        outside = torch.zeros_like(tokens)
        outside[there] = model.inter(alone)[0]
        rows = torch.arange(case.frames)[:, None]
        joined = torch.cat((own, learnt, outside[rows, below.primitives]), -1)
        for linear in model.fusion:
            joined = torch.relu(linear(joined))
        torch.testing.assert_close(model(points)[0], model.head(joined), rtol=1e-4, atol=1e-5)


def test_a_memory_is_heeded_and_its_order_is_not():
    case = named("pptr")
    model, points = case.build(), case.clip()
    with torch.no_grad():
        past = model.remember(torch.rand(6, case.points, 3)).unflatten(0, (2, 3))
        assert past.shape == (2, 3, 4, 24)
        without, with_it = model(points), model(points, past)
        assert not torch.allclose(without, with_it, atol=1e-4)
        torch.testing.assert_close(model(points, past.flip(1)), with_it, rtol=1e-4, atol=1e-5)
        stream = model.stream(case.frames)
        features = stream.window(list(points[0].unbind()), past[:1])
        torch.testing.assert_close(model.classify(features), with_it[:1], rtol=1e-4, atol=1e-5)


def test_empty_primitives_of_a_memory_are_not_heeded():
    case = named("pptr_planes")
    model, points = case.build(), case.clip(batch=1)
    flat = torch.rand(2, case.points, 3) * torch.tensor([1.0, 1.0, 0.0])  # one plane, two empty
    with torch.no_grad():
        past = model.remember(flat)
        there = past.any(-1)
        assert there.any() and not there.all()
        kept = past[there][None, None]
        torch.testing.assert_close(
            model(points, past[None]), model(points, kept), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["pptr_planes", "pptr_segmenter", "pptr_segmenter_planes"])
def test_frames_are_remembered_one_by_one(name):
    case = named(name)
    model, frames = case.build(), torch.rand(4, case.points, 3)
    with torch.no_grad():
        together = model.remember(frames)
        alone = torch.cat([model.remember(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_a_memory_that_does_not_fit_is_refused():
    case = named("pptr")
    model, points = case.build(), case.clip()
    with pytest.raises(ValueError, match=r"memory: expected \(2, T, P, 24\), got \(1, 3, 4, 24\)"):
        model(points, torch.zeros(1, 3, 4, 24))
    other = named("p4_transformer")
    with pytest.raises(InputError, match="no long-term memory; PPTr can have one"):
        other.build()(other.clip(), torch.zeros(2, 3, 4, 24))


def test_points_that_cannot_be_shared_out_are_refused():
    config = {"tube": TUBE, "primitives": {"count": 5}, "intra": BLOCKS, "inter": BLOCKS}
    model = models.build("pptr", config, 5)
    with pytest.raises(InputError, match="64 points leave 16 anchors.*give a multiple of 20"):
        model.check_input(9, 64)
    model.check_input(9, 80)


def test_empty_primitives_take_no_part():
    config = from_mapping(TransformerConfig, BLOCKS, "test")
    torch.manual_seed(0)
    transformer = Transformer(6, config).eval()
    tokens, heeded = torch.randn(1, 2, 3, 6), torch.tensor([[[True, True, False]] * 2])
    other = tokens.masked_fill(~heeded[..., None], 9.0)
    with torch.no_grad():
        one, two = (with_memory(transformer, some, heeded, None) for some in (tokens, other))
    torch.testing.assert_close(one[heeded], two[heeded])
    torch.testing.assert_close(masked_maximum(one, heeded), masked_maximum(two, heeded))


@pytest.mark.parametrize(
    ("architecture", "sizes", "says"),
    [
        ("pptr", {"tube": TUBE | {"channels": [1] * 65}}, "channels: expected 1 to 64, got 65"),
        ("pptr_segmenter", {"down": [{}] * 65, "up": [[1]] * 65}, "down, up.*1 to 64"),
        ("p4_segmenter", {"down": [{}], "up": [[1] * 65]}, "up: expected 1 to 64"),
        ("p4_segmenter", {"down": [TUBE], "up": [[4]]}, "stride of 1 in time"),
        ("p4_transformer", {"task": "action_segmentation", "tube": TUBE}, "stride of 1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(architecture, sizes, says):
    with pytest.raises(InputError, match=says):
        models.build(architecture, sizes, 5)


def test_a_fusion_without_layers_is_refused():
    sizes = named("pptr_segmenter_planes").config | {"fusion": []}
    with pytest.raises(InputError, match="fusion: expected 1 to 64, got 0"):
        models.build("pptr_segmenter", sizes, 5)
