from __future__ import annotations

import random
import weakref
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.synchronizer import Synchronizer

MS = SECOND // 1000


def play(synchronizer: Synchronizer, events: list[tuple[str, int]]) -> list[tuple[int, int | None]]:
    """Put ("cloud" or "image", stamp in ms) in; give (cloud, image) in ms. Images are stamps."""
    pairs = []
    for kind, stamp in events:
        put = synchronizer.put_points if kind == "cloud" else synchronizer.put_image
        pairs += put(stamp * MS, stamp)
    assert all(pair.stamp == pair.cloud * MS for pair in pairs)
    return [(pair.cloud, pair.image) for pair in pairs]


def cloud(stamp: int) -> tuple[str, int]:
    return ("cloud", stamp)


def image(stamp: int) -> tuple[str, int]:
    return ("image", stamp)


def make(slop: int = 20, max_wait: int = 200, capacity: int = 32) -> Synchronizer:
    return Synchronizer(slop * MS, max_wait * MS, capacity)


class TestNearest:
    def test_equal_stamps_match_without_slop_in_either_order(self):
        synchronizer = make(slop=0)
        events = [cloud(0), image(0), image(33), cloud(33)]
        assert play(synchronizer, events) == [(0, 0), (33, 33)]

    def test_a_cloud_waits_for_the_image_that_may_be_nearer(self):
        # a greedy matcher gives (40, 0) as soon as it can
        synchronizer = make(slop=50)
        assert play(synchronizer, [image(0), cloud(40)]) == []
        assert play(synchronizer, [image(41)]) == [(40, 41)]

    def test_slop_is_inclusive(self):
        assert play(make(slop=20), [cloud(0), image(20)]) == [(0, 20)]
        assert play(make(slop=20), [cloud(0), image(21)]) == [(0, None)]

    def test_of_two_as_near_the_older(self):
        assert play(make(), [image(90), cloud(100), image(110)]) == [(100, 90)]

    def test_an_image_serves_several_clouds(self):
        events = [cloud(0), cloud(10), cloud(20), image(12), image(50)]
        assert play(make(), events) == [(0, 12), (10, 12), (20, 12)]

    def test_an_image_just_out_of_order_is_still_used(self):
        synchronizer = make(slop=5)
        assert play(synchronizer, [image(0), image(66), image(33), cloud(33)]) == [(33, 33)]
        assert synchronizer.counts.reordered == 1
        assert synchronizer.counts.resets == 0


class TestWaiting:
    def test_without_images_a_cloud_waits_no_longer_than_max_wait(self):
        synchronizer = make(max_wait=100)
        assert play(synchronizer, [cloud(0), cloud(99)]) == []
        assert play(synchronizer, [cloud(100)]) == [(0, None)]
        assert play(synchronizer, [cloud(250)]) == [(99, None), (100, None)]

    def test_no_wait_takes_what_is_there(self):
        events = [image(0), cloud(5), image(6), cloud(40)]
        assert play(make(max_wait=0), events) == [(5, 0), (40, None)]

    def test_after_max_wait_the_best_image_so_far_is_taken(self):
        synchronizer = make(max_wait=100)
        assert play(synchronizer, [image(0), cloud(10), cloud(110)]) == [(10, 0)]

    def test_images_that_return_are_used_again(self):
        synchronizer = make(max_wait=50)
        died = [cloud(0), image(1), *(cloud(stamp) for stamp in range(33, 3000, 33))]
        assert play(synchronizer, died)[-1][1] is None
        assert play(synchronizer, [image(3001), cloud(3003), image(3034)])[-1] == (3003, 3001)

    def test_the_end_of_the_stream(self):
        synchronizer = make()
        assert play(synchronizer, [image(0), cloud(10), cloud(40)]) == []
        assert [(pair.cloud, pair.image) for pair in synchronizer.flush()] == [(10, 0), (40, None)]
        assert synchronizer.flush() == []
        assert (synchronizer.counts.paired, synchronizer.counts.unpaired) == (1, 1)

    def test_out_of_room_a_cloud_is_hurried_out(self):
        synchronizer = make(capacity=2, max_wait=1000)
        assert play(synchronizer, [cloud(0), cloud(1), cloud(2)]) == [(0, None)]
        assert synchronizer.counts.overflows == 1


