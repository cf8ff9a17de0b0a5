"""The textbook against the book: cases worked out by hand, and the published sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from textbook import p4transformer, pptr, pstnet
from textbook.point_operations import (
    ball_query,
    farthest_point_sample,
    group,
    pad_in_time,
    three_nearest,
    three_nearest_interpolate,
)
from textbook.point_tubes import TubeShape
from textbook.transformer import TransformerSize
from torch import Tensor, nn


def on_a_line(*x: float) -> Tensor:
    """(1, N, 3)"""
    return torch.tensor([[[value, 0.0, 0.0] for value in x]])


def test_the_farthest_point_comes_next() -> None:
    # From 0 the farthest is 10 (index 3). Then 4 is 4 from 0 and 6 from 10, 1 is 1 from 0.
    assert farthest_point_sample(on_a_line(0, 1, 4, 10), 4).tolist() == [[0, 3, 2, 1]]


def test_of_equally_far_points_the_first_is_taken() -> None:
    # -3 and 3 are equally far from 0, and after -3 all are taken but 3 and the twins of 0.
    assert farthest_point_sample(on_a_line(0, -3, 3, 0, 0), 5).tolist() == [[0, 1, 2, 0, 0]]


def test_compat_never_takes_what_lies_at_the_origin() -> None:
    points = on_a_line(5, 0, 0.03, 0.04, 4)  # 0.03^2 <= 1e-3 < 0.04^2
    assert farthest_point_sample(points, 3).tolist() == [[0, 1, 4]]
    assert farthest_point_sample(points, 3, compat=True).tolist() == [[0, 3, 4]]
    assert farthest_point_sample(points, 5, compat=True).tolist() == [[0, 3, 4, 0, 0]]
    nothing = torch.zeros(1, 4, 3)
    assert farthest_point_sample(nothing, 3, compat=True).tolist() == [[0, 0, 0]]


def test_the_ball_is_open_and_gives_the_first_in_index_order() -> None:
    points = on_a_line(9, 2, 1, 0, 0.5)
    centres = on_a_line(0, 100)
    # Within 2 of 0, strictly: 2, 3 and 4. Of 100: none, index 0.
    assert ball_query(points, centres, 2.0, 2).tolist() == [[[2, 3], [0, 0]]]
    assert ball_query(points, centres, 2.0, 4).tolist() == [[[2, 3, 4, 2], [0, 0, 0, 0]]]
    assert ball_query(points, centres, 2.0, 7).tolist() == [[[2, 3, 4, 2, 2, 2, 2], [0] * 7]]


def test_borders_are_those_of_float32() -> None:
    # In float64 the second point is within 0.1 of the centre; in float32 it lies on the border.
    points = torch.tensor([[[7.0, 0, 0], [0.1 - 1e-12, 0, 0]]], dtype=torch.float64)
    assert ball_query(points, torch.zeros(1, 1, 3, dtype=torch.float64), 0.1, 1).item() == 0


def test_interpolation_weighs_by_nearness() -> None:
    points, values = on_a_line(0, 1, 3, 50), torch.tensor([[[2.0, 4.0, 8.0, 1000.0]]])
    # At 2: distances 2, 1, 1, so weights 1/2, 1, 1 of 2.5. On a point: its own value.
    assert three_nearest(points, on_a_line(2)).tolist() == [[[1, 2, 0]]]
    found = three_nearest_interpolate(values, points, on_a_line(2, 3))
    torch.testing.assert_close(found, torch.tensor([[[(1 + 4 + 8) / 2.5, 8.0]]]))
    two = three_nearest_interpolate(values[..., :2], points[:, :2], on_a_line(0.25))
    torch.testing.assert_close(two, torch.tensor([[[2.5]]]))


def test_groups_and_padding() -> None:
    values = torch.arange(8.0).view(1, 2, 4)
    assert group(values, torch.tensor([[[3, 0]]])).tolist() == [[[[3, 0]], [[7, 4]]]]
    frames = torch.tensor([[[1.0], [2.0]]])
    assert pad_in_time(frames, (1, 2), "zeros").flatten().tolist() == [0, 1, 2, 0, 0]
    assert pad_in_time(frames, (1, 2), "replicate").flatten().tolist() == [1, 1, 2, 2, 2]


def test_equation_8_on_two_points() -> None:
    # Points 0 and 2, radius 4, features 10 and 20; all weights 1, and nothing else in zeta.
    # At 0: max(0/4 + 10, 2/4 + 20) + 10 = 30.5; at 2: max(-2/4 + 10, 0 + 20) + 20 = 40.
    layer = pstnet.Layer(1, 1, radius=4.0, k=2)
    conv = pstnet.PSTConv(1, layer, normalise_displacement=True, centre_feature=True).eval()
    op = pstnet.PSTOp(1, layer, normalise_displacement=True, centre_feature=True).eval()
    for module in (conv, op):
        for part in module.modules():
            if isinstance(part, (nn.Conv1d, nn.Conv2d)):
                nn.init.ones_(part.weight)
            elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.eps = 0.0
        anchors, features = module(on_a_line(0, 2)[None], torch.tensor([[[[10.0, 20.0]]]]))
        assert anchors.tolist() == [on_a_line(0, 2).tolist()]
        assert features.flatten().tolist() == [30.5, 40.0]


def test_runs_of_anchors_are_one_way_to_label_them() -> None:
    torch.manual_seed(0)
    size = TransformerSize(dim=8, depth=1, heads=2, dim_head=4, mlp_dim=6)
    points = torch.randn(2, 3, 32, 3, dtype=torch.float64)
    runs = torch.arange(16).div(4, rounding_mode="floor").expand(2, 3, 16)
    memory = torch.randn(2, 2, 3, 8, dtype=torch.float64)
    for kind in (pptr.PPTr, pptr.PPTrActions):
        model = kind(TubeShape(1.0, 4, 2, 3, 1, (1, 1)), size, 5, groups=4).double().eval()
        published = model(points)
        torch.testing.assert_close(model(points, runs, 4), published)
        # Labels without anchors change nothing, and a memory does.
        torch.testing.assert_close(model(points, 2 * runs + 1, 9), published)
        assert (model(points, memory=memory) - published).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (pstnet.pstnet_ntu, 8_520_957),
        (lambda: pstnet.pstnet_ntu(120), 8_643_897),
        (pstnet.pstnet_msr, 8_258_897),
        (pstnet.pstnetpp_ntu, 8_530_941),
        (pstnet.pstnetpp_msr, 8_433_237),
        # Equation 8 adds a convolution of f_i to every layer but the first.
        (pstnet.im_pstnet_ntu, 8_520_957 + 2_095_104),
        (lambda: pstnet.im_pstnet_ntu(norm="inside"), 8_530_941 + 2_095_104),
        (lambda: pstnet.im_pstnet_ntu(centre_feature=False), 8_520_957),
        (p4transformer.p4transformer_msr, 44_135_444),
        (p4transformer.p4transformer_ntu, 128_144_444),
        (p4transformer.p4transformer_hoi4d_actions, 65_121_299),
        (p4transformer.p4transformer_hoi4d_semantic, 14_760_465),
        (p4transformer.pst_transformer_msr_small, 276_460),
        (p4transformer.pst_transformer_ntu, 65_187_644),
        (pptr.pptr_msr, 128_093_204),
        (pptr.pptr_hoi4d_actions, 128_102_419),
        (pptr.pptr_hoi4d_semantic, 32_413_457),
    ],
)
def test_the_published_sizes(build: Callable[[], nn.Module], parameters: int) -> None:
    with torch.device("meta"):
        assert sum(weight.numel() for weight in build().parameters()) == parameters


@pytest.mark.parametrize(
    ("build", "name", "shape"),
    [
        (pstnet.pstnet_ntu, "conv1.spatial_conv_d.weight", (45, 3, 1, 1)),
        (pstnet.pstnet_ntu, "conv3b.batch_norm.running_var", (3 * 768,)),
        (pstnet.pstnetpp_ntu, "encoder2a.spatial_mlp.0.weight", (96, 67, 1, 1)),
        (pstnet.pstnetpp_ntu, "encoder2a.temporal_mlp_2.1.weight", (128,)),
        (pstnet.im_pstnet_ntu, "conv2a.spatial_conv_c.weight", (96, 64, 1, 1)),
        (p4transformer.p4transformer_msr, "tube_embedding.conv_d.0.weight", (1024, 4, 1, 1)),
        (p4transformer.p4transformer_msr, "transformer.layers.0.0.fn.norm.weight", (1024,)),
        (p4transformer.p4transformer_msr, "mlp_head.3.weight", (20, 2048)),
        (p4transformer.p4transformer_ntu, "transformer.layers.9.1.fn.fn.net.3.bias", (1024,)),
        (p4transformer.p4transformer_ntu, "mlp_head.4.weight", (60, 2048)),
        (p4transformer.pst_transformer_ntu, "transformer.layers.4.0.spatial_op.weight", (256, 3)),
        (p4transformer.p4transformer_hoi4d_semantic, "conv3.conv_f.0.weight", (256, 256, 1, 1)),
        (pptr.pptr_hoi4d_actions, "transformer2.layers.4.0.fn.fn.to_out.0.weight", (2048, 1024)),
        (pptr.pptr_hoi4d_semantic, "deconv_cat.conv.3.weight", (1024, 1024, 1)),
    ],
)
def test_parameters_have_the_public_names(
    build: Callable[[], nn.Module], name: str, shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        assert build().state_dict()[name].shape == shape
