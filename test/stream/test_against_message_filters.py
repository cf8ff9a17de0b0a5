"""Streams that message_filters pairs rightly: forwards, and nobody within reach of two others.

message_filters is on every robot, and not among the wheels: there it is not asked.
"""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.synchronizer import Synchronizer

try:
    import message_filters
    from rclpy.time import Time
except ImportError:
    message_filters = None

there = pytest.mark.skipif(message_filters is None, reason="ROS 2 without message_filters")
MS = SECOND // 1000
SLOP, PERIOD, WAIT = 20, 100, 400


@st.composite
def streams(draw) -> list[tuple[str, int]]:
    """(topic, stamp in ms) as they arrive: drops, jitter, latency, images at another rate.

    Clouds are 80 ms apart at least and the slop is 20, so that no image reaches two clouds; images
    are 45 ms apart at least, so that no cloud reaches two images.
    """
    chance = random.Random(draw(st.integers(0, 10**6)))
    begin = draw(st.sampled_from((20_000, 1_764_000_000_000)))
    arrivals = []
    for topic, period, jitter in (
        ("cloud", PERIOD, 10),
        ("image", draw(st.sampled_from((50, 100, 130))), 2),
    ):
        drops, latency = draw(st.sampled_from((0, 0.3))), draw(st.sampled_from((0, 40, 150)))
        arrival, offset = 0.0, draw(st.integers(0, 30))
        for moment in range(begin, begin + 3000, period):
            if chance.random() >= drops:
                stamp = moment + offset + chance.randint(-jitter, jitter)
                arrival = max(arrival, stamp + latency) + chance.random()
                arrivals.append((arrival, (topic, stamp)))
    return [one for _, one in sorted(arrivals)]


def by_message_filters(events: list[tuple[str, int]], queue: int = 1000) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    topics = {name: message_filters.SimpleFilter() for name in ("cloud", "image")}
    pairing = message_filters.ApproximateTimeSynchronizer(
        list(topics.values()), queue_size=queue, slop=(SLOP + 0.5) / 1000
    )
    pairing.registerCallback(lambda cloud, image: found.append((cloud.number, image.number)))
    for topic, stamp in events:
        header = SimpleNamespace(stamp=Time(nanoseconds=stamp * MS).to_msg())
        topics[topic].signalMessage(SimpleNamespace(header=header, number=stamp))
    return sorted(found)


def by_ours(events: list[tuple[str, int]]) -> list[tuple[int, int]]:
    ours, pairs = Synchronizer(SLOP * MS, WAIT * MS, capacity=1000), []
    for topic, stamp in events:
        put = ours.put_points if topic == "cloud" else ours.put_image
        pairs += put(stamp * MS, stamp)
    pairs += ours.flush()
    return sorted((one.cloud, one.image) for one in pairs if one.image is not None)


@settings(deadline=None)
@given(streams())
def test_the_pairs_are_all_that_are_within_reach(events):
    stamps = {one: [stamp for topic, stamp in events if topic == one] for one in ("cloud", "image")}
    assert by_ours(events) == [
        (cloud, image)
        for cloud in sorted(stamps["cloud"])
        for image in stamps["image"]
        if abs(cloud - image) <= SLOP
    ]


@there
@settings(deadline=None, max_examples=200)
@given(streams())
def test_the_pairs_are_those_of_message_filters(events):
    assert by_ours(events) == by_message_filters(events)


@there
def test_a_bag_that_starts_over_silences_message_filters_and_not_ours():
    """Why it is not what pairs here: clouds that had no image fill its queue with later stamps."""
    first = [("cloud", 20_000 + n * PERIOD) for n in range(30)]
    again = [(topic, 20_000 + n * PERIOD) for n in range(15) for topic in ("cloud", "image")]
    assert by_message_filters(first + again, queue=10) == []
    assert by_ours(first + again) == [(stamp, stamp) for _, stamp in again[::2]]
