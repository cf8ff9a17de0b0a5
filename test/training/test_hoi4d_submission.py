"""The challenge's file: what is in it, and that it is whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourd_perception.errors import InputError
from fourd_perception.parameters import load_yaml
from training.config import FinetuneConfig
from training.finetune import build_model
from training.submission import CHALLENGES, Challenge, Submission

SMALL = Challenge(rows=3, shape=(2, 4), labels=(2, 5, 9))
NAMES = ("b", "a", "c")


def answers(number: int) -> np.ndarray:
    return (np.arange(8).reshape(2, 4) + number) % 3


def test_rows_are_in_the_order_of_the_test_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pred.npy"
    with Submission(path, SMALL, NAMES) as file:
        for number, name in enumerate("abc"):
            file.write(name, answers(number))
        assert not path.exists()
    written = np.load(path)
    assert (written.dtype, written.shape) == (np.int64, (3, 2, 4))
    expected = np.array([2, 5, 9])[np.stack([answers(1), answers(0), answers(2)])]
    np.testing.assert_array_equal(written, expected)
    assert [one.name for one in path.parent.iterdir()] == ["pred.npy"]


def test_what_is_handed_in_has_the_owners_shape_and_labels() -> None:
    actions, semantic = CHALLENGES["hoi4d_actions"], CHALLENGES["hoi4d_semantic"]
    assert (actions.rows, *actions.shape) == (892, 150)
    assert actions.labels == tuple(range(19))
    assert (semantic.rows, *semantic.shape) == (892, 300, 8192)
    assert semantic.labels == tuple(range(2, 49)), "never 0 (no label) or 1 (noise)"


def test_a_whole_file_of_actions(tmp_path: Path) -> None:
    names = [f"test/{row}" for row in range(892)]
    with Submission(tmp_path / "pred.npy", CHALLENGES["hoi4d_actions"], names) as file:
        for row, name in enumerate(names):
            file.write(name, np.full(150, row % 19, np.uint8))
    written = np.load(tmp_path / "pred.npy", mmap_mode="r")
    assert written.shape == (892, 150)
    np.testing.assert_array_equal(written[:, 149], np.arange(892) % 19)


@pytest.mark.parametrize(
    "name, given, message",
    [
        ("d", answers(0), "d is not a video of the test"),
        ("a", answers(0), "a came before"),
        ("b", answers(0).T, r"expected \(2, 4\) whole numbers, got \(4, 2\)"),
        ("b", answers(0) * 1.0, "got .* float64"),
        ("b", answers(0) + 1, "expected classes 0 to 2, got 1 to 3"),
        ("b", answers(0) - 1, "got -1 to 1; a frame or a point without an answer"),
    ],
)
def test_a_bad_row_is_refused_and_nothing_is_left(
    tmp_path: Path, name: str, given: np.ndarray, message: str
) -> None:
    def hand_in() -> None:
        with Submission(tmp_path / "pred.npy", SMALL, NAMES) as file:
            file.write("a", answers(0))
            file.write(name, given)

    with pytest.raises(InputError, match=message):
        hand_in()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_whole_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "pred.npy").write_text("of yesterday")
    with (
        pytest.raises(InputError, match="no answer for 2 of 3 videos, b for one"),
        Submission(tmp_path / "pred.npy", SMALL, NAMES) as file,
    ):
        file.write("a", answers(0))
    assert (tmp_path / "pred.npy").read_text() == "of yesterday"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "a"), ()])
def test_another_number_of_videos_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="the challenge wants 3 sequences"):
        Submission(tmp_path / "pred.npy", SMALL, names)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Submission(tmp_path / "file" / "pred.npy", SMALL, NAMES)


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path) -> None:
    huge = Challenge(rows=3, shape=(2**40, 2**10), labels=(0,))
    with pytest.raises(InputError, match="are free: name a file on another disk"):
        Submission(tmp_path / "pred.npy", huge, NAMES)


@pytest.mark.parametrize(
    "name, classes",
    [("hoi4d_actions_p4", 19), ("hoi4d_actions_pptr", 19),
     ("hoi4d_semantic_p4", 47), ("hoi4d_semantic_pptr", 47)],
)  # fmt: skip
def test_the_published_recipes_build(name: str, classes: int) -> None:
    run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
    model, _ = build_model(run, classes)
    assert model.task == run.task
    assert run.data.dataset == name.rpartition("_")[0]
    assert run.optimiser.schedule == "steps"
    assert run.batch_size * run.optimiser.accumulate >= 8
