"""Every model against an independent implementation in float64, with that one's own weights."""

from __future__ import annotations

import model_cases
import pytest
import torch
from model_cases import CLASSES, pst
from textbook import pptr
from textbook_pairs import (
    EVERY_FRAME,
    PAIRS,
    PP,
    PPTR,
    SIZE,
    TUBE,
    P,
    Pair,
    assert_equal,
    clip,
    converted,
    table,
    textbook,
)

from fourd_perception import models
from fourd_perception.models import upstream
from fourd_perception.ops.farthest_point import farthest_point_sample
from fourd_perception.ops.plane_patches import plane_patches

each = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


@each
def test_converted_weights_give_the_textbooks_answer(pair: Pair):
    theirs = textbook(pair)
    ours, points = converted(pair, theirs), clip(pair)
    with torch.no_grad():
        expected = theirs(points.double())
        assert_equal(ours(points), expected)
    assert_equal(ours(points), expected)  # the way that keeps what the gradient needs


# The public code takes a batch's statistics for each anchor frame by itself, ours for all of them:
# what trains alike has no norms. That ours train right, test_batch_norm.py and test_pstnet.py say.
WITHOUT_NORMS = [
    pair
    for pair in PAIRS
    if pair.architecture in ("p4_transformer", "pst_transformer", "pptr")
    and "dropout" not in pair.name
]


@pytest.mark.parametrize("pair", WITHOUT_NORMS, ids=lambda pair: pair.name)
def test_training_gives_the_textbooks_gradients(pair: Pair):
    theirs, points = textbook(pair), clip(pair)
    ours = converted(pair, theirs)
    theirs.train()(points.double()).square().sum().backward()
    ours.train()(points).square().sum().backward()
    gradients = {f"module.{n}": p.grad.float() for n, p in theirs.named_parameters()}
    expected = upstream.convert(pair.architecture, gradients, dict(ours.named_parameters()))
    for name, parameter in ours.named_parameters():
        assert_equal(parameter.grad, expected[name].double())


@pytest.mark.parametrize("norm", ["after_max", "inside"])
@pytest.mark.parametrize("switches", [(True, True), (True, False), (False, True), (False, False)])
def test_im_pstnet_is_equation_8_in_both_orders(norm, switches):
    options = dict(zip(("normalise_displacement", "centre_feature"), switches))
    padding = {"padding_mode": "replicate"}
    kind = P if norm == "after_max" else PP
    more = {} if norm == "after_max" else {"temporal_norm": False}
    pair = Pair(
        "", lambda: kind(table((1, 1)), CLASSES, **padding, **options, **more), "im_pstnet",
        pst((1, 1), norm=norm, **padding, **options),
    )  # fmt: skip
    theirs = textbook(pair)
    ours = models.build("im_pstnet", pair.config, CLASSES).eval()
    state = {name: one.float() for name, one in theirs.state_dict().items()}
    centres = take_centres(state)
    wanted = {n: one for n, one in ours.state_dict().items() if ".centre." not in n}
    weights = upstream.convert("pstnet" if norm == "after_max" else "pstnetpp", state, wanted)
    ours.load_state_dict(weights | centres)
    with torch.no_grad():
        assert_equal(ours(clip(pair)), theirs(clip(pair).double()))


def take_centres(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Move the part of the weights that sees the anchor's own feature out of `state`."""
    centres = {}
    for number, key in enumerate(("1", "2a", "2b", "3a")):
        name = f"layers.{number}.centre.weight"
        after, inside = f"conv{key}.spatial_conv_c.weight", f"encoder{key}.spatial_mlp.0.weight"
        before = {"1": 0, "2a": 8, "2b": 16, "3a": 24}[key]
        if after in state:
            centres[name] = state.pop(after).flatten(1)
        elif inside in state and state[inside].shape[1] > 3 + before:
            whole = state[inside]
            state[inside], centres[name] = whole[:, : 3 + before], whole[:, 3 + before :].flatten(1)
    return centres


@pytest.mark.parametrize("task", ["action_recognition", "action_segmentation"])
def test_pptr_of_planes_and_memory_is_the_papers(task):
    frames = task == "action_segmentation"
    kind, shape = (pptr.PPTrActions, EVERY_FRAME) if frames else (pptr.PPTr, TUBE)
    config = {
        "task": task,
        "tube": model_cases.EVERY_FRAME if frames else model_cases.TUBE,
        "primitives": {"kind": "planes", "count": 3, "plane_distance": 0.1},
        "position": "place_and_time" if frames else "none",
        **PPTR,
    }
    pair = Pair("", lambda: kind(shape, SIZE, CLASSES), "pptr", config)
    theirs = textbook(pair)
    ours, points = converted(pair, theirs), clip(pair)
    memory = torch.rand(2, 4, 3, SIZE.dim)
    flat = points.flatten(0, 1)
    labels = plane_patches(flat, 3, distance=0.1)
    chosen = farthest_point_sample(flat, pair.points // 4)
    primitives = labels.gather(1, chosen).unflatten(0, (2, -1))
    if not frames:
        primitives = primitives[:, [0, 2, 4, 6]]  # the anchor frames: stride 2, one before added
    with torch.no_grad():
        expected = theirs(points.double(), primitives, 3, memory.double())
        assert_equal(ours(points, memory), expected)
