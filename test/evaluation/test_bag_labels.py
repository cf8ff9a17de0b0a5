"""Labels of bags: what is understood, what is left out, and in which line it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourd_perception.evaluation.bag_labels import (
    BagTruth,
    LabelError,
    bag_truth,
    own_labels,
    read_labels,
)
from fourd_perception.recordings.recording import Interval
from fourd_perception.recordings.truth import write_truth
from fourd_perception.stream.frame import SECOND

FIRST, LAST = 1_764_000_000 * SECOND, 1_764_000_020 * SECOND
CLASSES = ("wave", "kick", "drink")


def truth(tmp_path: Path, *lines: str, bag: str = "one") -> BagTruth:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(("bag,start,end,label", *lines)) + "\n")
    return bag_truth(read_labels(path), tmp_path / bag, FIRST, LAST, CLASSES)


def at(start: float, end: float, label: str) -> Interval:
    return Interval(FIRST + round(start * SECOND), FIRST + round(end * SECOND), label)


def test_seconds_from_the_start_and_on_the_clock_are_the_same(tmp_path: Path) -> None:
    expected = (at(0.5, 3, "wave"), at(3, 7.25, "kick"))
    relative = truth(tmp_path, "one,0.5,3,wave", "one,3,7.25,kick")
    clock = truth(
        tmp_path, "one,1764000000.5,1764000003,wave", "one,1764000003,1764000007.250000000,kick"
    )
    assert relative.intervals == clock.intervals == expected
    assert relative.problems == clock.problems == ()
    assert (relative.clock, clock.clock) == (
        "seconds from the bag's first cloud", "the clock of the header stamps"
    )  # fmt: skip


def test_any_order_of_lines_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("label, end ,bag,START\nkick,4,one,3\n\nwave,3,one,1\n", encoding="utf-8-sig")
    found = bag_truth(read_labels(path), Path("bags/one"), FIRST, LAST, CLASSES)
    assert found.intervals == (at(1, 3, "wave"), at(3, 4, "kick")) and not found.problems


def test_an_overlap_is_nobodys(tmp_path: Path) -> None:
    found = truth(tmp_path, "one,0,5,wave", "one,4,8,kick", "one,8,9,drink")
    assert found.intervals == (at(0, 4, "wave"), at(5, 8, "kick"), at(8, 9, "drink"))
    (problem,) = found.problems
    assert problem.endswith("line 3: overlaps line 2 for 1 s; that time is not judged")


def test_an_action_inside_of_another(tmp_path: Path) -> None:
    found = truth(tmp_path, "one,0,9,wave", "one,2,3,kick", "one,4,5,drink")
    assert found.intervals == (at(0, 2, "wave"), at(3, 4, "wave"), at(5, 9, "wave"))
    assert [problem.split(", ")[1][:24] for problem in found.problems] == [
        "line 3: overlaps line 2 ", "line 4: overlaps line 2 "
    ]  # fmt: skip


def test_gaps_unknown_labels_and_times_outside(tmp_path: Path) -> None:
    found = truth(
        tmp_path, "one,0,3,wave", "one,4.5,6,kik", "one,6,7,wave", "one,18,25,drink",
        "one,40,41,wave", "two,0,1,wave", "one,7,8,kik",
    )  # fmt: skip
    assert found.intervals == (at(0, 3, "wave"), at(6, 7, "wave"), at(18, 25, "drink"))
    text = "\n".join(found.problems)
    for expected in (
        "lines 2 and 3: nothing is labelled for 1.5 s between them; not judged",
        "lines 8 and 5: nothing is labelled for 10 s",
        "line 3, 8: the model has no class 'kik' (did you mean 'kick'?); not judged",
        "line 5: reaches out of the bag; judged as far as there are clouds",
        "line 6: outside of the bag, whose clouds last 20 s; not judged",
    ):
        assert expected in text
    assert len(found.problems) == 5


def test_labels_of_other_bags_are_told_once_for_each(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "bag,start,end,label\none,0,1,wave\ntwo,0,1,wave\ntwo,1,2,kick\nsub/one,3,4,x\n"
    )
    file = read_labels(path)
    assert file.strangers([tmp_path / "one"]) == [
        f"{path}, line 3 and 1 more: labels for the bag 'two', which is not evaluated here",
        f"{path}, line 5: labels for the bag 'sub/one', which is not evaluated here",
    ]
    none = bag_truth(file, tmp_path / "three", FIRST, LAST, CLASSES)
    assert none.intervals == () and none.problems == (f"{path}: no line for the bag 'three'",)


@pytest.mark.parametrize(
    "name, bag, same",
    [
        ("one", "x/one", True),
        ("x/one", "x/one", True),
        ("y/one", "x/one", False),
        ("one", "x/one.mcap", True),
        ("one.mcap", "x/one.mcap", True),
        ("run.1", "x/run.1", True),
        ("run", "x/run.1", False),
    ],
)
def test_how_a_bag_may_be_named(tmp_path: Path, name: str, bag: str, same: bool) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(f"bag,start,end,label\n{name},0,1,wave\n")
    assert bool(read_labels(path).of_bag(tmp_path / bag)) is same


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: expected bag,start,end,label; got an empty file"),
        ("bag,from,to,label\n", "line 1: expected bag,start,end,label; got bag,from,to,label"),
        ("bag,start,end,label\na,0,1\n", "line 2: expected 4 values, got 3"),
        ("bag,start,end,label\na,0,1,x\na,soon,2,x\n", "line 3: expected seconds .* got 'soon'"),
        ("bag,start,end,label\na,-1,1,x\n", "line 2: expected seconds"),
        ("bag,start,end,label\na,nan,1,x\n", "line 2: expected seconds"),
        ("bag,start,end,label\na,1e400,1,x\n", "line 2: expected seconds"),
        ("bag,start,end,label\na,2,2,x\n", "line 2: ends at 2, not after 2"),
        ("bag,start,end,label\na,1,2,\n", "line 2: the label is empty"),
        ("bag,start,end,label\n,1,2,x\n", "line 2: the bag is empty"),
        ("bag,start,end,label\na,1,2,\"x\n", "not a CSV file"),
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot be read: No such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabelError, match="not a CSV file"):
        read_labels(tmp_path / "bytes.csv")


def test_the_bags_own_truth(tmp_path: Path) -> None:
    bag = tmp_path / "one"
    assert own_labels(bag) is None
    intervals = (at(0, 3, "wave"), at(3, 5, "sleep"))
    bag.mkdir()
    write_truth(bag / "truth.csv", intervals)
    file = own_labels(bag)
    assert file is not None
    found = bag_truth(file, bag, FIRST, LAST, CLASSES)
    assert found.intervals == intervals[:1]
    (problem,) = found.problems
    assert "truth.csv, line 3: the model has no class 'sleep' (it knows wave" in problem
