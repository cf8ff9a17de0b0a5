"""im-PSTNet against a second implementation: loops over frames, grouping before the convolution."""

from __future__ import annotations

import pytest
import torch
import yaml

from fourd_perception import models
from fourd_perception.errors import InputError

ROWS = [
    {"mid_channels": 6, "out_channels": 8, "radius": 0.3, "neighbours": 4, "spatial_stride": 2},
    {
        "mid_channels": 12, "out_channels": 16, "radius": 0.6, "neighbours": 5,
        "spatial_stride": 2, "temporal_kernel": 3, "temporal_stride": 2, "temporal_padding": [1, 1],
    },
    {
        "mid_channels": 20, "out_channels": 24, "radius": 0.6, "neighbours": 5,
        "temporal_kernel": 3, "temporal_padding": [0, 0],
    },
]  # fmt: skip


def build(**switches):
    torch.manual_seed(0)
    model = models.build("im_pstnet", {"layers": ROWS, **switches}, 5)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # not the identity that they start as
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval()


def clip(batch=2, frames=9, points=40, seed=0):
    return torch.rand(batch, frames, points, 3, generator=torch.Generator().manual_seed(seed))


def farthest(points, count):
    chosen = [0]
    nearest = torch.full((len(points),), torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
        chosen.append(int(nearest.argmax()))
    return chosen


def textbook(model, points):
    """Logits of one clip, (L, N, 3) float64: VG4D's equation 8, read line by line."""
    frames, features = list(points), None
    for number, layer in enumerate(model.layers):
        row = layer.config
        left, right = row.temporal_padding
        clamped = [min(max(t - left, 0), len(frames) - 1)
                   for t in range(len(frames) + left + right)]  # fmt: skip
        reach = row.temporal_kernel // 2
        next_frames, next_features = [], []
        for centre in range(reach, len(clamped) - reach, row.temporal_stride):
            t = clamped[centre]
            chosen = farthest(frames[t], len(frames[t]) // row.spatial_stride)
            anchors = frames[t][chosen]
            pooled = []
            for offset in range(-reach, reach + 1):
                i = clamped[centre + offset]
                grouped = []
                for a, anchor in enumerate(anchors):
                    near = ((frames[i] - anchor).square().sum(1) < row.radius**2).nonzero()[:, 0]
                    near = near.tolist()[: row.neighbours] or [0]
                    displacement = (frames[i][near] - anchor) * layer.scale
                    value = displacement @ layer.displacement.weight.double().T
                    if features is not None:
                        value = value + features[i][near] @ layer.neighbour.weight.double().T
                        if layer.centre is not None:
                            value = value + features[t][chosen[a]] @ layer.centre.weight.double().T
                    grouped.append(value.amax(0))
                pooled.append(torch.stack(grouped))
            mixed = torch.cat(pooled, 1)
            norm = layer.norm
            mixed = (mixed - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            mixed = torch.relu(mixed * norm.weight + norm.bias)
            out = mixed @ layer.temporal.weight.double().T
            next_frames.append(anchors)
            next_features.append(out if number == len(model.layers) - 1 else torch.relu(out))
        frames, features = next_frames, next_features
    video = torch.stack([one.mean(0) for one in features]).amax(0)
    return video @ model.head.weight.double().T + model.head.bias


@pytest.mark.parametrize(
    "switches", [{}, {"normalise_displacement": False}, {"centre_feature": False}]
)
def test_equals_the_textbook(switches):
    model = build(**switches)
    for layer in model.layers:
        torch.nn.init.uniform_(layer.norm.running_mean, -0.5, 0.5)
        torch.nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    points = clip()
    with torch.no_grad():
        expected = torch.stack([textbook(model, one.double()) for one in points])
        torch.testing.assert_close(model(points).double(), expected, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    model = build()
    points = clip(batch=3)
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(3))
    (model(points) * weight).sum().backward()
    for name in ("layers.0.displacement.weight", "layers.1.neighbour.weight",
                 "layers.1.centre.weight", "layers.2.temporal.weight"):  # fmt: skip
        parameter = model.get_parameter(name)
        direction = torch.sign(parameter.grad)
        step = 1e-3
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
                values.append((model(points) * weight).sum().item())
                parameter.sub_(direction, alpha=sign * step)
        numeric = (values[0] - values[1]) / (2 * step)
        assert numeric == pytest.approx((parameter.grad * direction).sum().item(), rel=0.05), name


def test_a_clip_does_not_depend_on_its_neighbours_in_the_batch():
    model, points = build(), clip(batch=3)
    with torch.no_grad():
        torch.testing.assert_close(model(points)[1:2], model(points[1:2]))


def test_moving_the_whole_scene_changes_nothing():
    model, points = build(), clip()
    with torch.no_grad():
        moved = model(points + torch.tensor([0.25, -0.5, 2.0]))
        torch.testing.assert_close(model(points), moved, rtol=1e-3, atol=1e-3)


def test_evaluation_is_deterministic_and_survives_a_round_trip():
    model, points = build(), clip()
    again = build()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(points), model(points))
        assert torch.equal(model(points), again(points))


def test_encode_gives_video_and_frame_features():
    video, frames = build().encode(clip())
    assert video.shape == (2, 24)
    assert frames.shape == (2, 3, 24)
    assert torch.equal(frames.amax(1), video)


def test_the_published_table_has_the_published_width():
    with open("config/models/im_pstnet_ntu.yaml", encoding="utf-8") as file:
        sizes = yaml.safe_load(file)
    model = models.build("im_pstnet", sizes, 60)
    assert model.feature_channels == 2048
    lengths, frames = [], 23
    for layer in model.layers:
        frames = layer.config.anchor_frames(frames)
        lengths.append(frames)
    assert lengths == [23, 11, 9, 4, 2, 2]  # PSTNet on 23 frames
    model.check_input(23, 2048)


def test_a_clip_that_is_too_small_is_refused_with_its_sizes():
    model = build()
    with pytest.raises(InputError, match="2 frames x 40 points.*layer 3"):
        model.check_input(2, 40)
    with pytest.raises(InputError, match="9 frames x 1 points.*layer 1"):
        model.check_input(9, 1)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"layers": [{"temporal_kernel": 2}]}, "odd"),
        ({"layers": []}, "expected 1 to 64"),
        ({"layers": [{}] * 65}, "got 65"),
        ({"layers": [{"temporal_padding": [5000000, 0]}]}, "less than the temporal_kernel"),
        ({"layers": [{"temporal_kernel": 3}]}, "temporal_kernel of 1"),
        ({"layers": [{"radios": 1.0}]}, "did you mean 'radius'"),
        ({"layers": [{"radius": -1.0}]}, "at least"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(sizes, says):
    with pytest.raises(InputError, match=says):
        models.build("im_pstnet", sizes, 5)
