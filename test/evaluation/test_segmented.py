from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import small_model

from fourd_perception.errors import InputError
from fourd_perception.evaluation import segmented
from fourd_perception.evaluation.session import Answer, Session
from fourd_perception.recordings.bag_writer import BagContent, write_bag
from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND, UNLABELLED

START = 1_764_000_000 * SECOND
PERIOD = SECOND // 10
CARD = small_model.card(
    task="semantic_segmentation", classes=("head", "torso", "wall"),
    colours=("#ff0000", "#00ff00", "#0000ff"),
)  # fmt: skip


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Four clouds of 4 x 4 points: a row of head, one of it unknown, three of torso."""

    def frames() -> Iterator[RecordedFrame]:
        for index in range(4):
            depth = np.full((4, 4), 2.0, np.float32)
            labels = np.full((4, 4), 1, np.uint16)
            labels[0] = 0
            labels[0, 0] = UNLABELLED
            yield RecordedFrame(index * PERIOD, depth, depth > 0, None, labels)

    camera = Intrinsics(width=4, height=4, fx=4.0, fy=4.0, cx=1.5, cy=1.5)
    whole = Recording("test", 10.0, camera, (), (), 4, frames, CARD.classes)
    content = BagContent(("points",), labels=True)
    return write_bag(tmp_path / "bag", whole, start=START, content=content).path


def answers() -> dict[int, np.ndarray]:
    """Of two of the clouds: 2 of 3 points of the head right, 9 of 12 of the torso."""
    said = np.array([0] * 3 + [1] + [1] * 9 + [2] * 2 + [UNLABELLED])
    return {START + index * PERIOD: said for index in (1, 3)}


def test_points_are_judged_where_their_truth_is_known(bag: Path) -> None:
    found = segmented.judge_points(bag, CARD, answers())
    assert found.counts.tolist() == [[4, 2, 0, 0], [0, 18, 4, 2], [0, 0, 0, 0]]
    assert found.clouds == 2
    figures = segmented.segmented_figures(found, None)
    # head: 4 of 6; torso: 18 of 24 that are it, and 2 more that were called so
    assert figures["mean_iou"] == pytest.approx(100 * (4 / 6 + 18 / 26) / 2, abs=0.01)
    assert figures["point_accuracy"] == pytest.approx(100 * 22 / 30, abs=0.01)
    (table,) = segmented.points_table(found)
    assert table.rows[1:] == (
        ("head", "6", "66.7 %", "66.7 %"),
        ("torso", "24", "75.0 %", "69.2 %"),
    )


def test_scenes_show_truth_and_answer_in_the_checkpoints_colours(bag: Path) -> None:
    group = segmented.points_scenes(segmented.judge_points(bag, CARD, answers()), START)
    assert group.legend == (("head", "#ff0000"), ("torso", "#00ff00"), ("wall", "#0000ff"))
    assert [scene.caption for scene in group.scenes] == ["0.1 s", "0.3 s"]
    assert {scene.truth for scene in group.scenes} == {"73.3 % of the points right"}
    assert all(scene.image.startswith("data:image/png") for scene in group.scenes)
    assert all(scene.image != scene.cloud for scene in group.scenes)


def test_another_models_classes_are_refused(bag: Path) -> None:
    with pytest.raises(InputError, match="its classes are not those of small, which are idle"):
        segmented.judge_points(bag, small_model.card(), answers())


def test_frames_are_judged_by_themselves() -> None:
    truth = (Interval(0, 4 * PERIOD, "idle"), Interval(4 * PERIOD, 8 * PERIOD, "wave"))
    said = ["idle"] * 3 + ["wave"] * 4 + ["kick"]
    frames = Session(
        title="", command="", classes=small_model.CLASSES, truth=truth, clouds=(0,),
        windows_expected=0, facts={},
        answers=tuple(
            Answer(index * PERIOD, index * PERIOD, ((label, 1.0),), None, None)
            for index, label in enumerate(said)
        ),
    )  # fmt: skip
    figures = segmented.segmented_figures(None, frames)
    assert figures["frame_accuracy"] == 75.0
    assert figures["edit"] == pytest.approx(100 * 2 / 3, abs=0.01)  # idle wave kick: one too many
    assert segmented.segmented_tiles(figures) == [
        ("75.0 %", "frames named right", "of 8; edit score 66.7 %")
    ]
