from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fourd_perception.errors import InputError
from fourd_perception.models.image_video import (
    ImageVideoConfig,
    ImageVideoEncoder,
    ImageVideoModel,
    LocalAttention,
    StemConv,
    TemporalLayer,
)
from fourd_perception.parameters import from_mapping, load_yaml

TINY = ImageVideoConfig(
    stem=(4, 6), temporal_kernel=3, channels=8, depth=2, heads=2, dropout=0.5, features=10
)


def encoder(config: ImageVideoConfig = TINY, seed: int = 0) -> ImageVideoEncoder:
    torch.manual_seed(seed)
    return ImageVideoEncoder(config).eval()


def clips(batch: int = 2, length: int = 7, height: int = 9, width: int = 12) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(batch, length, 3, height, width, generator=random)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_gives_a_feature_of_each_frame_and_their_maximum(length):
    features = encoder()(clips(length=length))
    assert features.frames.shape == (2, length, 10)
    assert features.frames.dtype == torch.float32
    assert features.points is None
    torch.testing.assert_close(features.video, features.frames.amax(1))
    assert ImageVideoModel(TINY, 5)(clips(length=length)).shape == (2, length, 5)


def test_every_weight_learns_and_the_images_too():
    model, images = ImageVideoModel(TINY, 5).train(), clips().requires_grad_()
    model(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert images.grad is not None
    assert (images.grad.abs().sum((2, 3, 4)) > 0).all()


def test_derivatives_are_differences():
    torch.manual_seed(0)
    stem, layer = StemConv(2, 4, 3).double(), TemporalLayer(TINY, reach=2).double().eval()
    volume = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    frames = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stem, volume)
    assert torch.autograd.gradcheck(layer, frames)


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_does_not_depend_on_its_place_or_on_the_others(training):
    model = encoder(replace(TINY, dropout=0.0)).train(training)
    images, order = clips(batch=4), torch.tensor([2, 0, 3, 1])
    together = model(images)
    torch.testing.assert_close(model(images[order]).frames, together.frames[order])
    torch.testing.assert_close(model(images[2:3]).video, together.video[2:3])


@pytest.mark.parametrize("at", [0, 15, 30])
@pytest.mark.parametrize("changes", [{}, {"depth": 1, "stem": (4,)}, {"temporal_kernel": 1}])
def test_a_frame_is_felt_within_the_reach_and_no_further(at, changes):
    config = replace(TINY, **changes)
    model, images = encoder(config), clips(batch=1, length=31)
    changed = images.clone()
    changed[:, at] = 1 - changed[:, at]
    difference = (model(images).frames - model(changed).frames).abs().amax((0, 2))
    away = (torch.arange(31) - at).abs()
    assert (difference[away > config.reach] == 0).all()
    assert (difference[away <= config.reach] > 0).all()
    assert 0 < config.reach < 31


def test_a_grid_knows_where_things_are():
    """Eight pixels to the side, a whole cell: the same convolutions of it, in another cell."""
    config = replace(TINY, stem=(4, 4), grid=4)
    images = torch.zeros(2, 5, 3, 32, 32)
    images[0, :, :, 10:14, 10:14] = images[1, :, :, 10:14, 18:22] = 1.0
    for grid, tells in ((4, True), (1, False)):
        left, right = encoder(replace(config, grid=grid))(images).video
        assert (not torch.allclose(left, right, atol=1e-5)) == tells


def test_time_has_no_origin_away_from_the_ends():
    model, images = encoder(), clips(batch=1, length=24)
    later = model(images[:, 3:]).frames
    far = TINY.reach
    torch.testing.assert_close(
        model(images).frames[:, 3 + far : -far], later[:, far:-far], rtol=1e-4, atol=1e-5
    )


def test_attention_at_the_ends_heeds_the_frames_that_are_there():
    torch.manual_seed(0)
    attention = LocalAttention(8, 2, reach=2)
    frames = torch.randn(1, 6, 8)
    whole = attention(frames)
    # All that the first frame may see are the first three: alone they give it the same.
    torch.testing.assert_close(attention(frames[:, :3])[:, 0], whole[:, 0])
    torch.testing.assert_close(attention(frames[:, 3:])[:, -1], whole[:, -1])
    # Weights sum to one there as well: where all frames are the same, so is what is attended to.
    same = attention(frames[:, :1].expand(-1, 6, -1))
    torch.testing.assert_close(same, same[:, :1].expand(-1, 6, -1))


def test_attention_is_its_textbook():
    torch.manual_seed(0)
    attention = LocalAttention(6, 1, reach=1)
    frames = torch.randn(1, 4, 6)
    query, key, value = attention.to_qkv(attention.norm(frames))[0].chunk(3, -1)
    expected = []
    for t in range(4):
        near = [s for s in range(4) if abs(s - t) <= 1]
        weights = torch.softmax(torch.stack([query[t] @ key[s] / 6**0.5 for s in near]), 0)
        expected.append(sum(weight * value[s] for weight, s in zip(weights, near)))
    torch.testing.assert_close(attention(frames)[0], attention.project(torch.stack(expected)))


def test_one_seed_one_model_one_answer():
    images = clips()
    first = encoder()(images).frames
    assert torch.equal(first, encoder()(images).frames)
    assert not torch.equal(first, encoder(seed=1)(images).frames)
    copy = encoder(seed=1)
    copy.load_state_dict(encoder().state_dict())
    assert torch.equal(first, copy(images).frames)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (clips()[0], r"expected \(B, L, 3, H, W\) float32, got \(7, 3, 9, 12\) float32"),
        (clips().double(), r"got \(2, 7, 3, 9, 12\) float64"),
        (clips()[:, :, :2], r"got \(2, 7, 2, 9, 12\)"),
        (clips()[:, :0], "1 pixel or more"),
    ],
)
def test_other_images_are_refused(images, says):
    with pytest.raises(ValueError, match=says):
        encoder()(images)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"channels": 10, "heads": 4}, "4 heads cannot share 10 channels"),
        ({"temporal_kernel": 2}, "odd number, got 2"),
        ({"stem": []}, "one convolution or more"),
        ({"width": 3}, "unknown key 'width'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes, says):
    with pytest.raises(InputError, match=says):
        from_mapping(ImageVideoConfig, sizes, "test")


@pytest.mark.parametrize(("name", "features"), [("image_video", 2048), ("image_video_small", 256)])
def test_the_sizes_in_the_configuration_can_be_built(name, features):
    config = load_yaml(ImageVideoConfig, f"config/models/{name}.yaml")
    with torch.device("meta"):
        model = ImageVideoEncoder(config)
        found = model(torch.empty(2, 3, 3, 64, 64))
    assert found.video.shape == (2, features)


def test_convolutions_are_rounded_where_products_may_be():
    """To what bfloat16 can say, there and back; and not a bit otherwise."""
    torch.manual_seed(0)
    conv, images = StemConv(3, 8, 3), clips().transpose(1, 2)

    def learnt():
        given = images.clone().requires_grad_()
        conv.zero_grad()
        out = conv(given)
        out.square().sum().backward()
        return out.detach(), given.grad, conv.conv.weight.grad.clone()

    exact, before = learnt(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        rounded = learnt()
    finally:
        torch.set_float32_matmul_precision(before)
    for got, wanted in zip(rounded, exact):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))
    for got, wanted in zip(learnt(), exact):
        assert torch.equal(got, wanted)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not torch.equal(rounded[0], exact[0])
