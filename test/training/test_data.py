from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.errors import InputError
from training.config import DataConfig
from training.data import share_of, split
from training.datasets.prepared import Video


def videos_of(labels):
    return [
        Video(f"v{number}", "s01", "train", label, "v", 0, 0, 10, 0, 0)
        for number, label in enumerate(labels)
    ]


labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)
shares = st.floats(0.01, 1.0)


@given(labels, shares, st.integers(0, 9))
def test_every_label_gets_its_part_of_a_share(labels, share, seed):
    videos = videos_of(labels)
    chosen = share_of(videos, share, seed)
    assert len(chosen) == max(1, round(share * len(videos)))
    assert chosen == [video for video in videos if video in chosen]
    counts, there = Counter(video.label for video in chosen), Counter(labels)
    # Webster's method: at some common rate, each label's number there rounds to the one chosen.
    assert max(Fraction(2 * counts[label] - 1, 2 * there[label]) for label in there) <= min(
        Fraction(2 * counts[label] + 1, 2 * there[label]) for label in there
    )


@given(st.integers(1, 5), st.integers(1, 12), shares, st.integers(0, 9))
def test_labels_of_one_size_get_the_same_to_a_video(kinds, size, share, seed):
    chosen = share_of(videos_of(list(range(kinds)) * size), share, seed)
    counts = Counter(video.label for video in chosen)
    assert max(counts.values()) - min(counts[label] for label in range(kinds)) <= 1


@given(labels, shares, shares, st.integers(0, 9))
def test_a_smaller_share_is_part_of_a_larger_one(labels, one, other, seed):
    videos = videos_of(labels)
    small, large = (share_of(videos, share, seed) for share in sorted((one, other)))
    assert set(small) <= set(large)
    assert share_of(videos, 1.0, seed) == videos


def test_another_seed_is_another_draw():
    videos = videos_of([0] * 50)
    assert share_of(videos, 0.5, 0) == share_of(videos, 0.5, 0) != share_of(videos, 0.5, 1)


def test_groups_that_the_protocol_holds_out_leave_none_to_train_on():
    kept = [replace(video, group="s02", split="holdout") for video in videos_of([0, 1])]
    videos = SimpleNamespace(videos=videos_of([0, 1]) + kept)
    config = DataConfig(dataset="msr_action3d", prepared="unused", train_groups=("s01", "s02"))
    assert {video.group for video in split(videos, config)["train"]} == {"s01"}
    with pytest.raises(InputError, match="data.train_groups: the protocol holds them out"):
        split(videos, replace(config, train_groups=("s02",)))
