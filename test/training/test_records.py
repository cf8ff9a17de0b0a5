"""What a run says while it works."""

from __future__ import annotations

import threading

from training import records
from training.records import Progress


def validate():
    """As long as it takes until it has been said, if it is to be."""
    for one in threading.enumerate():
        if isinstance(one, threading.Timer) and records._LONG == 0:
            one.join()


def test_a_long_validation_is_said_in_a_log(monkeypatch, capfd):
    monkeypatch.setattr(records, "_LONG", 0)
    with Progress(10, 5, 0, shown=True) as progress, progress.validating(3):
        validate()
    assert capfd.readouterr().err == "epoch 3 of 10: validating ...\n"


def test_only_by_the_process_that_speaks(monkeypatch, capfd):
    monkeypatch.setattr(records, "_LONG", 0)
    with Progress(10, 5, 0, shown=False) as progress, progress.validating(3):
        validate()
    assert capfd.readouterr().err == ""


def test_a_short_validation_is_not_said_and_leaves_nothing_behind(capfd):
    with Progress(10, 5, 0, shown=True) as progress, progress.validating(3):
        validate()
    for one in threading.enumerate():
        if isinstance(one, threading.Timer):
            one.join(30)
            assert not one.is_alive()
    assert capfd.readouterr().err == ""
