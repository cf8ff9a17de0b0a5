"""The figures of a model on bags: of their windows, frames and points, and of its speed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.evaluation import metrics
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.session import Figures, confusion, figures, moments

_TOP = 5


@dataclass(frozen=True)
class BagFigures(Figures):
    """The figures of one bag or of several together; None where nothing was there to be judged.

    In percent, but what says otherwise. top_k_accuracy: of the judged windows, for k = `top_k`.
    frame_accuracy, edit_score, f1: of the answers' moments in a row, those without a truth cut out;
    the protocol of MS-TCN. first_right_median_s: from an action's start to the first right answer;
    actions_never_right have none. times_real_time: seconds of bag for a second of computing.
    read, preprocess: medians of a frame and of a window, milliseconds; model: of a window.
    """

    bags: int
    top_k: int
    top_k_accuracy: float | None
    calibration_error: float | None
    frame_accuracy: float | None
    edit_score: float | None
    f1_10: float | None
    f1_25: float | None
    f1_50: float | None
    first_right_median_s: float | None
    actions_never_right: int
    points_judged: int
    point_accuracy: float | None
    mean_iou: float | None
    wall_seconds: float
    times_real_time: float | None
    read_p50_ms: float | None
    read_p99_ms: float | None
    preprocess_p50_ms: float | None
    preprocess_p99_ms: float | None
    model_p50_ms: float | None
    model_p99_ms: float | None


@dataclass(frozen=True)
class ClassFigures:
    """One class: windows and how many of them are right, or points and their overlap.

    judged: windows, or points. accuracy, iou: percent, None where there is none.
    """

    name: str
    judged: int
    accuracy: float | None
    iou: float | None


@dataclass(frozen=True)
class SourceFigures:
    """One of the scores that a model fuses, by itself, on the judged windows that it took part in.

    accuracy: of it alone, fused: of what all say together there; percent, None where there is none.
    """

    name: str
    judged: int
    accuracy: float | None
    fused: float | None


def bag_figures(results: Sequence[BagResult]) -> BagFigures:
    """Of the bags together. results: at least one, all of one model.

    wall_seconds is their sum, so that times_real_time is of one process, however many there were.
    """
    sessions = [one.session for one in results]
    common: dict[str, Any] = dataclasses.asdict(figures(*sessions))
    common |= dict(_stage_times(results))
    scores, labels = judged_scores(results)
    top_k = min(_TOP, len(sessions[0].classes))
    truth, answers = zip(*(moments(one) for one in sessions))
    f1 = metrics.segment_f1(truth=truth, answers=answers, background=_background(results))
    delays = [delay for one in sessions for delay in metrics.seconds_to_first_right(
        [answer.stamp for answer in one.answers], [answer.label for answer in one.answers],
        one.truth)]  # fmt: skip
    reached = [delay for delay in delays if delay is not None]
    points = point_counts(results)
    wall = sum(one.stages.wall_s for one in results)
    seconds = sum(one.session.seconds for one in results)
    frames = sum(len(one.frames) for one in results)
    if frames:
        common["windows_answered"], common["windows_dropped"] = frames, 0
    return BagFigures(
        **common,
        bags=len(results),
        top_k=top_k,
        top_k_accuracy=_known(metrics.top_k_accuracy(scores, labels, top_k)),
        calibration_error=_known(metrics.expected_calibration_error(scores, labels)),
        frame_accuracy=_known(metrics.frame_accuracy(truth=truth, answers=answers)),
        edit_score=_known(
            metrics.edit_score(truth=truth, answers=answers, background=_background(results))
        ),
        f1_10=_known(f1[10]),
        f1_25=_known(f1[25]),
        f1_50=_known(f1[50]),
        first_right_median_s=_known(float(np.median(reached)) if reached else math.nan, 3),
        actions_never_right=len(delays) - len(reached),
        points_judged=int(points.sum()) if points is not None else 0,
        point_accuracy=_known(metrics.accuracy(points) if points is not None else math.nan),
        mean_iou=_known(metrics.mean_iou(points) if points is not None else math.nan),
        wall_seconds=round(wall, 3),
        times_real_time=_known(seconds / wall if wall else math.nan),
    )


def class_figures(results: Sequence[BagResult]) -> list[ClassFigures]:
    """Of every class that occurs in the truth."""
    points = point_counts(results)
    counts = points if points is not None else confusion(*(one.session for one in results))
    right, overlap = metrics.per_class_accuracy(counts), metrics.per_class_iou(counts)
    return [
        ClassFigures(name, int(judged), _known(accuracy), _known(iou))
        for name, judged, accuracy, iou in zip(
            results[0].session.classes, counts.sum(axis=1), right, overlap
        )
        if judged
    ]


def source_figures(results: Sequence[BagResult]) -> list[SourceFigures]:
    """Of every score that the model fuses; empty of any other model."""
    fused, labels = judged_scores(results)
    right, found = fused.argmax(axis=1) == labels, []
    for name in dict.fromkeys(name for one in results for name in one.by_source):
        rows = np.concatenate([_judged_rows(one, name) for one in results])
        there = np.isfinite(rows).all(axis=1)
        alone = rows[there].argmax(axis=1) == labels[there]
        found.append(SourceFigures(name, len(alone), _percent(alone), _percent(right[there])))
    return found


def _judged_rows(result: BagResult, source: str) -> NDArray[np.float32]:
    rows = result.by_source.get(source, np.full_like(result.scores, np.nan))
    return rows[[answer.truth is not None for answer in result.session.answers]]


def point_counts(results: Sequence[BagResult]) -> NDArray[np.int64] | None:
    """(K, K + 1) counts of the judged points of all bags; None where no bag has any."""
    found = [one.points for one in results if one.points is not None]
    return sum(found[1:], found[0]) if found else None


def judged_scores(
    results: Sequence[BagResult],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(V, K) scores and (V,) labels of the judged windows."""
    classes = results[0].session.classes
    number = {name: index for index, name in enumerate(classes)}
    rows, labels = [], []
    for one in results:
        for answer, scores in zip(one.session.answers, one.scores):
            if answer.truth is not None:
                rows.append(scores)
                labels.append(number[answer.truth])
    return np.array(rows, np.float32).reshape(-1, len(classes)), np.array(labels, np.int64)


def _background(results: Sequence[BagResult]) -> tuple[int, ...]:
    """The number of 'no answer', which makes no segment."""
    return (len(results[0].session.classes),)


def _stage_times(results: Sequence[BagResult]) -> Iterator[tuple[str, float | None]]:
    for stage in ("read", "preprocess", "model"):
        taken = np.concatenate([getattr(one.stages, f"{stage}_ms") for one in results])
        for share in (50, 99):
            value = float(np.percentile(taken, share)) if len(taken) else math.nan
            yield f"{stage}_p{share}_ms", _known(value)


def _percent(right: NDArray[np.bool_]) -> float | None:
    return _known(100 * float(right.mean())) if len(right) else None


def _known(value: float, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
