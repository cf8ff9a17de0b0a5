"""The figures of a session, against a case worked out by hand."""

from __future__ import annotations

import pytest

from fourd_perception.evaluation.session import Answer, Session, action_label, figures
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND

BEND = Interval(0, 4 * SECOND, "bend")
KICK = Interval(4 * SECOND, 8 * SECOND, "kick")
WAVE = Interval(8 * SECOND, 9 * SECOND, "wave")


def answer(second: float, truth: str | None, *top: tuple[str, float], latency=10.0) -> Answer:
    """The answer for the window of the two seconds before `second`."""
    stamp = round(second * SECOND)
    return Answer(stamp, stamp - 2 * SECOND, top, latency, truth)


def session(*answers: Answer, expected: int = 8) -> Session:
    return Session(
        title="a session",
        command="demo",
        classes=("bend", "kick", "wave"),
        truth=(BEND, KICK, WAVE),
        clouds=tuple(range(0, 9 * SECOND, SECOND // 10)),
        windows_expected=expected,
        answers=answers,
        facts={},
    )


def test_figures_by_hand() -> None:
    # Five windows lie inside an action, three of them are named right: 0.6. Bend's two windows
    # give bend 0.5 + 0.3 and kick 0.4 + 0.6: it is taken for a kick. Kick's give kick 0.9 + 0.4,
    # wave 0.5: right. Wave is too short for a window. So one of two actions.
    measured = figures(
        session(
            answer(2.0, "bend", ("bend", 0.5), ("kick", 0.4), latency=10.0),
            answer(3.0, "bend", ("kick", 0.6), ("bend", 0.3), latency=20.0),
            answer(5.0, None, ("wave", 0.9), latency=30.0),
            answer(6.0, "kick", ("kick", 0.9), latency=None),
            answer(7.0, "kick", ("wave", 0.5), ("kick", 0.4), latency=40.0),
            answer(7.5, "kick", ("kick", 0.1), latency=50.0),
        )
    )
    assert (measured.windows_judged, measured.window_accuracy) == (5, 60.0)
    assert (measured.actions_judged, measured.action_accuracy) == (2, 50.0)
    assert (measured.windows_answered, measured.windows_dropped) == (6, 2)
    assert (measured.latency_p50_ms, measured.latency_max_ms) == (30.0, 50.0)
    assert (measured.seconds, measured.clouds_sent) == (8.9, 90)


def test_a_window_without_belief_is_a_wrong_answer() -> None:
    measured = figures(session(answer(2.0, "bend"), answer(3.0, "bend", ("bend", 0.7))))
    assert measured.window_accuracy == 50.0
    silent = figures(session(answer(2.0, "bend")))
    assert (silent.window_accuracy, silent.action_accuracy) == (0.0, 0.0)


def test_without_answers_nothing_is_measured() -> None:
    measured = figures(session())
    assert measured.window_accuracy is None and measured.latency_p99_ms is None
    assert measured.action_accuracy is None and measured.windows_dropped == 8


@pytest.mark.parametrize(
    "stamps, expected",
    [((2.0,), "bend"), ((), None), ((4.5,), None)],  # 4.5 reaches into the kick
)
def test_only_windows_inside_an_action_vote_for_it(stamps, expected) -> None:
    answers = [answer(second, "bend", ("bend", 0.5)) for second in stamps]
    assert action_label(answers, BEND) == expected
