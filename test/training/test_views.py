from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.errors import InputError
from fourd_perception.parameters import ConfigError, from_mapping
from training.views import ViewConfig, frames_kept, view

STILL = ViewConfig(rotation=0, tilt=0, scale=0, translation=0, every=1)
seeds = st.integers(0, 10_000)
thinned = st.one_of(
    st.builds(dict, every=st.integers(1, 5)),
    st.builds(dict, every=st.just(1), share=st.floats(0.2, 1)),
)


def clip_of(length, points=8, seed=0):
    return np.random.default_rng(seed).normal(0.5, 1, (length, points, 3)).astype(np.float32)


def with_ones(points):
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], -1)


@given(st.integers(5, 40), thinned, seeds)
def test_a_frame_of_a_view_is_one_affine_map_of_the_frame_it_names(length, thin, seed):
    config = ViewConfig(**thin)
    clip = clip_of(length)
    made = view(clip, config, np.random.default_rng(seed))
    assert made.points.dtype == np.float32
    assert made.points.shape == (frames_kept(length, config), 8, 3)
    assert made.frames.dtype == np.int64
    assert made.frames.shape == (len(made.points),)
    # One map for all: fitted to the whole view, it leaves nothing in any frame.
    source, target = with_ones(clip[made.frames]).reshape(-1, 4), made.points.reshape(-1, 3)
    affine = np.linalg.lstsq(source, target, rcond=None)[0]
    np.testing.assert_allclose(source @ affine, target, atol=1e-4)
    if config.every == 1 and config.share == 1:
        assert made.frames.tolist() == list(range(length))


def test_another_frame_is_no_affine_image():
    """The property above could fail."""
    clip = clip_of(12)
    made = view(clip, ViewConfig(every=2), np.random.default_rng(0))
    source = with_ones(clip[(made.frames + 1) % 12]).reshape(-1, 4)
    target = made.points.reshape(-1, 3)
    affine = np.linalg.lstsq(source, target, rcond=None)[0]
    assert np.abs(source @ affine - target).max() > 0.3


@given(st.integers(1, 60), thinned, seeds)
def test_frames_rise_and_are_as_many_whatever_is_drawn(length, thin, seed):
    config = ViewConfig(**thin)
    kept = frames_kept(length, config)
    if kept == 0:
        with pytest.raises(InputError, match=f"keeps none of {length} frames"):
            view(clip_of(length), config, np.random.default_rng(seed))
        return
    frames = view(clip_of(length), config, np.random.default_rng(seed)).frames
    assert len(frames) == kept
    assert (np.diff(frames) >= 1).all()
    assert 0 <= frames[0] <= frames[-1] < length
    if config.every > 1:
        assert (np.diff(frames) == config.every).all()


def test_the_first_frame_that_is_kept_is_drawn():
    config = ViewConfig(every=3)
    starts = {view(clip_of(9), config, np.random.default_rng(s)).frames[0] for s in range(30)}
    assert starts == {0, 1, 2}


def test_nothing_asked_for_changes_nothing():
    clip = clip_of(6)
    made = view(clip, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(made.points, clip, atol=1e-6)
    assert made.frames.tolist() == list(range(6))


@pytest.mark.parametrize(
    "change", [{"rotation": 90.0}, {"tilt": 40.0}, {"scale": 0.3}, {"translation": 0.5}]
)
def test_every_change_of_points_is_made_within_its_bounds(change):
    clip = clip_of(6)
    draws = [
        view(clip, replace(STILL, **change), np.random.default_rng(seed)).points
        for seed in range(20)
    ]
    assert all(np.abs(made - clip).max() > 1e-3 for made in draws)
    if "translation" in change:
        shifts = np.array([(made - clip).mean((0, 1)) for made in draws])
        assert np.abs(shifts).max() <= 0.5 + 1e-5
        assert (shifts.std(0) > 0.1).all()
        np.testing.assert_allclose(
            draws[0] - clip, np.broadcast_to(shifts[0], clip.shape), atol=1e-5
        )
    if "rotation" in change:
        for made in draws:
            np.testing.assert_allclose(made[..., 1], clip[..., 1], atol=1e-5)


def test_jitter_moves_each_point_by_itself():
    clip = np.zeros((4, 200, 3), np.float32)
    made = view(clip, replace(STILL, jitter=0.02), np.random.default_rng(0)).points
    assert made.std() == pytest.approx(0.02, rel=0.1)


def test_the_same_draw_gives_the_same_view():
    one, other = (view(clip_of(9), ViewConfig(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.frames, other.frames)


def test_a_bad_configuration_or_clip_is_refused():
    with pytest.raises(ConfigError, match="keep every 2th frame or a share of 0.5, not both"):
        from_mapping(ViewConfig, {"every": 2, "share": 0.5}, "run.yaml")
    with pytest.raises(ValueError, match=r"expected \(L, N, 3\), got \(4, 3\)"):
        view(np.zeros((4, 3), np.float32), STILL, np.random.default_rng(0))
