from __future__ import annotations

import numpy as np

from fourd_perception.evaluation.live_difference import Said, difference, labels_digest


def test_the_same_answers_are_no_difference():
    offline = [Said(stamp, "wave", 0.5) for stamp in range(5)]
    live = [Said(one.stamp, one.what, one.score, 10.0 + one.stamp) for one in reversed(offline)]
    found = difference(offline, live)
    assert found.is_zero
    assert (found.offline, found.live, found.score_difference) == (5, 5, 0.0)
    assert (found.latency_p50_ms, found.latency_p99_ms) == (12.0, 14.0)
    assert found.text() == (
        "live, over DDS: the same 5 answers; median latency 12 ms, 99 % within 14 ms"
    )


def test_what_is_lost_what_is_changed_and_what_is_of_another_frame():
    offline = [Said(1, "wave", 0.5), Said(2, "wave", 0.5), Said(3, "idle", 0.5)]
    live = [Said(2, "idle", 0.75), Said(2, "kick", 0.25), Said(3, "idle", 0.5), Said(7, "idle", 1)]
    found = difference(offline, live)
    assert (found.live, found.lost, found.changed, found.strange) == (3, 1, 1, 1)
    assert found.score_difference == 0.25  # the last of two with one stamp
    assert not found.is_zero
    assert found.text() == (
        "live, over DDS: 3 answers, offline 3; 1 lost, 1 changed, 1 of other frames"
    )


def test_nothing_came_back():
    found = difference([Said(1, "wave", 0.5)], [])
    assert (found.lost, found.live, found.latency_p50_ms) == (1, 0, None)


def test_labels_are_the_same_whatever_holds_them():
    labels = [0, 3, 65535]
    digests = {labels_digest(np.array(labels, kind)) for kind in (np.uint32, np.int64, ">u4")}
    assert len(digests) == 1
    assert labels_digest(np.array(labels[::-1], np.uint32)) not in digests
