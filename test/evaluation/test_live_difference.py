from __future__ import annotations

import bag_cases as cases
import numpy as np
import small_model

from fourd_perception import checkpoint
from fourd_perception.evaluation.live_difference import Said, difference, labels_digest
from fourd_perception.pipeline import FrameActionConfig, FrameActionPipeline
from fourd_perception.stream.frame import Frame
from fourd_perception.stream.window import ClipConfig


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
        "live, over DDS: 3 answers, offline 3; 1 lost, 1 changed, 0 out of another window, 1 of "
        "other frames"
    )


def test_another_score_for_the_same_class_is_told_apart_from_rounding():
    offline = [Said(1, "wave", 0.5), Said(2, "wave", 0.5), Said(3, "wave", 0.5)]
    live = [Said(1, "wave", 0.5004), Said(2, "wave", 0.48), Said(3, "idle", 0.4)]
    found = difference(offline, live)
    assert (found.lost, found.changed, found.rescored) == (0, 1, 1)
    assert not difference(offline[:2], live[:2]).is_zero
    assert difference(offline[:1], live[:1]).is_zero


def test_frames_of_a_skipped_window_are_answered_from_the_next_and_counted(tmp_path):
    """What the segmenter does under load: its mailbox of one drops a window, and the next window
    speaks of its frames too, but has seen other frames before and after them."""
    clip = ClipConfig(frames=4, frame_step=2, rate=30.0)
    loaded = checkpoint.load(
        small_model.save_frame_model(tmp_path / "model.safetensors", clip=clip)
    )

    def said(skipped: set[int]) -> list[Said]:
        pipeline, heard, windows = FrameActionPipeline(loaded), [], 0
        for number in range(30):
            window = pipeline.offer(Frame(number * cases.PERIOD, "", cases.points(number)))
            windows += window is not None
            found = None if window is None or windows in skipped else pipeline.recognise(window)
            for one in found.frames if found else ():
                (best, score), *_ = one.top(1, 0.0)
                heard.append(Said(one.stamp, loaded.card.classes[best], score))
        return heard

    assert difference(said(set()), said(set())).is_zero
    found = difference(said(set()), said({3}))
    assert found.lost == found.strange == 0
    assert found.changed + found.rescored == FrameActionConfig().stride  # the frames of one window


def test_nothing_came_back():
    found = difference([Said(1, "wave", 0.5)], [])
    assert (found.lost, found.live, found.latency_p50_ms) == (1, 0, None)


def test_labels_are_the_same_whatever_holds_them():
    labels = [0, 3, 65535]
    digests = {labels_digest(np.array(labels, kind)) for kind in (np.uint32, np.int64, ">u4")}
    assert len(digests) == 1
    assert labels_digest(np.array(labels[::-1], np.uint32)) not in digests
