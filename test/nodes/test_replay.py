from __future__ import annotations

import os
import signal

import pytest

pytest.importorskip("rclpy")

from fourd_perception.nodes.replay import Signals


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
