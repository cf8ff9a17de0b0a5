"""What the terminal shows of answers that come in."""

from __future__ import annotations

import io

import pytest

from fourd_perception.evaluation.live_view import LiveView
from fourd_perception.evaluation.session import Answer
from fourd_perception.stream.frame import SECOND


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(out: io.StringIO) -> None:
    with LiveView(first_stamp=10 * SECOND, out=out) as live:
        for second, label, score, truth in (
            (11, "bend", 0.5, "bend"),
            (12, "bend", 0.9, "bend"),
            (13, "bend", 0.7, None),
            (14, "wave", 0.6, "kick"),
        ):
            top = ((label, score),)
            live.show(Answer(second * SECOND, (second - 1) * SECOND, top, 1.0, truth))
        live.show(Answer(15 * SECOND, 14 * SECOND, (), 1.0, "kick"))


def test_a_file_gets_the_first_answer_of_every_run() -> None:
    out = io.StringIO()
    show(out)
    rows = [line.split() for line in out.getvalue().splitlines()[2:]]
    assert rows == [
        ["1.00s", "bend", "0.50", "✓", "bend"],
        ["3.00s", "bend", "0.70", "(between", "two", "actions)"],
        ["4.00s", "wave", "0.60", "✗", "kick"],
        ["5.00s", "-", "0.00", "✗", "kick"],
    ]


def test_on_a_terminal_a_line_follows_its_run() -> None:
    out = Terminal()
    show(out)
    lines = out.getvalue().split("\n")[2:]
    assert lines[0].count("\r") == 1 and "0.90" in lines[0].rpartition("\r")[2]
    assert len(lines) == 5 and lines[-1] == "", "four runs, and the cursor on a line of its own"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_without_answers_there_is_a_head_alone(kind) -> None:
    out = kind()
    with LiveView(0, out):
        pass
    assert out.getvalue().count("\n") == 2 and "truth" in out.getvalue()
