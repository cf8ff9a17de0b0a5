"""What a model said of bags, as a CSV: a line for every answer, or for every labelled frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.recordings.truth import seconds
from fourd_perception.whole_file import written


def write_predictions(path: str | Path, results: Sequence[BagResult]) -> None:
    """Write them, whole or not at all; the same answers give the same bytes.

    Of answers: bag, stamp and start (seconds on the stamps' clock), label, truth, and the score of
    every class, in digits that give the float32 back. Of labelled points: bag, stamp, and how many
    of the frame's points each class has.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(_rows(results))
    with written(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")


def _rows(results: Sequence[BagResult]) -> Iterator[Sequence[object]]:
    classes = results[0].session.classes
    if results[0].task == "semantic_segmentation":
        yield ("bag", "stamp", *classes, "no label")
        for result in results:
            for frame in result.frames:
                yield (result.name, seconds(frame.stamp), *frame.counts)
        return
    yield ("bag", "stamp", "start", "label", "truth", *classes)
    for result in results:
        for answer, scores in zip(result.session.answers, result.scores):
            yield (
                result.name,
                seconds(answer.stamp),
                seconds(answer.start),
                answer.label or "",
                answer.truth or "",
                *(f"{score:.9g}" for score in scores),
            )
