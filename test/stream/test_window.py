from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import ClipConfig, SlidingWindow

MS = SECOND // 1000
NO_POINTS = np.empty((0, 3), np.float32)


def frames_at(stamps: list[int]) -> list[Frame]:
    return [Frame(stamp, "camera", NO_POINTS) for stamp in stamps]


def clips_of(window: SlidingWindow, stamps: list[int]) -> list[tuple[int, list[int]]]:
    """(stamp of the frame that completed it, the clip's stamps) of every clip."""
    clips = [(frame.stamp, window.push(frame)) for frame in frames_at(stamps)]
    return [(stamp, [one.stamp for one in clip.frames]) for stamp, clip in clips if clip]


def regular(rate: float, count: int, start: int = 5 * SECOND) -> list[int]:
    return [start + round(index * SECOND / rate) for index in range(count)]


def nearest(stamps: list[int], moment: int) -> int:
    return min(stamps, key=lambda stamp: abs(stamp - moment))


class TestClips:
    def test_a_camera_at_the_models_rate_gives_frame_after_frame(self):
        stamps = regular(10, 8)
        clips = clips_of(SlidingWindow(ClipConfig(4, 1, 10.0)), stamps)
        assert clips == [(stamps[end - 1], stamps[end - 4 : end]) for end in range(4, 9)]

    def test_a_frame_step_takes_every_nth(self):
        stamps = regular(30, 13)
        clips = clips_of(SlidingWindow(ClipConfig(3, 3, 30.0)), stamps)
        assert [clip for _, clip in clips] == [stamps[0:9:3], stamps[3:12:3], stamps[6:13:3]]

    @pytest.mark.parametrize("stride", [1, 2, 3, 5])
    def test_clips_are_a_stride_apart(self, stride):
        stamps = regular(10, 30)
        clips = clips_of(SlidingWindow(ClipConfig(4, 1, 10.0), stride), stamps)
        assert [end for end, _ in clips] == stamps[3::stride]

    def test_a_fast_camera_gives_the_duration_that_the_model_knows(self):
        clips = clips_of(SlidingWindow(ClipConfig(5, 1, 10.0)), regular(60, 200))
        assert {clip[-1] - clip[0] for _, clip in clips} == {4 * SECOND // 10}

    def test_a_slow_camera_repeats_its_frames(self):
        stamps = regular(5, 20)
        clips = clips_of(SlidingWindow(ClipConfig(6, 1, 10.0)), stamps)
        assert len(clips) == 17
        for (end, clip), first in zip(clips, stamps[1:]):
            assert clip == [first + 200 * MS * n for n in (0, 0, 1, 1, 2, 2)]
            assert end == clip[-1]

    def test_a_lost_frame_leaves_the_others_where_they_belong(self):
        stamps = regular(10, 12)
        kept = stamps[:6] + stamps[7:]
        clip = clips_of(SlidingWindow(ClipConfig(10, 1, 10.0)), kept)[0][1]
        assert clip[:6] == stamps[:6] and clip[7:] == stamps[7:10]
        assert clip[6] in (stamps[5], stamps[7])

    def test_frames_lost_at_the_start_leave_the_others_where_they_belong(self):
        stamps = regular(10, 8)
        clip = clips_of(SlidingWindow(ClipConfig(6, 1, 10.0)), [stamps[0], *stamps[3:]])[0][1]
        assert clip[3:] == stamps[3:6]

    def test_lost_frames_leave_the_clips_a_stride_apart(self):
        stamps = regular(10, 16)
        clip = ClipConfig(4, 1, 10.0)
        whole = clips_of(SlidingWindow(clip, stride=2), stamps)
        with_loss = clips_of(SlidingWindow(clip, stride=2), stamps[:4] + stamps[6:])
        assert with_loss[-1] == whole[-1]

    def test_a_second_frame_of_one_stamp_is_ignored(self):
        stamps = regular(10, 8)
        doubled = [stamp for stamp in stamps for _ in range(2)]
        clip = ClipConfig(4, 1, 10.0)
        window = SlidingWindow(clip)
        assert clips_of(window, doubled) == clips_of(SlidingWindow(clip), stamps)
        assert window.ignored == 8

    def test_a_frame_that_comes_late_is_ignored(self):
        stamps = regular(30, 20)
        late = [*stamps[:9], stamps[6], *stamps[9:]]
        clip = ClipConfig(4, 1, 30.0)
        window = SlidingWindow(clip)
        assert clips_of(window, late) == clips_of(SlidingWindow(clip), stamps)
        assert (window.ignored, window.resets) == (1, 0)

    def test_frames_are_given_as_they_came(self):
        window = SlidingWindow(ClipConfig(2, 1, 10.0))
        first, second = frames_at(regular(10, 2))
        assert window.push(first) is None
        clip = window.push(second)
        assert clip is not None and clip.frames[0] is first and clip.newest is second

    def test_how_full_and_how_fast(self):
        window = SlidingWindow(ClipConfig(4, 1, 10.0))
        assert (window.filled, window.camera_rate) == (0, None)
        clips_of(window, regular(10, 3))
        assert window.filled == 3
        assert window.camera_rate == pytest.approx(10)
        clips_of(window, regular(10, 20)[3:])
        assert window.filled == 4

    def test_a_stride_of_none_is_refused(self):
        with pytest.raises(ValueError, match="stride"):
            SlidingWindow(ClipConfig(), 0)


class TestResets:
    def test_a_loop_starts_anew_and_gives_the_same_clips(self):
        stamps = regular(10, 9)
        window = SlidingWindow(ClipConfig(4, 1, 10.0), stride=2)
        first = clips_of(window, stamps)
        assert clips_of(window, stamps) == first
        assert window.resets == 1
        assert window.reset_reason == "time jumped back by 0.800 s"

    def test_after_a_gap_no_clip_spans_it(self):
        before, after = regular(10, 9), regular(10, 9, start=60 * SECOND)
        window = SlidingWindow(ClipConfig(4, 1, 10.0))
        clips = clips_of(window, before + after)
        assert all(clip[-1] - clip[0] == 300 * MS for _, clip in clips)
        assert window.resets == 1
        assert window.reset_reason.startswith("no frame for 54.2")

    @pytest.mark.parametrize(("rate", "longest"), [(30.0, 500), (10.0, 500), (2.0, 2000)])
    def test_a_gap_is_more_than_four_periods_and_more_than_half_a_second(self, rate, longest):
        for gap, resets in ((longest * MS, 0), (longest * MS + 1, 1)):
            window = SlidingWindow(ClipConfig(4, 1, rate))
            clips_of(window, [0, gap])
            assert window.resets == resets

    def test_a_camera_too_slow_for_any_clip_still_has_a_rate(self):
        window = SlidingWindow(ClipConfig(4, 1, 10.0))
        assert clips_of(window, regular(1, 6)) == []
        assert window.resets == 5
        assert window.camera_rate == pytest.approx(1)

    def test_whoever_resets_it_says_why(self):
        window = SlidingWindow(ClipConfig(4, 1, 10.0))
        clips_of(window, regular(10, 3))
        window.reset("new model")
        assert (window.filled, window.resets, window.reset_reason) == (0, 1, "new model")

    def test_to_clear_it_is_no_reset(self):
        window = SlidingWindow(ClipConfig(4, 1, 10.0))
        clips_of(window, regular(10, 6))
        window.clear()
        assert (window.filled, window.resets, window.reset_reason) == (0, 0, "")
        stamps = regular(10, 4, start=SECOND)  # before: the jump is not seen either
        assert clips_of(window, stamps) == [(stamps[-1], stamps)]
        assert window.resets == 0


@settings(deadline=None)
@given(
    st.floats(4, 90),
    st.sampled_from((0.0, 0.05, 0.2)),
    st.booleans(),
    st.floats(5, 60),
    st.integers(1, 3),
    st.integers(2, 12),
    st.integers(0, 10**6),
)
def test_the_nearest_frame_stands_at_every_moment(camera, jitter, loss, rate, step, frames, seed):
    """Any camera; stamps that wander by a part of its interval; every fifth frame may be lost."""
    chance = random.Random(seed)
    wander = round(jitter * SECOND / camera)
    stamps = [stamp + chance.randint(0, wander) for stamp in regular(camera, 28)]
    if loss and camera > 5:  # else one frame lost is a gap
        stamps = [stamp for n, stamp in enumerate(stamps) if n < 4 or n % 5]
    window = SlidingWindow(ClipConfig(frames, step, rate))
    moments = SlidingWindow(ClipConfig(512, step, rate))  # only to count them
    for frame in frames_at(stamps[:-1]):
        clip = window.push(frame)
        moments.push(frame)
        assert moments.resets == 0 and moments.filled < 512
        for back, one in enumerate(reversed(clip.frames if clip else ())):
            moment = stamps[0] + (moments.filled - 1 - back) * window.clip.period
            best = abs(nearest(stamps, moment) - moment)
            # A moment just after a frame does not wait for the next one, which is expected to be
            # further away; it may be nearer by what it wanders. 2: stamps are whole nanoseconds.
            assert abs(one.stamp - moment) <= best + 2 * wander + 2


def oracle(clip: ClipConfig, stamps: list[int]) -> list[tuple[int, list[int]]]:
    """Clips at stride 1 from the definition, each from all the stamps so far.

    A moment is decided by the first frame that is at or after it, or before it by no more than half
    of the shortest of the last nine intervals (where three are known), and is given the nearest
    frame of all that have come.
    """
    clips: list[tuple[int, list[int]]] = []
    before = 0
    for count in range(1, len(stamps) + 1):
        seen = stamps[:count]
        shown = []
        moment = seen[0]
        while True:
            deciding = next((n for n in range(count) if moment <= reach(seen, n)), None)
            if deciding is None:
                break
            # of two as near, the older
            shown.append(min(seen[: deciding + 1], key=lambda one: (abs(one - moment), one)))
            moment += clip.period
        if len(shown) > max(before, clip.frames - 1):
            clips.append((seen[-1], shown[-clip.frames :]))
        before = len(shown)
    return clips


def reach(seen: list[int], index: int) -> int:
    intervals = [b - a for a, b in pairwise(seen[: index + 1])]
    return seen[index] + (min(intervals[-9:]) // 2 if len(intervals) >= 3 else 0)


@settings(deadline=None)
@given(
    st.sampled_from((5, 15, 30, 60)),
    st.sampled_from((0, 2, 10)),
    st.sampled_from((0, 0.1, 0.4)),
    st.sampled_from((10.0, 15.0, 30.0)),
    st.integers(1, 2),
    st.integers(2, 8),
    st.integers(0, 10**6),
)
def test_with_any_camera_it_does_as_the_oracle(camera, jitter, drops, rate, step, frames, seed):
    chance = random.Random(seed)
    stamps = [
        stamp + chance.randint(0, jitter) * MS
        for stamp in regular(camera, 30)
        if chance.random() >= drops
    ]
    clip = ClipConfig(frames, step, rate)
    longest = max(4 * clip.period, SECOND // 2)
    gap = next((n for n in range(1, len(stamps)) if stamps[n] - stamps[n - 1] > longest), None)
    window = SlidingWindow(clip)
    if stamps:
        assert clips_of(window, stamps[:gap]) == oracle(clip, stamps[:gap])
    assert window.resets == 0


@settings(deadline=None)
@given(
    st.lists(st.integers(-(10**9), 2 * 10**9), max_size=60),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_whatever_the_intervals_clips_are_whole_ordered_and_without_gaps(intervals, frames, stride):
    clip = ClipConfig(frames, 1, 10.0)
    window = SlidingWindow(clip, stride)
    stamps = [10**12]
    for interval in intervals:
        stamps.append(stamps[-1] + interval)
    longest = max(4 * clip.period, SECOND // 2)
    for end, one in clips_of(window, stamps):
        assert len(one) == frames
        assert one == sorted(one)
        assert all(b - a <= longest for a, b in pairwise(one))
        assert one[-1] <= end
    broken, last = 0, stamps[0]
    for stamp in stamps[1:]:
        if not -SECOND // 10 <= stamp - last <= 0:  # else it is late
            broken += not 0 < stamp - last <= longest
            last = stamp
    assert window.resets == broken


def test_what_is_kept_of_a_frame_is_asked_for_once():
    kept = []

    def keep(frame):
        kept.append(frame.stamp)
        return Frame(frame.stamp, "kept", frame.points)

    window = SlidingWindow(ClipConfig(4, 1, 10.0), keep=keep)
    stamps = [0, 200 * MS, 400 * MS]  # a camera of 5 Hz: each frame stands at two moments
    (clip,) = [clip for clip in map(window.push, frames_at(stamps)) if clip]
    assert {one.frame_id for one in clip.frames} == {"kept"}
    assert kept == sorted(set(kept))
    assert len({id(one) for one in clip.frames}) == len({one.stamp for one in clip.frames}) < 4
