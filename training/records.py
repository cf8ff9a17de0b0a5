"""What a run leaves in its folder and says on the terminal."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fourd_perception.whole_file import written

FILE_NAME = "metrics.jsonl"
_LONG = 5.0
"""Seconds without a word, after which what goes on is said."""


def read_records(folder: Path, up_to: float = math.inf) -> list[dict[str, Any]]:
    """The records of `folder/metrics.jsonl` up to an epoch; without a line that was cut off."""
    path = folder / FILE_NAME
    lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
    records = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            if float(record["epoch"]) <= up_to:
                records.append(record)
    return records


class Records:
    """metrics.jsonl, a line an epoch, and TensorBoard's events where it is installed."""

    def __init__(self, folder: Path, epochs_done: int) -> None:
        """Forgets what was recorded after the epoch that the run goes on from."""
        self._path = folder / FILE_NAME
        self._lines = [json.dumps(record) for record in read_records(folder, epochs_done)]
        self._write()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        """Add an epoch. Raises InputError if it cannot be written."""
        self._lines.append(json.dumps({"epoch": epoch, **figures}))
        self._write()
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, epoch)

    def _write(self) -> None:
        with written(self._path) as part:
            part.write_text("".join(line + "\n" for line in self._lines), encoding="utf-8")


class Progress:
    """On a terminal a bar with the time that is left; elsewhere, as in a log, a line an epoch."""

    def __init__(self, epochs: int, steps_per_epoch: int, epochs_done: int, shown: bool) -> None:
        self._epochs, self._begun, self._started = epochs, epochs_done, time.monotonic()
        on_terminal = sys.stderr.isatty()
        self._lines = shown and not on_terminal
        self._bar = tqdm(
            total=epochs * steps_per_epoch, initial=epochs_done * steps_per_epoch,
            unit="step", smoothing=0.1, disable=not (shown and on_terminal),
        )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self, epoch: int, loss: float) -> None:
        """A step of an epoch, counted from 1, is done."""
        self._bar.set_description(f"epoch {epoch} loss {loss:.3f}", refresh=False)
        self._bar.update()

    @contextlib.contextmanager
    def validating(self, epoch: int) -> Iterator[None]:
        """Say so if it takes long."""
        timer = threading.Timer(_LONG, self._say_validating, [epoch])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _say_validating(self, epoch: int) -> None:
        self._bar.set_description(f"epoch {epoch} validating")
        if self._lines:
            print(f"epoch {epoch} of {self._epochs}: validating ...", file=sys.stderr, flush=True)

    def epoch(self, epoch: int, figures: dict[str, float]) -> None:
        """An epoch is done."""
        self._bar.set_postfix(
            {name: f"{value:.3g}" for name, value in figures.items()}, refresh=False
        )
        if self._lines:
            spent = time.monotonic() - self._started
            left = spent / (epoch - self._begun) * (self._epochs - epoch)
            said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(
                f"epoch {epoch} of {self._epochs}: {said}; {tqdm.format_interval(left)} left",
                file=sys.stderr, flush=True,
            )  # fmt: skip
