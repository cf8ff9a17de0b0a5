"""The report on a model and some bags: a page for people, and the same figures as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from fourd_perception.evaluation import charts, report
from fourd_perception.evaluation.bag_figures import (
    BagFigures,
    bag_figures,
    class_figures,
    judged_scores,
    point_counts,
    source_figures,
)
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.comparison import compare
from fourd_perception.evaluation.report import Chart, Page, SceneGroup, Table, percent

_NAMES = {
    "action_recognition": ("windows", "Windows inside one action"),
    "action_segmentation": ("frames", "Frames"),
    "semantic_segmentation": ("frames", "Points"),
}


def bag_page(
    title: str,
    command: str,
    results: Sequence[BagResult],
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
    against: Sequence[BagResult] = (),
) -> Page:
    """The page of bags that one model was run on; notes: on top of the bags' own.

    against: another model's results on the same bags, to compare with.
    """
    measured = bag_figures(results)
    pictures = [
        report.scene(
            one.session,
            picture,
            f"{one.name}, " if len(results) > 1 else "",
            _right_points(one, picture.stamp),
        )
        for one in results
        for picture in one.session.pictures
    ]
    return Page(
        title=title,
        command=command,
        tiles=bag_tiles(measured, results[0].task),
        scenes=[
            SceneGroup(
                "The hardest moments",
                "Where the model was surest of something wrong, or least sure: the camera's "
                "picture, where there is one, and the cloud, seen from the side.",
                pictures,
            )
        ],
        charts=[
            *(chart for one in results
              for chart in report.timeline_charts(one.session, _heading(one, len(results)))),
            *_charts(results),
        ],
        tables=[
            *_against(results, against),
            *_measures(measured, results[0].task),
            *_sources(results),
            *_classes(results),
            *_bags(results),
        ],
        notes=[
            *notes,
            *(note for one in results for note in one.notes),
            *(f"{one.path}: {one.live.text()}" for one in results if one.live),
        ],
        facts=facts,
    )  # fmt: skip


def bag_summary(
    command: str,
    results: Sequence[BagResult],
    facts: Mapping[str, str],
    notes: Sequence[str] = (),
    against: Sequence[BagResult] = (),
) -> dict[str, object]:
    """The figures of all bags, of each bag and of each class, for JSON."""
    compared: dict[str, object] = {}
    if against:
        compared["against"] = dataclasses.asdict(bag_figures(against))
        compared["comparison"] = dataclasses.asdict(compare(results, against))
    return {
        **compared,
        "command": command,
        "facts": dict(facts),
        "figures": dataclasses.asdict(bag_figures(results)),
        "bags": {
            str(one.path): {
                "topics": dataclasses.asdict(one.source),
                "figures": dataclasses.asdict(bag_figures([one])),
                "notes": list(one.notes),
                "live": dataclasses.asdict(one.live) if one.live else None,
            }
            for one in results
        },
        "classes": [dataclasses.asdict(one) for one in class_figures(results)],
        "sources": [dataclasses.asdict(one) for one in source_figures(results)],
        "notes": list(notes),
    }


def bag_tiles(measured: BagFigures, task: str) -> list[tuple[str, str, str]]:
    """(figure, what it is, what it is over) of the summary."""
    what = _NAMES[task][0]
    tiles = []
    if task == "semantic_segmentation":
        tiles += [
            (percent(measured.mean_iou), "mean IoU", f"of {measured.points_judged:,} points"),
            (percent(measured.point_accuracy), "points labelled right", "of those with a truth"),
        ]
    else:
        tiles += [
            (
                percent(measured.window_accuracy),
                f"{what} named right",
                f"of {measured.windows_judged} that lie inside one action",
            ),
            (
                percent(measured.action_accuracy),
                "actions named right",
                f"of {measured.actions_judged}, by all their {what}",
            ),
            (
                _seconds(measured.first_right_median_s),
                "to the first right answer",
                f"median; {measured.actions_never_right} actions never",
            ),
        ]
    speed = measured.times_real_time
    return [
        *tiles,
        (
            "–" if speed is None else f"{speed:.1f} ×",
            "real time",
            f"{measured.seconds:.0f} s of bag, {measured.windows_answered} {what}",
        ),
    ]


def _heading(result: BagResult, bags: int) -> str:
    return "Answers in time" if bags == 1 else f"Answers in time: {result.name}"


def _right_points(result: BagResult, stamp: int) -> str:
    """What a picture of labelled points says; empty where the frame has no truth."""
    frames = [one for one in result.frames if one.stamp == stamp and one.judged]
    return f"{100 * frames[0].right / frames[0].judged:.0f} % of its points right" if frames else ""


def _charts(results: Sequence[BagResult]) -> list[Chart]:
    sessions = [one.session for one in results]
    found = report.confusion_charts(*sessions, what=_NAMES[results[0].task][1])
    points = point_counts(results)
    if points is not None:
        share = np.rint(100 * points / np.maximum(points.sum(axis=1, keepdims=True), 1))
        text = "Percent of the truth's points: the truth by row, the answer by column."
        drawn = charts.confusion_heatmap(share.astype(np.int64), sessions[0].classes)
        found.append(Chart("Confusion", text, drawn))
    scores, labels = judged_scores(results)
    if len(labels):
        text = (
            "Of the answers that the model is so sure of, the share that is right; the number is "
            "how many. A calibrated model lies on the line."
        )
        found.append(Chart("Calibration", text, charts.reliability(scores, labels)))
    stages = [one.stages for one in results]
    model = np.concatenate([one.preprocess_ms + one.model_ms for one in stages])
    if len(model):
        text = "Of a window: sampling its new frames, and the model."
        found.append(Chart("Latency", text, charts.latency_histogram(model.tolist())))
    return found


def _against(results: Sequence[BagResult], against: Sequence[BagResult]) -> list[Table]:
    """The tiles of two models side by side, and what follows."""
    if not against:
        return []
    task = results[0].task
    pairs = zip(bag_tiles(bag_figures(results), task), bag_tiles(bag_figures(against), task))
    rows = [(ours[1], ours[0], theirs[0]) for ours, theirs in pairs]
    verdict = compare(results, against).text()
    text = verdict[0].upper() + verdict[1:] + "."
    return [Table("Against the other model", text, (("", "first", "second"), *rows))]


def _measures(measured: BagFigures, task: str) -> list[Table]:
    rows: list[tuple[str, str]] = []
    if measured.windows_judged:
        rows += [
            (f"top-{measured.top_k} accuracy", percent(measured.top_k_accuracy)),
            ("expected calibration error", percent(measured.calibration_error)),
            ("frame accuracy", percent(measured.frame_accuracy)),
            ("edit score", percent(measured.edit_score)),
            ("F1@10, 25, 50", " · ".join(
                percent(one) for one in (measured.f1_10, measured.f1_25, measured.f1_50))),
        ]  # fmt: skip
    for stage, unit in (("read", "frame"), ("preprocess", "window"), ("model", "window")):
        median, most = (getattr(measured, f"{stage}_p{share}_ms") for share in (50, 99))
        if median is not None:
            rows.append((f"{stage}, of a {unit}", f"median {median:.1f} ms, 99 % {most:.1f} ms"))
    text = "Frame accuracy, edit score and F1 are of the answers' moments in a row."
    return [Table("Measures", text if measured.windows_judged else "", (("", "value"), *rows))]


def _sources(results: Sequence[BagResult]) -> list[Table]:
    found = [one for one in source_figures(results) if one.judged]
    if not found:
        return []
    text = (
        "Each score that is fused, on the judged windows that it took part in: by itself, and all "
        "together there. pc: the clouds' classifier; pc_text: clouds against texts; rgb and "
        "rgb_text: likewise, of the images."
    )
    rows = [(one.name, str(one.judged), percent(one.accuracy), percent(one.fused)) for one in found]
    return [Table("Sources", text, (("source", "windows", "right", "fused"), *rows))]


def _classes(results: Sequence[BagResult]) -> list[Table]:
    found = class_figures(results)
    if not found:
        return []
    what = "points" if results[0].frames else _NAMES[results[0].task][0]
    rows = [(one.name, str(one.judged), percent(one.accuracy), percent(one.iou)) for one in found]
    heads = ("class", what, "right", "IoU")
    return [Table("Classes", "Those that occur in the truth.", (heads, *rows))]


def _bags(results: Sequence[BagResult]) -> list[Table]:
    if len(results) == 1:
        return []
    rows = []
    for one in results:
        own = bag_figures([one])
        judged = own.mean_iou if one.frames else own.window_accuracy
        rows.append((one.name, f"{own.seconds:.1f} s", percent(judged), one.source.text()))
    right = "mean IoU" if results[0].frames else "right"
    return [Table("Bags", "", (("bag", "lasts", right, "topics"), *rows))]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"
