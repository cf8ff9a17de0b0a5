from __future__ import annotations

import io
import os
import signal

import pytest

pytest.importorskip("rclpy")

from fourd_perception.nodes.replay import Signals, Steps


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_whose_exception_was_lost_is_told_again(number, error):
    before = signal.getsignal(number)
    with Signals() as signals:
        signals.check()
        with pytest.raises(error):
            os.kill(os.getpid(), number)
        with pytest.raises(error) as told:
            signals.check()
    if number == signal.SIGTERM:
        assert told.value.code == 143
    assert signal.getsignal(number) is before


class Player(io.BytesIO):
    """The stdin of a player: the lines that it was given, also after it was closed."""

    lines = 0

    def write(self, text):
        self.lines += text.count(b"\n")
        return len(text)


def test_a_cloud_goes_when_the_answers_before_it_are_there():
    player = Player()
    steps = Steps(player, due=[3, 3, 5])  # the third cloud brings two answers
    steps.allow(0)
    assert player.lines == 3
    steps.allow(1)
    assert player.lines == 3
    steps.allow(2)
    assert player.lines == 5 and not player.closed
    steps.allow(3)
    assert player.closed  # the others may go as they come


def test_an_answer_that_never_comes_does_not_hold_it_for_ever(monkeypatch):
    monkeypatch.setattr("fourd_perception.nodes.replay._ANSWER_WITHIN", 0.0)
    player = Player()
    steps = Steps(player, due=[1, 2, 3, 4, 5, 6])
    for _ in range(10):
        steps.allow(0)
    assert player.closed and player.lines < 6
