"""What was sent to a recognizer and what it answered, and the figures that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_perception.evaluation.metrics import accuracy, confusion_matrix, window_truth
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND


@dataclass(frozen=True)
class Answer:
    """One window's answer.

    stamp, start: of the window's newest and oldest frame, nanoseconds. top: (label, score), best
    first; empty where nothing was believed. latency_ms: from the moment the newest cloud was sent
    to the moment the answer was received, None where it is not known. truth: the action that the
    whole window lies in, if any.
    """

    stamp: int
    start: int
    top: tuple[tuple[str, float], ...]
    latency_ms: float | None
    truth: str | None

    @property
    def label(self) -> str | None:
        """The best class, or None where nothing was believed."""
        return self.top[0][0] if self.top else None

    @property
    def score(self) -> float:
        """The best class's score, 0 where nothing was believed."""
        return self.top[0][1] if self.top else 0.0

    @property
    def right(self) -> bool | None:
        """Whether it names the action; None where the window has no single action."""
        return None if self.truth is None else self.label == self.truth


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of a recording. image: (H, W, 3) uint8 RGB, or None. points: (N, 3) float32,
    metres, optical frame, NaN where there is no return."""

    stamp: int
    image: NDArray[np.uint8] | None
    points: NDArray[np.float32]


@dataclass(frozen=True)
class Session:
    """A recording that was played to a recognizer, with everything that came back.

    clouds: stamps of the clouds that were sent. windows_expected: how many answers these clouds
    make when nothing is lost and nothing is skipped. answers: in the order of their stamps.
    facts: what a reader needs to judge and repeat the figures (model, data, versions), in order.
    """

    title: str
    command: str
    classes: tuple[str, ...]
    truth: tuple[Interval, ...]
    clouds: tuple[int, ...]
    windows_expected: int
    answers: tuple[Answer, ...]
    facts: dict[str, str]
    pictures: tuple[Picture, ...] = ()

    @property
    def seconds(self) -> float:
        """From the first cloud to the last; where time jumps back, both stretches count."""
        steps = np.diff(np.array(self.clouds, np.int64))
        return int(steps[steps > 0].sum()) / SECOND

    @property
    def latencies_ms(self) -> list[float]:
        """Of the answers whose latency is known."""
        return [one.latency_ms for one in self.answers if one.latency_ms is not None]


@dataclass(frozen=True)
class Figures:
    """The figures of a session; None where nothing was there to be measured.

    windows_judged: answered windows that lie inside one action; window_accuracy is over these, in
    percent.
    actions_judged: actions with such a window; each takes the label with the greatest sum of
    scores over its windows, as video-level protocols do.
    """

    seconds: float
    clouds_sent: int
    windows_expected: int
    windows_answered: int
    windows_dropped: int
    windows_judged: int
    window_accuracy: float | None
    actions_judged: int
    action_accuracy: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None


def confusion(*sessions: Session) -> NDArray[np.int64]:
    """(K, K + 1) counts of the judged windows, as metrics.confusion_matrix gives them.

    sessions: of one model, so of one list of classes.
    """
    judged = [(one.truth, one.label)
              for session in sessions for one in session.answers
              if one.truth is not None]  # fmt: skip
    return confusion_matrix(
        [truth for truth, _ in judged], [label for _, label in judged], sessions[0].classes
    )


def figures(*sessions: Session) -> Figures:
    """Accuracy, latency and drops of one session, or of several together."""
    counts = confusion(*sessions)
    votes = [(action.label, action_label(session.answers, action))
             for session in sessions for action in session.truth]  # fmt: skip
    right = [truth == label for truth, label in votes if label is not None]
    latencies_ms = [one for session in sessions for one in session.latencies_ms]
    p50, p95, p99, most = (
        np.percentile(latencies_ms, (50, 95, 99, 100)) if latencies_ms else (math.nan,) * 4
    )
    expected = sum(one.windows_expected for one in sessions)
    answered = sum(len(one.answers) for one in sessions)
    return Figures(
        seconds=round(sum(one.seconds for one in sessions), 3),
        clouds_sent=sum(len(one.clouds) for one in sessions),
        windows_expected=expected,
        windows_answered=answered,
        windows_dropped=sum(max(one.windows_expected - len(one.answers), 0) for one in sessions),
        windows_judged=int(counts.sum()),
        window_accuracy=_known(accuracy(counts), 2),
        actions_judged=len(right),
        action_accuracy=_known(100 * sum(right) / len(right), 2) if right else None,
        latency_p50_ms=_known(p50),
        latency_p95_ms=_known(p95),
        latency_p99_ms=_known(p99),
        latency_max_ms=_known(most),
    )


def moments(session: Session) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The truth at the moments of a session's answers, -1 where there is none, and the answers, by
    the number of the class; one that believed in nothing has the number after the last.
    """
    number: dict[str | None, int] = {name: index for index, name in enumerate(session.classes)}
    here = [window_truth(one.stamp, one.stamp, session.truth) for one in session.answers]
    truth = np.array([number.get(name, -1) for name in here], np.int64)
    said = [number.get(one.label, len(number)) for one in session.answers]
    return truth, np.array(said, np.int64)


def action_label(answers: Sequence[Answer], action: Interval) -> str | None:
    """The label with the greatest sum of scores over the windows inside `action`.

    '' where those windows believed in nothing; None where the action has no window.
    """
    inside = [one for one in answers if window_truth(one.start, one.stamp, (action,))]
    sums: dict[str, float] = {}
    for answer in inside:
        for label, score in answer.top:
            sums[label] = sums.get(label, 0.0) + score
    if not inside:
        return None
    return max(sums, key=lambda label: sums[label]) if sums else ""


def _known(value: float, digits: int = 1) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
