"""What is measured: each item makes a contest, of ours and of what it is held against."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from textbook import point_operations
from torch import Tensor, nn

from benchmarks.bench_encoders import ENCODERS, MSR_UNIT, Encoder, small
from benchmarks.bench_people import clouds
from benchmarks.bench_timing import Contest
from fourd_perception.models import EncoderStream, Features
from fourd_perception.ops.ball_query import ball_query
from fourd_perception.ops.farthest_point import farthest_point_sample
from fourd_perception.ops.interpolate import interpolate

BALL = 32
PUSHES = 12
TEXTBOOK, CDIST, WHOLE = "textbook", "cdist + topk", "whole window"


@dataclass(frozen=True)
class Item:
    """One row of the table.

    make: the contest, on a device. against: what theirs is; '' where ours is measured alone.
    asked: the ratio that is asked for, of a CPU. seconds: about how long it takes to measure, for
    the progress bar. quick: whether it is part of a quick run. grad: whether it needs gradients.
    clips: by how many its time is divided.
    """

    make: Callable[[str], Contest]
    against: str
    seconds: float
    asked: float | None = None
    quick: bool = False
    grad: bool = False
    clips: int = 1


def sampling(points: int, count: int, device: str = "cpu") -> Contest:
    """Farthest point sampling of 24 frames."""
    frames = clouds(24, points).to(device)
    return Contest(
        lambda: farthest_point_sample(frames, count),
        lambda: point_operations.farthest_point_sample(frames, count),
        least=5,
    )


def ball_search(
    centres: int, points: int, radius: float | None = None, device: str = "cpu"
) -> Contest:
    """The first 32 neighbours in a ball, in 24 frames; by default a ball that holds about 32.

    cdist + topk gives the nearest 32, a choice as good as the first 32; ours is checked against the
    textbook's, which chooses the same.
    """
    frames = clouds(24, points, MSR_UNIT).to(device)
    chosen = farthest_point_sample(frames, centres)
    anchors = frames.gather(1, chosen[..., None].expand(-1, -1, 3))
    reach = radius or float(torch.cdist(anchors[0], frames[0]).kthvalue(BALL).values.median())

    def nearest() -> Tensor:
        found = []
        for one, cloud in zip(anchors, frames):  # all at once takes 1.6 GB, and longer
            distance, index = torch.cdist(one, cloud).topk(BALL, largest=False)
            found.append(torch.where(distance < reach, index, index[:, :1]))
        return torch.stack(found)

    def same(ours: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        expected = [
            point_operations.ball_query(cloud[None], one[None], reach, BALL)
            for one, cloud in zip(anchors, frames)
        ]
        return ours, torch.cat(expected)

    return Contest(lambda: ball_query(frames, anchors, reach, BALL), nearest, same, least=5)


def interpolation(points: int, targets: int, device: str = "cpu") -> Contest:
    """Features of 256 channels carried from few points to many, in 24 frames."""
    many = clouds(24, targets).to(device)
    chosen = farthest_point_sample(many, points)
    few = many.gather(1, chosen[..., None].expand(-1, -1, 3))
    values = torch.randn(24, points, 256, generator=torch.Generator().manual_seed(0)).to(device)
    theirs = values.transpose(1, 2).contiguous()  # either as its own layout has it
    return Contest(
        lambda: interpolate(values, few, many),
        lambda: point_operations.three_nearest_interpolate(theirs, few, many),
        lambda ours, other: (ours, other.transpose(1, 2)),
        least=5,
    )


def forward(name: str, device: str = "cpu") -> Contest:
    """One clip through an encoder and its classifier."""
    ours, theirs = (model.to(device) for model in ENCODERS[name].pair())
    clip = ENCODERS[name].clip().to(device)
    return Contest(lambda: ours(clip), lambda: theirs(clip))


def stream(encoder: Encoder, device: str = "cpu") -> Contest:
    """One new frame of a stream, against a whole window through the same encoder."""
    model = encoder.ours().to(device)
    window = encoder.clip()[0].to(device)
    pushed = EncoderStream(model, encoder.frames)
    for points in window[:-1]:
        pushed.push(points.clone())
    # After the window, the same frames as new ones: a frame is known by its tensor object.
    coming = (points.clone() for points in itertools.cycle(window.roll(1, 0)))

    def push() -> Tensor:
        features = pushed.push(next(coming))
        assert isinstance(features, Features)
        return model.classify(features)

    return Contest(push, lambda: model(window[None]), least=PUSHES)


def step(model: nn.Module, clip: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """A training step without the optimiser's: forward, cross entropy, backward."""

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(clip), labels)
        loss.backward()
        return loss.detach()

    return run


