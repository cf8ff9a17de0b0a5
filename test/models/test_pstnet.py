"""What is PSTNet's family's own; that it computes the equations, test_against_textbook.py says."""

from __future__ import annotations

import pytest
import textbook.pstnet
import torch
import yaml
from model_cases import CASES, CLASSES, PUBLISHED, pst

from fourd_perception import models
from fourd_perception.errors import InputError

ORDERS = [case for case in CASES if case.name in ("im_pstnet", "im_pstnet_inside")]
orders = pytest.mark.parametrize("case", ORDERS, ids=lambda case: case.name)


@orders
def test_gradients_are_those_of_finite_differences(case):
    for training in (False, True):
        model, points = case.build().train(training), case.clip(batch=3)
        weight = torch.randn(3, CLASSES, generator=torch.Generator().manual_seed(3))
        (model(points) * weight).sum().backward()
        for name in ("layers.0.displacement.weight", "layers.1.neighbour.weight",
                     "layers.1.centre.weight", "layers.2.temporal.weight",
                     "layers.1.norm.weight"):  # fmt: skip
            parameter = model.get_parameter(name)
            direction = torch.sign(parameter.grad)
            step, values = 1e-3, []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(direction, alpha=sign * step)
                    values.append((model(points) * weight).sum().item())
                    parameter.sub_(direction, alpha=sign * step)
            numeric = (values[0] - values[1]) / (2 * step)
            analytic = (parameter.grad * direction).sum().item()
            assert numeric == pytest.approx(analytic, rel=0.1), (name, training)


@orders
def test_moving_the_whole_scene_changes_nothing(case):
    model, points = case.build(), case.clip()
    with torch.no_grad():
        moved = model(points + torch.tensor([0.25, -0.5, 2.0]))
        torch.testing.assert_close(model(points), moved, rtol=1e-3, atol=1e-3)


def test_with_the_radius_as_unit_a_scaled_scene_is_the_same_scene():
    small = pst((1, 1))
    large = {"layers": [row | {"radius": 3 * row["radius"]} for row in small["layers"]]}
    torch.manual_seed(0)
    model = models.build("im_pstnet", small, CLASSES).eval()
    scaled = models.build("im_pstnet", large, CLASSES).eval()
    scaled.load_state_dict(model.state_dict())
    points = ORDERS[0].clip()
    with torch.no_grad():
        torch.testing.assert_close(scaled(3 * points), model(points), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["pstnet_ntu", "pstnetpp_ntu", "im_pstnet_ntu"])
def test_the_published_table_has_the_published_sizes(name):
    sizes = yaml.safe_load((PUBLISHED / f"{name}.yaml").read_text())
    with torch.device("meta"):
        model = models.build(name.removesuffix("_ntu"), sizes, 60)
    assert model.feature_channels == 2048
    lengths, frames = [], 23
    for layer in model.layers:
        frames = layer.reach.anchor_frames(frames)
        lengths.append(frames)
    assert lengths == [23, 11, 9, 4, 2, 2]  # PSTNet on 23 frames
    counts = [
        sum(parameter.numel() for parameter in one.parameters())
        for one in (model, getattr(textbook.pstnet, name)(60))
    ]
    assert counts[0] == counts[1]


def test_a_clip_that_is_too_small_is_refused_with_its_sizes():
    model = models.build("im_pstnet", pst((0, 0)), CLASSES)
    with pytest.raises(InputError, match="2 frames x 40 points.*layer 2"):
        model.check_input(2, 40)
    with pytest.raises(InputError, match="9 frames x 1 points.*layer 1"):
        model.check_input(9, 1)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"layers": [{"temporal_kernel": 2}]}, "odd"),
        ({"layers": []}, "expected 1 to 64"),
        ({"layers": [{}] * 65}, "got 65"),
        ({"layers": [{"temporal_padding": [5000000, 0]}]}, "half of the temporal_kernel"),
        ({"layers": [{"temporal_kernel": 3}]}, "temporal_kernel of 1"),
        ({"layers": [{"radios": 1.0}]}, "did you mean 'radius'"),
        ({"layers": [{"radius": -1.0}]}, "at least"),
        ({"layers": [{}], "norm": "outside"}, "expected one of after_max, inside"),
        ({"layers": [{}], "pooling": "sum", "norm": "inside"}, "wants pooling max, got sum"),
        ({"layers": [{}], "aggregation": "multiplication"}, "wants pooling sum or avg, got max"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(sizes, says):
    with pytest.raises(InputError, match=says):
        models.build("im_pstnet", sizes, 5)
