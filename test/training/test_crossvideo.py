"""CrossVideo: moments that belong together, gradients, learning, and two processes as one."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shared_crossvideo
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from shared_crossvideo import CONFIGS, FRAMES, POINTS, TinyImages, case_named, cross_batch, model_of
from torch import distributed, nn

from fourd_perception import models
from fourd_perception.errors import InputError
from fourd_perception.models.frame_layer import FrameLayer, TemporalReach
from fourd_perception.models.level import Level
from fourd_perception.models.video_model import Features, VideoModel
from training.crossvideo import (
    CrossBatch,
    CrossVideo,
    ProjectionConfig,
    ProjectionHead,
    check_views,
    frame_times,
    nearest_in_order,
)
from training.distributed import Processes
from training.losses import CrossVideoConfig
from training.monitors import top_1_retrieval
from training.views import ViewConfig, view

ROOT = Path(__file__).resolve().parents[2]
ALONE = Processes()
ENCODERS = ["im_pstnet", "p4_transformer", "pptr"]
THREE = TemporalReach(3, 1, (1, 1))
BY_TWO = TemporalReach(3, 2, (1, 1))


class Middle(FrameLayer):
    """Passes an anchor frame's points on, which `TemporalReach.frames` has in the middle."""

    def __init__(self, reach: TemporalReach) -> None:
        super().__init__()
        self.reach = reach

    def forward(self, level, frames):
        return level.at(frames[:, frames.shape[1] // 2])


class Clock(VideoModel):
    """A frame's feature is its points' mean: the time, where the points tell it."""

    feature_channels = 3

    def __init__(self, *reaches: TemporalReach) -> None:
        super().__init__()
        self.layers = nn.ModuleList(map(Middle, reaches))

    def sample(self, points):
        return Level(points)

    def summarise(self, level, batch, memory=None):
        frames = level.points.mean(1).unflatten(0, (batch, -1))
        return Features(frames.amax(1), frames)


class ImageClock(nn.Module):
    feature_channels = 3

    def forward(self, images):
        frames = images.mean((3, 4))
        return Features(frames.amax(1), frames)


class AsItIs(nn.Identity):
    channels = 3


def clocks(*reaches: TemporalReach) -> CrossVideo:
    model = CrossVideo(Clock(*reaches), ImageClock(), CrossVideoConfig())
    model.point_head = model.image_head = AsItIs()
    return model


def timed(frames, second, images=None) -> CrossBatch:
    """Clips whose points and images are the numbers of their frames; a list for each clip."""
    first, second, image = (torch.tensor(one) for one in (frames, second, images or frames))
    return CrossBatch(
        clips=first[..., None, None].expand(-1, -1, 4, 3).float(),
        labels=torch.full((len(first),), -1),
        second=second[..., None, None].expand(-1, -1, 4, 3).float(),
        images=image[..., None, None, None].expand(-1, -1, 3, 2, 2).float(),
        frames=first, second_frames=second, image_frames=image,
    )  # fmt: skip


def told(projected):
    return projected.frames[..., 0].int().tolist()


def test_the_same_moments_are_paired():
    frames = [list(range(12))] * 2
    second = [[1, 3, 5, 7, 9, 11], [0, 2, 3, 7, 8, 10]]
    batch = timed(frames, second)
    model = clocks(THREE)
    assert [told(one) for one in model.project(batch)] == [second] * 3
    # A video is the maximum over all frames, of those too that have no partner.
    first, other, image = model.project(batch)
    assert first.video[:, 0].tolist() == image.video[:, 0].tolist() == [11, 11]
    assert other.video[:, 0].tolist() == [11, 10]
    loss, figures = model(batch)
    assert figures["moment_gap"] == 0
    assert loss.isfinite()


def test_moments_are_those_of_all_streams_whichever_has_the_fewest():
    batch = timed([[0, 1, 2, 3, 4, 5, 6, 7]], [[0, 2, 3, 4, 6]], [[0, 3, 6]])
    assert [told(one) for one in clocks(THREE).project(batch)] == [[[0, 3, 6]]] * 3
    batch = timed([[2, 4]], [[2, 3, 4, 5]], [[0, 1, 2, 3, 4]])
    assert [told(one) for one in clocks().project(batch)] == [[[2, 4]]] * 3


def test_frames_without_padding_and_with_strides_are_paired_with_the_nearest():
    # The encoder's features are of frames 1, 3, 5, 7, ... of what it is given: of the second view's
    # 1 + 2 k that is 3, 7, 11, of 2 k it is 2, 6, 10. The nearest of the first view are those
    # themselves, and one earlier; images have every frame.
    unpadded = TemporalReach(3, 2, (0, 0))
    frames = [list(range(16))] * 2
    batch = timed(frames, [list(range(1, 16, 2)), list(range(0, 16, 2))])
    first, second, image = clocks(unpadded).project(batch)
    assert told(second) == [[3, 7, 11], [2, 6, 10]]
    assert told(first) == [[3, 7, 11], [1, 5, 9]]
    assert told(image) == told(second)
    assert clocks(unpadded)(batch)[1]["moment_gap"] == 0.5
    # By their places in the features alone, which is wrong, the first would be 1, 3, 5.
    assert frame_times(Clock(unpadded), 16).tolist() == [1, 3, 5, 7, 9, 11, 13]


def test_two_strides_count_twice():
    assert frame_times(Clock(BY_TWO, THREE, BY_TWO), 24).tolist() == [0, 4, 8, 12, 16, 20]
    batch = timed([list(range(24))], [list(range(1, 24, 2))])
    first, second, image = clocks(BY_TWO, THREE, BY_TWO).project(batch)
    assert told(second) == [[1, 9, 17]] == told(image)
    assert told(first) == [[0, 8, 16]]


@given(
    st.integers(3, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 99)
)
def test_a_frames_time_is_what_the_encoder_says_it_is(length, one, two, pad, seed):
    model = Clock(TemporalReach(3, one, (pad, pad)), TemporalReach(1, two))
    points = torch.arange(length).float()[None, :, None, None].expand(1, -1, 2, 3)
    assert frame_times(model, length).tolist() == model.encode(points).frames[0, :, 0].tolist()


@pytest.mark.parametrize("name", [*ENCODERS, "pptr_frames"])
def test_a_frames_time_is_the_middle_of_what_its_feature_looks_at(name):
    case = case_named(name)
    model, clip = case.build(), case.clip(1)
    with torch.no_grad():
        before = model.run_layers(clip).features
        looks = torch.zeros(len(before), case.frames, dtype=torch.bool)
        for frame in range(case.frames):
            moved = clip.clone()
            moved[:, frame] += torch.rand(case.points, 3, generator=torch.manual_seed(5))
            after = model.run_layers(moved).features
            looks[:, frame] = (after != before).flatten(1).any(1)
    times = frame_times(model, case.frames)
    assert len(times) == len(before) == model.encode(clip).frames.shape[1]
    for time, row in zip(times.tolist(), looks):
        seen = row.nonzero()[:, 0].tolist()
        assert seen
        # Cut off where the clip ends.
        reach = max(time - seen[0], seen[-1] - time)
        assert seen[0] == max(0, time - reach)
        assert seen[-1] == min(case.frames - 1, time + reach)


@pytest.mark.parametrize("name", ["p4_transformer", "pptr"])
def test_a_few_clips_at_once_give_the_gradients_of_all(name):
    batch = cross_batch(5)
    gradients = []
    for clips_at_once in (0, 2, 8):
        model = model_of(name, clips_at_once=clips_at_once).train()
        loss, _ = model(batch)
        loss.backward()
        gradients.append([one.grad for one in model.parameters() if one.grad is not None])
    whole, *others = gradients
    for few in others:
        torch.testing.assert_close(few, whole, rtol=1e-4, atol=1e-4)


def test_without_the_contrast_across_modalities_images_are_not_looked_at(monkeypatch):
    alone = model_of("p4_transformer", CrossVideoConfig(cross=False)).train()
    whole = model_of("p4_transformer").train()
    batch = cross_batch(3)
    terms = whole(batch)[1]
    monkeypatch.setattr(alone.images, "forward", None)
    loss, figures = alone(batch)
    assert figures.keys() == {"intra_video", "intra_frame", "moment_gap"}
    assert all(figures[name] == terms[name] for name in figures)
    loss.backward()
    assert all(one.grad is None for one in alone.image_head.parameters())


def test_without_an_image_encoder_the_points_alone_are_learnt_from():
    encoder = case_named("p4_transformer").build()
    points_alone = CrossVideoConfig(cross=False)
    model = CrossVideo(encoder, None, points_alone, ProjectionConfig(channels=8)).train()
    whole = cross_batch(3)
    batch = replace(whole, images=None, image_frames=None)
    loss, figures = model(batch)
    loss.backward()
    assert figures.keys() == {"intra_video", "intra_frame", "moment_gap"}
    with_images = CrossVideo(encoder, TinyImages(), points_alone, ProjectionConfig(channels=8))
    with_images.point_head.load_state_dict(model.point_head.state_dict())
    torch.testing.assert_close(with_images.train()(whole)[0], loss)
    first, second, image = model.eval().project(batch)
    assert image is None and first.frames.shape == second.frames.shape
    with pytest.raises(ValueError, match="cross wants an encoder of them"):
        CrossVideo(encoder, None, CrossVideoConfig())
    with pytest.raises(ValueError, match="images: wanted are clips that have them"):
        model_of("p4_transformer")(batch)
    with pytest.raises(InputError, match="images and the numbers of their frames"):
        replace(whole, images=None)
    late = batch.second_frames + FRAMES
    with pytest.raises(InputError, match="clip 0: the two views have no frame in common"):
        replace(batch, second_frames=late)


def test_an_encoder_that_normalises_over_its_batch_must_see_it_whole():
    with pytest.raises(InputError, match=r"clips_at_once: the point encoder .* over its batch"):
        model_of("im_pstnet", clips_at_once=2)


kernels = st.sampled_from([1, 3, 5])
reaches = kernels.flatmap(
    lambda kernel: st.builds(
        TemporalReach,
        st.just(kernel),
        st.integers(1, 3),
        st.tuples(*[st.integers(0, kernel // 2)] * 2),
    )
)


@given(
    st.lists(reaches, min_size=1, max_size=3),
    st.integers(3, 40),
    st.one_of(
        st.builds(dict, every=st.integers(1, 4)),
        st.builds(dict, every=st.just(1), share=st.floats(0.2, 1)),
    ),
    st.integers(0, 999),
)
def test_views_that_an_encoder_takes_can_be_paired(layers, length, thin, seed):
    model, config = Clock(*layers), ViewConfig(**thin)
    try:
        check_views(model, length, 4, config)
    except InputError:
        assume(False)
    random = np.random.default_rng(seed)
    clip = np.zeros((length, 4, 3), np.float32)
    second = [view(clip, config, random).frames.tolist() for _ in range(2)]
    batch = timed([list(range(length))] * 2, second)
    first, other, image = (one.frames[..., 0] for one in clocks(*layers).project(batch))
    assert first.shape == other.shape == image.shape
    for one in (first, other, image):
        assert (one.diff() > 0).all()
    stride = math.prod(layer.stride for layer in layers)
    if stride == 1 and all(sum(layer.padding) == layer.kernel - 1 for layer in layers):
        torch.testing.assert_close(first, other)
        torch.testing.assert_close(first, image)


rising = st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True).map(sorted)


@given(rising, rising)
def test_nearest_in_order_takes_each_once(one, other):
    wanted, moments = sorted((one, other), key=len)
    places = nearest_in_order(torch.tensor([wanted]), torch.tensor([moments]))[0].tolist()
    assert len(places) == len(wanted)
    assert all(a < b for a, b in itertools.pairwise(places))
    assert 0 <= places[0] <= places[-1] < len(moments)
    if set(wanted) <= set(moments):
        assert [moments[place] for place in places] == wanted
    nearest = [min(range(len(moments)), key=lambda m: abs(w - moments[m])) for w in wanted]
    if len(set(nearest)) == len(nearest):
        assert places == nearest


@pytest.mark.parametrize("name", ENCODERS)
def test_a_gradient_reaches_every_part(name):
    model = model_of(name).train()
    loss, figures = model(cross_batch(4))
    assert figures.keys() == {
        "intra_video", "intra_frame", "cross_video", "cross_frame", "moment_gap",
    }  # fmt: skip
    assert not any(figure.requires_grad for figure in figures.values())
    terms = sum(figure for figure_name, figure in figures.items() if figure_name != "moment_gap")
    torch.testing.assert_close(loss.detach(), terms / 2)
    loss.backward()
    for part in (model.points.layers, model.images, model.point_head, model.image_head):
        for parameter_name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert any(parameter.grad.abs().max() > 0 for parameter in part.parameters())
    # The classifier is no part of it.
    assert all(parameter.grad is None for parameter in model.points.head.parameters())


def test_without_the_cross_term_images_learn_nothing():
    model = model_of("p4_transformer", CrossVideoConfig(cross=False)).train()
    loss, figures = model(cross_batch(4))
    loss.backward()
    assert figures.keys() == {"intra_video", "intra_frame", "moment_gap"}
    assert all(parameter.grad is None for parameter in model.images.parameters())
    assert all(parameter.grad is not None for parameter in model.point_head.parameters())


@pytest.mark.parametrize("name", ENCODERS)
def test_it_learns_which_points_and_images_belong_together(name):
    clips = 6
    model = model_of(name).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(40):
        loss, _ = model(cross_batch(clips, seed=step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Of features that tell nothing each of the four terms is the log of the number of candidates.
    assert sum(losses[-5:]) / 5 < 0.6 * 4 / 2 * math.log(2 * clips - 1)
    with torch.no_grad():
        first, second, image = model.project(cross_batch(clips, seed=1000))
    for one, other in ((first, image), (second, image), (first, second)):
        assert top_1_retrieval(one.video, other.video) >= 3 * 100 / clips


def test_a_head_is_two_layers_of_the_sizes_asked_for():
    model = model_of("p4_transformer")
    weights = model.point_head.expand.weight, model.point_head.project.weight
    assert [tuple(one.shape) for one in weights] == [(24, 24), (8, 24)]
    plain = ProjectionHead(5, 7, 3, norm=False)
    assert [tuple(one.shape) for one in plain.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    features = torch.randn(2, 4, 5)
    inside = (features @ plain.expand.weight.T + plain.expand.bias).clamp(min=0)
    made = inside @ plain.project.weight.T + plain.project.bias
    torch.testing.assert_close(plain(features), made)
    first, second, image = model.project(cross_batch(2))
    assert first.frames.shape == second.frames.shape == image.frames.shape == (2, 2, 8)


def test_a_heads_norm_takes_away_what_all_features_share():
    torch.manual_seed(0)
    head = ProjectionHead(5, 7, 3)
    features = torch.randn(3, 4, 5)
    torch.testing.assert_close(head(features + 100), head(features), atol=1e-3, rtol=1e-3)


def test_a_batch_of_one_is_refused():
    with pytest.raises(InputError, match="a batch of 1 has no negatives"):
        model_of("p4_transformer")(cross_batch(1))


def test_points_and_images_without_common_frames_are_refused():
    with pytest.raises(
        InputError,
        match=r"clip 1: points and images have no frame in common: "
        r"first view 0 to 3 \(4\), second view 0 to 2 \(2\), images 6 to 9 \(4\)",
    ):
        timed([[0, 1, 2, 3]] * 2, [[0, 2]] * 2, [[0, 1, 2, 3], [6, 7, 8, 9]])  # fmt: skip


def test_moments_too_far_apart_are_refused():
    batch = timed([list(range(8))] * 2, [[0, 2, 4, 6]] * 2, [[0, 1, 2, 3], [6, 7, 8, 9]])
    with pytest.raises(InputError, match=r"clip 0, images: .* \[0, 1, 2, 3\], up to 3 away from "):
        clocks().project(batch)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": torch.zeros(2, 5, 3, 4, 4)}, r"images: \(2, 5\) .* frame numbers \(2, 9\)"),
        ({"second": torch.zeros(2, 9, 4, 3)}, r"second view: \(2, 9\) .* frame numbers \(2, 4\)"),
        ({"clips": torch.zeros(3, 9, 4, 3)}, r"first view: \(3, 9\)"),
        (
            {"image_frames": torch.arange(9).flip(0).expand(2, -1)},
            r"clip 0, images: frame numbers do not rise: \[8, 7",
        ),
    ],
)
def test_streams_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(cross_batch(2), **change)


def test_points_that_are_no_numbers_are_refused_with_their_name():
    batch = cross_batch(3)
    second = batch.second.clone()
    second[1, 2, 5, 0] = torch.nan
    second[1, 3, 6] = torch.inf
    with pytest.raises(InputError, match=f"clip 1, second view: 2 of {4 * POINTS} points"):
        replace(batch, second=second)


def test_features_that_are_no_numbers_are_refused_with_the_clips_names():
    batch = cross_batch(3)
    images = batch.images.clone()
    images[2, 4] = torch.nan
    with pytest.raises(InputError, match=r"the features of 1 of 3 clips are not finite \(clip 2\)"):
        model_of("p4_transformer")(replace(batch, images=images))


def test_encoders_of_other_sizes_are_refused():
    class Skips(TinyImages):
        def forward(self, images):
            return super().forward(images[:, ::2])

    model = CrossVideo(case_named("p4_transformer").build(), Skips(), CrossVideoConfig())
    with pytest.raises(InputError, match=r"\(2, 5\) .* for images of \(2, 9\)"):
        model(cross_batch(2))
    # Its feature_channels are its points', not its frames'.
    sizes = case_named("p4_segmenter").config | {"up": [[14, 14], [10, 12]]}
    segmenter = models.build("p4_segmenter", sizes, 5)
    model = CrossVideo(segmenter, TinyImages(), CrossVideoConfig())
    with pytest.raises(InputError, match="point encoder's frames have 16 features, .* takes 12"):
        model(cross_batch(2))
    with pytest.raises(TypeError, match="Linear does not say its feature_channels"):
        CrossVideo(segmenter, nn.Linear(3, 3), CrossVideoConfig())


def test_views_that_an_encoder_cannot_take_are_refused_before_training():
    model = case_named("p4_transformer").build()
    check_views(model, FRAMES, POINTS, ViewConfig(every=3))
    with pytest.raises(
        InputError,
        match="view: it keeps 2 of a clip's 9 frames, but the encoder looks at 3 at once",
    ):
        check_views(model, FRAMES, POINTS, ViewConfig(every=4))  # fmt: skip
    unpadded = case_named("im_pstnet_head_norm").build()
    with pytest.raises(InputError, match="view: it keeps 4 of a clip's 9 frames: a clip of 4 "):
        check_views(unpadded, FRAMES, POINTS, ViewConfig(every=2))
    with pytest.raises(InputError, match="a clip of 9 frames x 1 points is too small"):
        check_views(model, FRAMES, 1, ViewConfig())


def test_a_batch_goes_to_a_device_whole():
    batch = cross_batch(2)
    moved = batch.to(torch.device("meta"))
    tensors = [name for name, one in vars(batch).items() if isinstance(one, torch.Tensor)]
    assert len(tensors) == 7
    assert all(getattr(moved, name).device.type == "meta" for name in tensors)
    assert moved.names == batch.names


def test_sizes_that_are_not_asked_for_are_the_encoders():
    model = CrossVideo(
        case_named("p4_transformer").build(), TinyImages(), CrossVideoConfig(), ProjectionConfig()
    )
    weights = model.image_head.expand.weight, model.image_head.project.weight
    assert [tuple(one.shape) for one in weights] == [(10, 10), (256, 10)]
    assert model.image_head.norm is not None


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes found."""
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("no gloo")
    folder = tmp_path_factory.mktemp("two")
    path = [str(ROOT), str(ROOT / "test"), *filter(None, [os.environ.get("PYTHONPATH")])]
    ran = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1",
            shared_crossvideo.__file__, str(folder),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("found, count", [("printed", 5), ("every way", 5), ("one each", 2)])
def test_two_processes_contrast_as_one_does(both, found, count):
    # Of 5 clips one process has 2 and the other 3.
    config = CONFIGS.get(found, CONFIGS["printed"])
    expected = shared_crossvideo.contrasted(config, ALONE, count)
    one, two = (mine[found] for mine in both)
    for name, value in expected.items():
        got = torch.cat([one[name], two[name]]) if "gradient" in name else one[name]
        torch.testing.assert_close(got, value, msg=lambda text, name=name: f"{name}: {text}")


def test_all_processes_refuse_what_one_of_them_has(both):
    assert both[0]["refused"] == both[1]["refused"]
    assert (
        "1 of 5 features to be contrasted are not finite, the first is number 4"
        in both[0]["refused"]
    )


@pytest.mark.parametrize("name", ["im_pstnet", "p4_transformer"])
def test_a_step_of_two_processes_is_that_of_one(both, tmp_path, name):
    expected = shared_crossvideo.learnt(name, tmp_path, ALONE)
    assert any(key.startswith("gradient of points") for key in expected)
    for mine in both:
        assert mine[name].keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(
                mine[name][key], value, rtol=1e-3, atol=1e-5,
                msg=lambda text, key=key: f"{key}: {text}",
            )  # fmt: skip
