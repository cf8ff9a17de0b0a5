"""The truth file: what is written is read again to the nanosecond, and nonsense is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.recordings.recording import Interval
from fourd_perception.recordings.truth import (
    TruthError,
    read_point_classes,
    read_truth,
    write_point_classes,
    write_truth,
)

LABELS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=12)


@given(
    steps=st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**12), LABELS), max_size=8),
    origin=st.integers(0, 2 * 10**18),
)
def test_what_is_written_is_read(steps: list[tuple[int, int, str]], origin: int) -> None:
    intervals = []
    for gap, length, label in steps:
        intervals.append(Interval(origin + gap, origin + gap + length, label))
        origin += gap + length
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.csv"
        write_truth(path, intervals)
        assert read_truth(path) == tuple(intervals)
        assert [one.name for one in Path(folder).iterdir()] == ["truth.csv"]


def test_the_file_reads_as_ros_prints_stamps(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    write_truth(path, [Interval(1764000000_000000001, 1764000002_500000000, "bend")])
    assert path.read_text() == "start,end,label\n1764000000.000000001,1764000002.500000000,bend\n"


def test_short_decimals_and_spaces_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("start, end, label\n\n1, 2.5, side kick\n")
    assert read_truth(path) == (Interval(10**9, 2_500_000_000, "side kick"),)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: expected start,end,label; got an empty file"),
        ("from,to,what\n", "line 1: expected start,end,label; got from,to,what"),
        ("start,end,label\n1,2\n", "line 2: expected 3 values, got 2"),
        ("start,end,label\n1,2,a\n2,x,b\n", "line 3: expected seconds such as .* got 'x'"),
        ("start,end,label\n1,nan,a\n", "line 2: expected seconds"),
        ("start,end,label\n-1,2,a\n", "line 2: expected seconds"),
        ("start,end,label\n1,2.0000000001,a\n", "line 2: expected seconds"),
        ("start,end,label\n2,2,a\n", "line 2: ends at 2.000000000, not after its start"),
        ("start,end,label\n1,3,a\n2,4,b\n", "line 3: starts at 2.0.*before the end of the line"),
        ("start,end,label\n1,2, \n", "line 2: the label is empty"),
        ('start,end,label\n1,2,"a\n', "not a CSV file"),
    ],
)
def test_nonsense_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(TruthError, match=message) as caught:
        read_truth(path)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match="cannot be read: No such file"):
        read_truth(tmp_path / "missing.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TruthError, match="not a CSV file"):
        read_truth(binary)


def test_overlaps_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    with pytest.raises(TruthError, match="line 3"):
        write_truth(path, [Interval(1, 5, "a"), Interval(4, 6, "b")])
    assert not path.exists()


def test_names_of_point_classes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "point_classes.csv"
    write_point_classes(path, ("head", "left arm, with its hand"))
    assert read_point_classes(path) == ("head", "left arm, with its hand")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: expected number,name; got an empty file"),
        ("number,name\n1,head\n", "line 2: expected 0,<name>; got 1,head"),
        ("number,name\n0,head\n1, \n", "line 3: expected 1,<name>"),
    ],
)
def test_point_classes_that_cannot_be_meant(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "point_classes.csv"
    path.write_text(text)
    with pytest.raises(TruthError, match=says):
        read_point_classes(path)