class TestOrder:
    def test_clouds_just_out_of_order_come_out_in_order(self):
        synchronizer = make()
        events = [cloud(0), cloud(66), cloud(33), image(0), image(33), image(66)]
        assert play(synchronizer, events) == [(0, 0), (33, 33), (66, 66)]

    def test_a_cloud_older_than_one_given_is_dropped_and_counted(self):
        synchronizer = make()
        assert play(synchronizer, [image(66), cloud(66), cloud(33)]) == [(66, 66)]
        assert synchronizer.counts.late_clouds == 1

    def test_duplicates_are_dropped_and_counted(self):
        synchronizer = make()
        events = [cloud(0), cloud(0), image(0), image(0), cloud(0), image(0)]
        assert play(synchronizer, events) == [(0, 0)]
        assert synchronizer.counts.duplicate_clouds == 2
        assert synchronizer.counts.duplicate_images == 2


class TestJumps:
    def test_a_loop_of_both_topics_is_one_reset_and_pairs_at_once(self):
        once = [one for stamp in range(0, 1000, 33) for one in (cloud(stamp), image(stamp + 2))]
        expected = [(stamp, stamp + 2) for stamp in range(0, 1000, 33)]
        synchronizer = make()
        assert play(synchronizer, once * 3) == expected * 3
        assert synchronizer.counts.resets == 2
        assert synchronizer.reset_reason == "clouds jumped back by 0.990 s"

    def test_clouds_that_wait_come_out_before_the_jump(self):
        synchronizer = make()
        assert play(synchronizer, [image(990), cloud(995), cloud(0)]) == [(995, 990)]
        assert play(synchronizer, [image(0)]) == [(0, 0)]
        assert synchronizer.counts.resets == 1

    def test_the_last_images_of_the_old_time_do_not_disturb_the_new(self):
        synchronizer = make()
        play(synchronizer, [image(9900), cloud(9900)])
        events = [cloud(0), image(9933), cloud(33), image(9966), image(0), image(33)]
        assert play(synchronizer, events) == [(0, 0), (33, 33)]
        assert (synchronizer.counts.stale_images, synchronizer.counts.resets) == (2, 1)

    def test_the_last_clouds_of_the_old_time_come_out_without_an_image(self):
        synchronizer = make()
        play(synchronizer, [image(9900), cloud(9900)])
        events = [image(0), cloud(9933), image(33), cloud(9966), cloud(0), cloud(33)]
        assert play(synchronizer, events) == [(9933, None), (9966, None), (0, 0), (33, 33)]
        assert synchronizer.counts.resets == 1

    @pytest.mark.parametrize("wrong", [cloud, image])
    def test_one_stamp_from_the_future_does_little_harm(self, wrong):
        synchronizer = make()
        rest = [one for stamp in range(0, 990, 33) for one in (cloud(stamp), image(stamp))]
        pairs = play(synchronizer, rest[:20] + [wrong(10**6)] + rest[20:])
        assert [pair[0] for pair in pairs if pair[0] < 10**6] == list(range(0, 990, 33))
        assert sum(pair[1] is None for pair in pairs) <= 2
        assert synchronizer.counts.resets == 1

    @pytest.mark.parametrize("wrong", [cloud, image])
    def test_one_stamp_of_zero_does_little_harm(self, wrong):
        synchronizer = make()
        rest = [one for stamp in range(5000, 5990, 33) for one in (cloud(stamp), image(stamp))]
        pairs = play(synchronizer, rest[:20] + [wrong(0)] + rest[20:])
        assert [pair[0] for pair in pairs if pair[0]] == list(range(5000, 5990, 33))
        assert sum(pair[1] is None for pair in pairs) <= 2

    def test_a_jump_of_one_topic_alone_does_not_silence_the_clouds(self):
        synchronizer = make(max_wait=100)
        before = [one for stamp in range(5000, 6000, 33) for one in (cloud(stamp), image(stamp))]
        after = [
            one for stamp in range(6000, 7000, 33) for one in (cloud(stamp), image(stamp - 6000))
        ]
        pairs = play(synchronizer, before + after)
        assert [pair[0] for pair in pairs][-10:] == list(range(6000, 7000, 33))[-10:]

    def test_small_steps_back_add_up_to_a_jump(self):
        synchronizer = make()
        play(synchronizer, [cloud(1000), cloud(940), cloud(880)])
        assert (synchronizer.counts.reordered, synchronizer.counts.resets) == (1, 1)

    def test_with_a_slop_beyond_max_wait_what_is_within_it_still_belongs(self):
        synchronizer = make(slop=500, max_wait=50)
        play(synchronizer, [cloud(5000), image(5300), image(4700)])
        assert play(synchronizer, [cloud(5033), image(5034)]) == [(5033, 5034)]

    def test_a_jump_forward_loses_nothing(self):
        synchronizer = make()
        rest = [one for stamp in (0, 33, 9000, 9033) for one in (cloud(stamp), image(stamp))]
        assert play(synchronizer, rest) == [(0, 0), (33, 33), (9000, 9000), (9033, 9033)]
        assert synchronizer.counts.resets == 0