def training(
    encoder: Encoder, batch: int = 2, *, alone: bool = False, device: str = "cpu"
) -> Contest:
    """A training step on clips of 24 frames of 1024 points, or the encoder's own if ours `alone`.

    The textbook normalises each anchor frame by itself, as the public code does, so losses are not
    equal: gradients are compared on a short clip, with the batch norms as in evaluation.
    """
    clip = encoder.clip(batch, 24, 0 if alone else 1024).to(device)
    labels = torch.arange(batch, device=device)
    if alone:
        return Contest(step(encoder.ours().to(device).train(), clip, labels))
    ours, theirs = (model.to(device) for model in encoder.pair())
    short = encoder.clip(1, 19, 256).to(device)
    expected = _gradients(theirs, short)
    got = _gradients(ours, short)
    as_ours = encoder.as_ours(expected, got)
    return Contest(
        step(ours.train(), clip, labels),
        step(theirs.train(), clip, labels),
        lambda *_: (_flat(got, as_ours), _flat(as_ours, as_ours)),
    )


def _gradients(model: nn.Module, clip: Tensor) -> dict[str, Tensor]:
    step(model, clip, torch.zeros(len(clip), dtype=torch.int64, device=clip.device))()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def _flat(gradients: dict[str, Tensor], scales: dict[str, Tensor]) -> Tensor:
    """All of them in a row, each in units of its largest number in `scales`."""
    return torch.cat([
        (gradients[name] / scale.abs().max().clamp(min=1e-30)).flatten()
        for name, scale in sorted(scales.items())
    ])  # fmt: skip


def _encoder(name: str, **given: Any) -> Item:
    return Item(lambda device: forward(name, device), TEXTBOOK, **given)


def _stream(name: str, **given: Any) -> Item:
    return Item(lambda device: stream(ENCODERS[name], device), WHOLE, **given)


def _alone(encoder: Encoder) -> Item:
    return Item(
        lambda device: training(encoder, alone=True, device=device), "", 10, grad=True, clips=2
    )


ITEMS: dict[str, Item] = {
    "fps_24x2048_64": Item(lambda device: sampling(2048, 64, device), TEXTBOOK, 6, quick=True),
    "fps_24x8192_2048": Item(
        lambda device: sampling(8192, 2048, device), TEXTBOOK, 35, 10.0, quick=True
    ),
    "ball_query_24x64_in_2048": Item(
        lambda device: ball_search(64, 2048, 0.7, device=device), CDIST, 6, quick=True
    ),
    "ball_query_24x2048_in_8192": Item(
        lambda device: ball_search(2048, 8192, device=device), CDIST, 20, 30.0, quick=True
    ),
    "interpolate_24x2048_from_64": Item(
        lambda device: interpolation(64, 2048, device), TEXTBOOK, 6, quick=True
    ),
    "im_pstnet": _encoder("im_pstnet", seconds=40, asked=10.0, quick=True),
    "im_pstnet_inside": _encoder("im_pstnet_inside", seconds=40),
    "pstnet": _encoder("pstnet", seconds=40),
    "pstnetpp": _encoder("pstnetpp", seconds=40),
    "p4_transformer": _encoder("p4_transformer", seconds=15, quick=True),
    "pptr": _encoder("pptr", seconds=70),
    "im_pstnet_stream": _stream("im_pstnet", seconds=9, asked=2.5, quick=True),
    "p4_transformer_stream": _stream("p4_transformer", seconds=15),
    "pptr_stream": _stream("pptr_place_then_time", seconds=50, asked=25.0),
    "pptr_challenge_stream": _stream("pptr", seconds=80),
    "im_pstnet_train": Item(
        lambda device: training(ENCODERS["im_pstnet"], device=device),
        TEXTBOOK,
        60,
        8.0,
        grad=True,
        clips=2,
    ),
    "im_pstnet_inside_train": _alone(replace(ENCODERS["im_pstnet_inside"], points=1024)),
    "im_pstnet_small_train": _alone(small()),
    "im_pstnet_small_inside_train": _alone(small(norm="inside")),
}
