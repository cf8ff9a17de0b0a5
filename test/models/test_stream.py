"""A stream's windows against the full forward."""

from __future__ import annotations

import gc
import weakref
from collections import deque

import pytest
import torch
from model_cases import CASES, Case, row

from fourd_perception import models
from fourd_perception.errors import InputError

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def stream_of(case: Case, count: int, seed: int = 5) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.rand(case.points, 3, generator=random) for _ in range(count)]


def same(got, wanted) -> None:
    for name in ("video", "frames", "points"):
        one, other = getattr(got, name), getattr(wanted, name)
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@each
def test_every_window_equals_the_full_forward(case: Case):
    model = case.build()
    stream, frames = model.stream(case.frames), stream_of(case, case.frames + 9)
    for count, points in enumerate(frames, start=1):
        features = stream.push(points)
        if count < case.frames:
            assert features is None
            continue
        with torch.no_grad():
            whole = model.encode(torch.stack(frames[count - case.frames : count])[None])
        same(features, whole)
        with torch.no_grad():
            torch.testing.assert_close(
                model.classify(features), model.classify(whole), rtol=1e-4, atol=1e-5
            )


@each
def test_windows_may_jump_repeat_frames_and_change_length(case: Case):
    model, frames = case.build(), stream_of(case, 30)
    stream = model.stream(case.frames)
    last = case.frames
    for picked in (
        list(range(last)),
        list(range(2, last + 2)),
        list(range(11, last + 11)),
        [3] * last,
        sorted([*range(4, last + 3), 6]),
        list(range(0, 2 * last, 2)),
        list(range(last + 4)),
    ):
        clip = [frames[index] for index in picked]
        with torch.no_grad():
            same(stream.window(clip), model.encode(torch.stack(clip)[None]))


@each
def test_several_clips_at_once_are_each_what_they_are_alone(case: Case):
    model = case.build()
    streams = [stream_of(case, case.frames + 6, seed) for seed in (5, 6, 7)]
    together = model.stream(case.frames)
    for first in range(6):
        there = streams[: 1 + first % 3]  # they come and go
        clips = [one[first : first + case.frames] for one in there]
        with torch.no_grad():
            same(together.windows(clips), model.encode(torch.stack([*map(torch.stack, clips)])))


def test_clips_of_several_lengths_are_refused():
    case = CASES[0]
    frames = stream_of(case, case.frames)
    for clips in ([], [frames, frames[1:]], [[]]):
        with pytest.raises(ValueError, match="expected 1 frame or more, as many in each"):
            case.build().stream(case.frames).windows(clips)


@each
def test_after_a_reset_it_starts_anew(case: Case):
    model, frames = case.build(), stream_of(case, case.frames + 3)
    stream = model.stream(case.frames)
    for points in frames:
        stream.push(points)
    stream.reset()
    answers = [stream.push(points) for points in frames[: case.frames]]
    assert answers[:-1] == [None] * (case.frames - 1)
    with torch.no_grad():
        same(answers[-1], model.encode(torch.stack(frames[: case.frames])[None]))


@each
def test_the_bits_do_not_depend_on_the_windows_before(case: Case):
    model, frames = case.build(), stream_of(case, case.frames + 6)
    one, other = (model.stream(case.frames) for _ in range(2))
    late = frames[-case.frames :]
    for points in frames:
        last = one.push(points)
    assert torch.equal(last.video, other.window(late).video)


def test_what_is_kept_is_bounded_by_the_window():
    case = next(case for case in CASES if case.name == "im_pstnet")
    stream, seen = case.build().stream(case.frames), []
    clip: deque[torch.Tensor] = deque(maxlen=case.frames)
    for number in range(60):
        clip.append(torch.rand(case.points, 3, generator=torch.Generator().manual_seed(number)))
        seen.append(weakref.ref(clip[-1]))
        if len(clip) == case.frames:
            stream.window(tuple(clip))
    gc.collect()
    assert sum(one() is not None for one in seen) <= case.frames + 4


