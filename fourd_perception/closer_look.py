"""A second look at what the first one found: the bodies in a room, as if they had been cut out.

Of the few points that a model is shown of a whole room, a hand gets one or two. So it is shown the
room first, and then, with as many points, only what it has taken for foreground there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.checkpoint import Checkpoint
from fourd_perception.errors import InputError
from fourd_perception.looking.bodies import find_bodies
from fourd_perception.ops.interpolate import k_nearest
from fourd_perception.ops.label_at import label_at
from fourd_perception.preprocess import fill_nearest, preprocess

_GAP = 0.25
"""Metres: foreground that is nearer to each other is one body, a hand and the box in it too."""
_LESSER = 0.5
"""The part of the largest body's area below which a body is none but a mistake."""
_CLOSE = 0.5
"""Where so much of a frame is a body, a second look would be no closer."""
_ENOUGH = 32768
"""Points of a frame that is only context in which its bodies are looked for."""


@dataclass(frozen=True, eq=False)
class Carried:
    """Labels of sampled points, carried to other points of their frame.

    labels: (N,) int64, numbers of classes. confidence: (N,) float32, their softmax. distance: (N,)
    float32, model units, to the nearest sampled point.
    """

    labels: Tensor
    confidence: Tensor
    distance: Tensor


def carry(
    logits: Tensor, sample: Tensor, points: NDArray[np.float32], unit_scale: float | np.float32
) -> Carried:
    """Logits (P, K) of a sample (P, 3), model units, at points (N, 3) float32, metres.

    By three-nearest interpolation. Raises ValueError as `k_nearest` does.
    """
    distances, index = _nearest(sample, points, unit_scale)
    return Carried(*label_at(logits, distances, index), distances[:, 0])


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame, and what the first look at its clip has said of it.

    points: (N, 3) float32, metres, finite; there may be none. sample: (P, 3) float32, model units,
    of the frame, or of one beside it if it has no points. logits: (P, K). seed: of the second
    look's sampling.
    """

    points: NDArray[np.float32]
    sample: Tensor
    logits: Tensor
    seed: int | Sequence[int]


@dataclass(frozen=True, eq=False)
class _First:
    """The first look, carried to all points or to those that do, and the bodies in it.

    distances, index: (N, 3), as `k_nearest` gives them. foreground, body: (N,) bool.
    sample: (P, 3) float32, model units, what the second look is given; None without a body.
    """

    carried: Carried
    distances: Tensor
    index: Tensor
    foreground: NDArray[np.bool_]
    body: NDArray[np.bool_]
    sample: Tensor | None

    @property
    def is_close(self) -> bool:
        """Whether a second look would be no closer, or there is nothing to look at."""
        return self.sample is None or bool(self.body.mean() >= _CLOSE)


class CloserLook:
    """Labels the points of a clip's frames by two looks.

    Foreground is what the model's card does not call background. Its bodies (Euclidean clusters)
    in all frames of the clip are shown to the model once more, together and without the rest, and
    their points have the labels of that second look. Foreground that is no body, because it is much
    less than the largest, is a mistake of the first look and becomes the likeliest background.

    The first look stands where it sees no foreground, and where most points are of bodies: people
    who were cut out before. All of it depends on the one clip alone, so that a replay gives the
    same bits wherever it starts.
    """

    def __init__(self, checkpoint: Checkpoint, frames: int) -> None:
        """frames: of a clip. Raises InputError where the card names no background, or the model
        cannot be shown such clips.
        """
        self._card, self._model = checkpoint.card, checkpoint.model
        names, background = self._card.classes, self._card.background
        if not background:
            raise InputError(
                f"closer_look: {self._card.name} does not say which of its classes are background: "
                "set closer_look to false, or train a model whose recipe has `background`"
            )
        self._background = torch.tensor([names.index(name) for name in background])
        self._is_foreground = np.array([name not in background for name in names])
        self._model.check_input(frames, self._card.preprocess.points)

    def warm_up(self) -> None:
        """Compile what no first look may need."""
        find_bodies(np.zeros((1, 3), np.float32), np.ones(1, np.bool_), _GAP)

    def labels(self, clip: Sequence[Seen], places: Collection[int]) -> dict[int, Carried]:
        """The labels of the frames at `places` of the clip, without those that have no points.

        The clip's other frames are context. Raises ValueError if scores are not finite numbers.
        """
        first = [self._first(seen, whole=at in places) for at, seen in enumerate(clip)]
        asked = {at: one for at, one in enumerate(first) if one is not None and at in places}
        samples = fill_nearest([None if one is None else one.sample for one in first])
        if samples is None or all(one.is_close for one in asked.values()):
            return {at: one.carried for at, one in asked.items()}
        logits = self._model(torch.stack(samples)[None])[0].float()
        if not torch.isfinite(logits).all():
            raise ValueError(f"{self._card.name}: scores that are not finite numbers")
        return {
            at: one.carried
            if one.is_close
            else self._second(one, clip[at], samples[at], logits[at])
            for at, one in asked.items()
        }

    def _first(self, seen: Seen, *, whole: bool) -> _First | None:
        """whole: of all points. None of a frame without points."""
        random, points = np.random.default_rng(seen.seed), seen.points
        if not len(points):
            return None
        if not whole and len(points) > _ENOUGH:
            points = points[np.unique(random.integers(0, len(points), _ENOUGH))]
        distances, index = _nearest(seen.sample, points, self._scale)
        carried = Carried(*label_at(seen.logits, distances, index), distances[:, 0])
        foreground = self._is_foreground[carried.labels.cpu().numpy()]
        body = _bodies(points, foreground)
        shown = preprocess(points[body], self._card.preprocess, random)
        sample = None if shown is None else torch.from_numpy(shown).to(seen.sample.device)
        return _First(carried, distances, index, foreground, body, sample)

    def _second(self, first: _First, seen: Seen, sample: Tensor, logits: Tensor) -> Carried:
        """The labels of two looks together."""
        before = first.carried
        labels, confidence = before.labels.clone(), before.confidence.clone()
        distance = before.distance.clone()
        wrong = torch.from_numpy(first.foreground & ~first.body).to(labels.device)
        if wrong.any():
            background = self._background.to(labels.device)
            best, confidence[wrong] = label_at(
                seen.logits[:, background], first.distances[wrong], first.index[wrong]
            )
            labels[wrong] = background[best]
        body = torch.from_numpy(first.body).to(labels.device)
        closer = carry(logits, sample, seen.points[first.body], self._scale)
        labels[body], confidence[body] = closer.labels, closer.confidence
        distance[body] = closer.distance
        return Carried(labels, confidence, distance)

    @property
    def _scale(self) -> float:
        return self._card.preprocess.unit_scale


def _nearest(
    sample: Tensor, points: NDArray[np.float32], unit_scale: float | np.float32
) -> tuple[Tensor, Tensor]:
    targets = torch.from_numpy(points * np.float32(unit_scale)).to(sample.device)
    distances, index = k_nearest(sample[None], targets[None], min(3, len(sample)))
    return distances[0], index[0]


def _bodies(points: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) bool: the foreground that belongs to a body."""
    found = find_bodies(points, foreground, _GAP)
    large = found.areas >= _LESSER * found.areas.max(initial=0.0)
    # -1, of the points that were not asked for, takes the last entry.
    return np.append(large, False)[found.of_points]
