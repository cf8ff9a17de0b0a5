from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import AugmentConfig
from training.transforms import (
    augment,
    covering_windows,
    every_window,
    segment_indices,
    window_indices,
)

lengths, sizes = st.integers(1, 90), st.integers(1, 40)


@given(lengths, sizes, st.integers(0, 5))
def test_segments_take_one_frame_of_each(length, frames, seed):
    middle = segment_indices(length, frames)
    drawn = segment_indices(length, frames, np.random.default_rng(seed))
    for indices in (middle, drawn):
        assert indices.shape == (frames,)
        for number, index in enumerate(indices):
            assert int(number * length / frames) <= index < (number + 1) * length / frames
            assert 0 <= index < length


def test_segments_of_the_test_are_the_middle_ones():
    assert segment_indices(12, 4).tolist() == [1, 4, 7, 10]
    assert segment_indices(2, 4).tolist() == [0, 0, 1, 1]


@given(lengths, sizes, st.floats(0.5, 3), st.integers(0, 5))
def test_windows_keep_their_pace_and_stay_inside(length, frames, step, seed):
    indices = window_indices(length, frames, step, np.random.default_rng(seed))
    assert indices.shape == (frames,)
    assert indices.min() >= 0
    assert indices.max() < length
    if (frames - 1) * step <= length - 1:
        assert np.abs(np.diff(indices) - step).max(initial=0) <= 1
        assert abs(indices[-1] - indices[0] - (frames - 1) * step) <= 1


def test_every_window_is_every_window():
    assert [w.tolist() for w in every_window(6, 3, 2, 1)] == [[0, 2, 4], [1, 3, 5]]
    assert [w.tolist() for w in every_window(7, 3, 1, 2)] == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert [w.tolist() for w in every_window(2, 3, 1, 1)] == [[0, 1, 1]]


def test_augmentation_moves_all_frames_alike():
    clip = np.random.default_rng(0).random((5, 20, 3), np.float32)
    clip[1:] = clip[0]
    config = AugmentConfig(scale=0.2, rotation=40, tilt=20, mirror=0.5)
    out = augment(clip, config, np.random.default_rng(1))
    assert out.shape == clip.shape
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[1:], np.broadcast_to(out[0], out[1:].shape), atol=1e-6)
    assert np.abs(out - clip).max() > 0.01


def test_rotation_keeps_distances_and_height():
    clip = np.random.default_rng(0).random((2, 20, 3), np.float32)
    out = augment(clip, AugmentConfig(scale=0, rotation=90), np.random.default_rng(3))
    np.testing.assert_allclose(out[..., 1], clip[..., 1], atol=1e-5)
    before = np.linalg.norm(clip[0, 0] - clip[1, 5])
    assert np.linalg.norm(out[0, 0] - out[1, 5]) == pytest.approx(before, rel=1e-5)


def test_mirroring_swaps_left_and_right_alone():
    clip = np.random.default_rng(0).random((2, 20, 3), np.float32)
    out = augment(clip, AugmentConfig(scale=0, mirror=1.0), np.random.default_rng(0))
    centre = clip[..., 0].mean()
    np.testing.assert_allclose(out[..., 0], 2 * centre - clip[..., 0], atol=1e-5)
    np.testing.assert_allclose(out[..., 1:], clip[..., 1:], atol=1e-6)


def test_nothing_asked_for_changes_nothing():
    clip = np.random.default_rng(0).random((2, 20, 3), np.float32)
    np.testing.assert_allclose(
        augment(clip, AugmentConfig(scale=0), np.random.default_rng(0)), clip, atol=1e-6
    )


def test_a_uniform_scale_keeps_shapes():
    clip = np.random.default_rng(0).random((2, 20, 3), np.float32)
    out = augment(clip, AugmentConfig(scale=0.3, uniform_scale=True), np.random.default_rng(2))
    middle, moved = clip - clip.mean((0, 1)), out - out.mean((0, 1))
    ratio = np.linalg.norm(moved) / np.linalg.norm(middle)
    assert abs(ratio - 1) > 0.02
    np.testing.assert_allclose(moved, ratio * middle, atol=1e-5)


@given(lengths, sizes, st.integers(1, 4), st.integers(1, 60))
def test_covering_windows_leave_no_frame_out(length, frames, step, apart):
    stride = min(apart, frames) * step
    windows = covering_windows(length, frames, step, stride)
    assert set(np.concatenate(windows).tolist()) == set(range(length))
    starts = [window[0] for window in windows]
    assert starts == sorted(set(starts))
    for window in windows:
        assert window.shape == (frames,)
        inside = window[: 1 + np.argmax(window == window[-1])]
        assert (np.diff(inside)[:-1] == step).all()


def test_jitter_moves_every_point_by_itself():
    clip = np.random.default_rng(0).random((3, 500, 3), np.float32)
    out = augment(clip, AugmentConfig(scale=0, jitter=0.02), np.random.default_rng(1))
    assert (out - clip).std() == pytest.approx(0.02, rel=0.05)
    assert abs(np.corrcoef((out - clip)[0].ravel(), (out - clip)[1].ravel())[0, 1]) < 0.1