def fail(pairs) -> None:
    raise RuntimeError(pairs)


def test_a_caller_that_fails_loses_nothing():
    synchronizer = make()
    for stamp in (0, 33, 66):
        synchronizer.put_points(stamp * MS, "cloud")
        with pytest.raises(RuntimeError):
            fail(synchronizer.put_image(stamp * MS, "image"))
    assert synchronizer.counts.paired == 3


@pytest.mark.parametrize("wrong", [{"slop": -1}, {"max_wait": -1}, {"capacity": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="capacity"):
        make(**wrong)


# --- against a brute-force oracle ---


@dataclass(frozen=True)
class Event:
    kind: str
    stamp: int
    time: int
    """How often the recording had been started over."""


@st.composite
def recordings(draw) -> list[Event]:
    """What two topics deliver, each in order: any rates, jitter, drops, latencies; loops; images
    that die for a while."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    loops = draw(st.integers(1, 3))
    duration = 1000 * draw(st.integers(2, 3))
    die = draw(st.booleans())
    arrivals = []
    for kind in ("cloud", "image"):
        period = draw(st.sampled_from((33, 40, 67, 100)))
        jitter = draw(st.sampled_from((0, 3, 15)))
        drops = draw(st.sampled_from((0, 0.1, 0.5)))
        latency, delays = draw(st.sampled_from((0, 5, 50, 300))), draw(st.sampled_from((0, 30)))
        arrival = 0
        for time in range(loops):
            for moment in range(0, duration, period):
                dead = kind == "image" and die and 0.3 < moment / duration < 0.7
                if dead or chance.random() < drops:
                    continue
                stamp = moment + chance.randint(0, jitter)
                arrival = max(arrival, time * duration + moment + latency) + chance.random()
                arrivals.append((arrival, Event(kind, stamp, time)))
                arrival += chance.randint(0, delays) / 10
    return [event for _, event in sorted(arrivals, key=lambda one: one[0])]


def oracle(events: list[Event], slop: int, max_wait: int) -> list[tuple[int, int | None]]:
    """Every cloud by the definition, from all events; the time of an event is told, not guessed."""
    decisions = []
    for place, one in enumerate(events):
        if one.kind != "cloud":
            continue
        jump = next((n for n, event in enumerate(events) if event.time > one.time), len(events))
        if place > jump:  # the images have jumped already and are forgotten
            decisions.append((place, one.stamp, None))
            continue
        images = [
            (n, event.stamp)
            for n, event in enumerate(events[:jump])
            if event.kind == "image" and event.time == one.time
        ]
        best_known = [max(n, place) for n, stamp in images if stamp >= one.stamp]
        waited = [
            n
            for n, event in enumerate(events[:jump])
            if n >= place and event.kind == "cloud" and event.stamp >= one.stamp + max_wait
        ]
        decided = min((*best_known, *waited, jump))
        near = [
            (abs(stamp - one.stamp), stamp)
            for n, stamp in images
            if n <= decided and abs(stamp - one.stamp) <= slop
        ]
        decisions.append((decided, one.stamp, min(near)[1] if near else None))
    return [(stamp, nearest) for _, stamp, nearest in sorted(decisions, key=lambda one: one[0])]


@settings(deadline=None)
@given(recordings(), st.sampled_from((0, 5, 20, 150)), st.sampled_from((0, 50, 200)))
def test_every_cloud_has_the_image_that_the_definition_gives(events, slop, max_wait):
    synchronizer = make(slop, max_wait, capacity=1000)
    pairs = play(synchronizer, [(event.kind, event.stamp) for event in events])
    pairs += [(pair.cloud, pair.image) for pair in synchronizer.flush()]
    assert pairs == oracle(events, slop, max_wait)
    assert synchronizer.counts.resets == events[-1].time


@st.composite
def tours(draw) -> list[Event]:
    """A bag that is sought in: pieces of it, forth and back by a second or more, with pauses. Each
    topic begins when it likes, jitters by up to half its period, and may die and return."""
    chance = random.Random(draw(st.integers(0, 10**6)))
    pieces, at = [], 20_000
    for _ in range(draw(st.integers(1, 4))):
        pieces.append((at, 500 * draw(st.integers(2, 5))))
        at = sum(pieces[-1]) + 1000 * draw(st.sampled_from((-5, -4, -3, 1, 2, 5)))
    pauses = [draw(st.sampled_from((0, 3000))) for _ in pieces]
    arrivals = []
    for kind in ("cloud", "image"):
        period = draw(st.sampled_from((33, 40, 67, 100)))
        jitter, drops = draw(st.sampled_from((0, 3, period // 2))), draw(st.sampled_from((0, 0.3)))
        latency, starts = draw(st.sampled_from((0, 5, 50))), draw(st.sampled_from((0, 700)))
        dies, returns = draw(st.sampled_from(((0, 0), (0.2, 0.6), (0.5, 1.0))))
        wall, time, before, arrival = 0, 0, 0, 0.0
        for (begin, lasts), pause in zip(pieces, pauses):
            time += begin < before
            before = begin + lasts
            for moment in range(begin, begin + lasts, period):
                now = wall + moment - begin
                dead = dies <= (moment - begin) / lasts < returns
                if now < starts or dead or chance.random() < drops:
                    continue
                arrival = max(arrival, now + latency) + chance.random()
                arrivals.append((arrival, Event(kind, moment + chance.randint(0, jitter), time)))
            wall += lasts + pause
    return [event for _, event in sorted(arrivals, key=lambda one: one[0])]


@settings(deadline=None)
@given(tours(), st.sampled_from((5, 20)), st.sampled_from((100, 200)))
def test_wherever_it_is_sought_to_a_cloud_has_its_image_or_none(events, slop, max_wait):
    """Which topic has jumped is told to the oracle and seen by the synchroniser from stamps alone:
    the first clouds after a jump may stay without an image."""
    synchronizer = make(slop, max_wait, capacity=1000)
    pairs = []
    for event in events:
        is_cloud = event.kind == "cloud"
        put = synchronizer.put_points if is_cloud else synchronizer.put_image
        pairs += put(event.stamp * MS, event)
    pairs += synchronizer.flush()
    for pair in pairs:
        assert pair.image is None or pair.image.time == pair.cloud.time
        assert pair.image is None or abs(pair.image.stamp - pair.cloud.stamp) <= slop
    given_out = [(pair.cloud.stamp, pair.image and pair.image.stamp) for pair in pairs]
    expected = oracle(events, slop, max_wait)
    assert [stamp for stamp, _ in given_out] == [stamp for stamp, _ in expected]
    others = sum(one != other for one, other in zip(given_out, expected))
    assert others <= UNCERTAIN * synchronizer.counts.resets


UNCERTAIN = 4
"""Clouds, after a jump, of which it cannot be known on which side their images are."""


class Message:
    """Something that a weak reference can watch."""

    def __init__(self, stamp: int) -> None:
        self.stamp = stamp


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40) | st.integers(-(10**4), 10**4))),
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(1, 4),
    st.integers(0, 10),
)
def test_whatever_comes_the_promises_hold(events, slop, max_wait, capacity, reorder):
    synchronizer = Synchronizer(slop, max_wait, capacity, reorder=reorder)
    kept: weakref.WeakSet[Message] = weakref.WeakSet()
    stamps: list[int] = []

    def check(pairs) -> None:
        for pair in pairs:
            assert pair.stamp == pair.cloud.stamp
            assert pair.image is None or abs(pair.image.stamp - pair.stamp) <= slop
            stamps.append(pair.stamp)

    for is_cloud, stamp in events:
        message = Message(stamp)
        kept.add(message)
        put = synchronizer.put_points if is_cloud else synchronizer.put_image
        check(put(stamp, message))
        del message
        assert len(kept) <= 2 * capacity
    check(synchronizer.flush())

    counts = synchronizer.counts
    clouds = sum(is_cloud for is_cloud, _ in events)
    assert len(stamps) == counts.paired + counts.unpaired
    assert len(stamps) == clouds - counts.late_clouds - counts.duplicate_clouds
    # in order, but where the clouds have jumped back
    assert all(b > a or b < a - reorder for a, b in pairwise(stamps))


def test_it_knows_how_far_images_are_ahead_of_clouds() -> None:
    pairs: Synchronizer[str, str] = Synchronizer(slop=5, max_wait=10, capacity=4)
    assert pairs.image_lead is None
    pairs.put_points(100, "cloud")
    assert pairs.image_lead is None
    pairs.put_image(3_100, "image")
    assert pairs.image_lead == 3_000
    pairs.put_points(3_200, "cloud")
    assert pairs.image_lead == -100