def test_strides_that_no_window_spans_keep_nothing():
    rows = [row(4, 4, 0.5), *(row(4, 4, 0.5, temporal_stride=8) for _ in range(2))]
    model = models.build("im_pstnet", {"layers": rows}, 5).eval()
    stream = model.stream(8)
    clip: deque[torch.Tensor] = deque(maxlen=8)
    seen = []
    for _ in range(40):
        clip.append(torch.rand(16, 3))
        seen.append(weakref.ref(clip[-1]))
        if len(clip) == 8:
            stream.window(tuple(clip))
    gc.collect()
    assert sum(one() is not None for one in seen) <= 9


def test_a_frame_is_computed_once_in_layers_that_do_not_pad():
    case = next(case for case in CASES if case.name == "pstnet")
    model = case.build()
    computed = [0] * len(model.layers)
    for number, layer in enumerate(model.layers):
        layer.register_forward_hook(
            lambda _, given, __, number=number: computed.__setitem__(
                number, computed[number] + len(given[1])
            )
        )
    stream = model.stream(case.frames)
    for points in stream_of(case, case.frames + 8):
        stream.push(points)
    before = list(computed)
    for points in stream_of(case, 4, seed=9):
        stream.push(points)
    assert [after - one for after, one in zip(computed, before)] == [4] * len(model.layers)


@pytest.mark.parametrize("name", ["im_pstnet", "pptr"])
def test_a_buffer_may_be_used_again(name):
    case = next(case for case in CASES if case.name == name)
    model = case.build()
    stream, buffer = model.stream(case.frames), torch.empty(case.points, 3)
    frames = stream_of(case, case.frames + 2)
    for points in frames:
        features = stream.push(buffer.copy_(points))
    with torch.no_grad():
        same(features, model.encode(torch.stack(frames[-case.frames :])[None]))


def test_other_weights_are_noticed():
    case = next(case for case in CASES if case.name == "im_pstnet")
    model, other = case.build(0), case.build(1)
    stream, frames = model.stream(case.frames), stream_of(case, case.frames + 1)
    for points in frames[:-1]:
        stream.push(points)
    model.load_state_dict(other.state_dict())
    with torch.no_grad():
        same(stream.push(frames[-1]), other.encode(torch.stack(frames[1:])[None]))
    model.train()
    with pytest.raises(ValueError, match="evaluation mode"):
        stream.push(frames[0])


def test_a_frame_that_does_not_fit_leaves_the_window_as_it_was():
    case = next(case for case in CASES if case.name == "im_pstnet")
    model = case.build()
    stream, frames = model.stream(case.frames), stream_of(case, case.frames)
    for points in frames[:-1]:
        stream.push(points)
    with pytest.raises(ValueError, match=r"expected \(N, 3\) float32"):
        stream.push(frames[-1][:-1])
    with torch.no_grad():
        same(stream.push(frames[-1]), model.encode(torch.stack(frames)[None]))


def test_refuses_a_training_model_and_frames_that_do_not_fit():
    case = CASES[0]
    with pytest.raises(ValueError, match="evaluation mode"):
        case.build().train().stream(9)
    stream = case.build().stream(case.frames)
    frames = stream_of(case, case.frames)
    for wrong in (torch.rand(case.points - 1, 3), frames[0].double(), torch.rand(case.points, 2)):
        with pytest.raises(ValueError, match=r"frame 2 of the clip: expected \(N, 3\) float32"):
            stream.window([*frames[:2], wrong, *frames[3:]])
    with pytest.raises(InputError, match="too small"):
        stream.window(frames[:1])
    with pytest.raises(ValueError, match="expected 1 frame or more"):
        stream.window([])
    with pytest.raises(ValueError, match="expected 1 or more"):
        case.build().stream(0)
