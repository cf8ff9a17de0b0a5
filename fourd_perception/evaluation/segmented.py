"""What a segmenter said of a bag's points and frames, against the truth that the bag carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_perception.checkpoint import ModelCard
from fourd_perception.evaluation import metrics, report
from fourd_perception.evaluation.bag_labels import check_point_classes
from fourd_perception.evaluation.charts import png, render_cloud
from fourd_perception.evaluation.report import Scene, SceneGroup, Table, percent
from fourd_perception.evaluation.session import Session, moments
from fourd_perception.messages import clouds
from fourd_perception.messages.colours import class_colours
from fourd_perception.messages.point_labels import labels_of
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import read_messages
from fourd_perception.stream.frame import SECOND, UNLABELLED

_SHOWN = 6


@dataclass(frozen=True, eq=False)
class LabelledCloud:
    """A cloud to be shown. points: (N, 3) float32, metres. answer, truth: (N,) int64; no truth
    where it is not known."""

    stamp: int
    points: NDArray[np.float32]
    answer: NDArray[np.int64]
    truth: NDArray[np.int64] | None


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """All labelled clouds of a bag together.

    counts: (K, K + 1) points, as `metrics.label_confusion` gives them; all zero without a truth.
    clouds: how many were labelled. shown: some of them.
    """

    card: ModelCard
    counts: NDArray[np.int64]
    clouds: int
    shown: tuple[LabelledCloud, ...]


def judge_points(
    bag: str | Path, card: ModelCard, answers: Mapping[int, NDArray[np.int64]]
) -> LabelledPoints:
    """The labels of a bag's clouds, by stamp, against the clouds' own.

    Raises BagError where the bag cannot be read, and InputError where its labels are not of the
    model's classes, or an answer is not of its cloud's points.
    """
    check_point_classes(bag, card)
    classes = len(card.classes)
    counts = np.zeros((classes, classes + 1), np.int64)
    chosen = {sorted(answers)[round(at)] for at in np.linspace(0, len(answers) - 1, _SHOWN)}
    shown = []
    for one in read_messages(bag, camera.POINTS):
        if one.stamp not in answers:
            continue
        answer, truth = answers[one.stamp], labels_of(one.message)
        if truth is not None:
            counts += metrics.label_confusion(
                truth=truth, answers=answer, classes=classes, ignore=(UNLABELLED,)
            )
        if one.stamp in chosen:
            points = clouds.from_message(one.message)
            shown.append(LabelledCloud(one.stamp, points, answer, truth))
    return LabelledPoints(card, counts, len(answers), tuple(shown))


def points_scenes(labelled: LabelledPoints, start: int) -> SceneGroup:
    """The clouds that are shown, by class: the truth on the left, the answer on the right.

    start: nanoseconds, when the recording begins.
    """
    card = labelled.card
    colours = class_colours(len(card.classes), card.colours)
    known = any(one.truth is not None for one in labelled.shown)
    text = "Left the truth, right what the segmenter said; grey: no label."
    return SceneGroup(
        "Every point has a class",
        text if known else "What the segmenter said; nobody has labelled these. Grey: no label.",
        [_scene(one, colours, start) for one in labelled.shown],
        legend=tuple(
            (name, "#" + bytes(colour).hex()) for name, colour in zip(card.classes, colours)
        ),
    )


def _scene(cloud: LabelledCloud, colours: NDArray[np.uint8], start: int) -> Scene:
    def picture(labels: NDArray[np.int64]) -> str:
        number = np.minimum(labels, len(colours) - 1)
        return report.data_uri(png(render_cloud(cloud.points, colours=colours[number])))

    text = "no truth"
    if cloud.truth is not None:
        known = cloud.truth != UNLABELLED
        right = (cloud.truth == cloud.answer)[known]
        text = f"{percent(100 * right.mean() if right.size else None)} of the points right"
    return Scene(
        image="" if cloud.truth is None else picture(cloud.truth),
        cloud=picture(cloud.answer),
        caption=f"{(cloud.stamp - start) / SECOND:.1f} s",
        truth=text,
        answer=None,
        right=None,
    )


def points_table(labelled: LabelledPoints) -> list[Table]:
    """The overlap of every class that occurs; none without a truth."""
    if not labelled.counts.any():
        return []
    overlap = metrics.per_class_iou(labelled.counts)
    right = metrics.per_class_accuracy(labelled.counts)
    rows = [
        (name, f"{int(count):,}", percent(float(one)), percent(float(iou)))
        for name, count, one, iou in zip(
            labelled.card.classes, labelled.counts.sum(axis=1), right, overlap
        )
        if count
    ]
    heads = ("class", "points", "right", "IoU")
    text = f"Mean IoU {percent(metrics.mean_iou(labelled.counts))} of {labelled.clouds} clouds."
    return [Table("Points by class", text, (heads, *rows))]


def segmented_figures(
    points: LabelledPoints | None, frames: Session | None
) -> dict[str, float | int | None]:
    """In percent, but the counts; None where nothing was there to be judged."""
    found: dict[str, float | int | None] = {}
    if points is not None:
        judged = bool(points.counts.any())
        found |= {
            "clouds_labelled": points.clouds,
            "points_judged": int(points.counts.sum()),
            "mean_iou": round(metrics.mean_iou(points.counts), 2) if judged else None,
            "point_accuracy": round(metrics.accuracy(points.counts), 2) if judged else None,
        }
    if frames is not None:
        truth, answers = ([one] for one in moments(frames))
        none = (len(frames.classes),)
        edit = metrics.edit_score(truth=truth, answers=answers, background=none)
        f1 = metrics.segment_f1(truth=truth, answers=answers, background=none)
        found |= {
            "frames_answered": len(frames.answers),
            "frame_accuracy": _known(metrics.frame_accuracy(truth=truth, answers=answers)),
            "edit": _known(edit),
            **{f"f1_{overlap}": _known(score) for overlap, score in f1.items()},
        }
    return found


def segmented_tiles(figures: Mapping[str, float | int | None]) -> Sequence[tuple[str, str, str]]:
    """(figure, what it is, what it is over), as `report.tiles`."""
    tiles = []
    if figures.get("mean_iou") is not None:
        over = f"of {figures['points_judged']:,} points in {figures['clouds_labelled']} clouds"
        tiles.append((percent(figures["mean_iou"]), "mean IoU of points", over))
    if figures.get("frame_accuracy") is not None:
        over = f"of {figures['frames_answered']}; edit score {percent(figures['edit'])}"
        tiles.append((percent(figures["frame_accuracy"]), "frames named right", over))
    return tiles


def _known(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
