"""Answers in a terminal, as they come."""

from __future__ import annotations

from typing import TextIO

from fourd_perception.evaluation.session import Answer
from fourd_perception.stream.frame import SECOND

_WIDTH = 72


class LiveView:
    """A line for every run of the same answer to the same action; a context manager."""

    def __init__(self, first_stamp: int, out: TextIO) -> None:
        self._first = first_stamp
        self._out = out
        self._run: tuple[str | None, str | None] | None = None

    def __enter__(self) -> LiveView:
        print(f"\n{'time':>8}  {'answer':<24}{'score':>6}    truth", file=self._out, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._run is not None and self._out.isatty():
            print(file=self._out)

    def show(self, answer: Answer) -> None:
        """On a terminal a run's line follows its newest answer; elsewhere it is its first."""
        run, terminal = (answer.label, answer.truth), self._out.isatty()
        going_on = run == self._run
        if going_on and not terminal:
            return
        mark = {True: "✓", False: "✗", None: " "}[answer.right]
        line = (
            f"{(answer.stamp - self._first) / SECOND:7.2f}s  {answer.label or '-':<24}"
            f"{answer.score:6.2f}  {mark} {answer.truth or '(between two actions)'}"
        )
        if not terminal:
            print(line, file=self._out, flush=True)
        else:
            start = "\r" if going_on else "" if self._run is None else "\n"
            print(f"{start}{line:<{_WIDTH}}", end="", file=self._out, flush=True)
        self._run = run
