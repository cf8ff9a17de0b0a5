"""How long two ways of doing the same thing take, one beside the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

AGREE = 1e-3
"""How far apart the two answers may lie, relative to the largest number in theirs."""


@dataclass(frozen=True)
class Patience:
    """How often something is measured.

    seconds: for each contest, more where it takes more to reach the least number of repeats, but
    no more than four times that. theirs: repeats of theirs, one where it takes over 10 s. first:
    from how many seconds on the first call of theirs, which is needed for its answer, counts too
    (it compiles nothing, it finds memory that is cold, which tells in short calls alone).
    """

    seconds: float = 6.0
    theirs: int = 3
    first: float = 5.0


QUICK = Patience(seconds=1.0, theirs=1, first=0.5)
SLOW = 10.0


@dataclass(frozen=True)
class Contest:
    """Two functions without arguments, and what they must agree in.

    theirs: None where there is nothing to compare with. answers: takes what each returned and
    gives two tensors that ought to be equal. least: repeats of ours.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None = None
    answers: Callable[[Any, Any], tuple[Tensor, Tensor]] = lambda ours, theirs: (ours, theirs)
    least: int = 3


class Disagreement(Exception):
    """Ours and theirs do not give the same: nothing wrong is timed."""


@dataclass(frozen=True)
class Spread:
    """Repeats of one measurement, seconds."""

    median: float
    low: float
    high: float
    repeats: int

    @staticmethod
    def of(seconds: Sequence[float]) -> Spread:
        """The median, and the 10th and the 90th percentile; of fewer than 10, all of them."""
        edges = (10, 90) if len(seconds) >= 10 else (0, 100)
        low, median, high = np.percentile(seconds, (edges[0], 50, edges[1]))
        return Spread(float(median), float(low), float(high), len(seconds))


@dataclass(frozen=True)
class Outcome:
    """What came of a contest; difference: relative, None where there was nothing to compare."""

    ours: Spread
    theirs: Spread | None = None
    difference: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as long theirs takes."""
        return self.theirs.median / self.ours.median if self.theirs else None


@dataclass
class _Side:
    run: Callable[[], Any]
    taken: list[float] = field(default_factory=list)

    def go(self) -> Any:
        start = time.perf_counter()
        answer = self.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.taken.append(time.perf_counter() - start)
        return answer


def hold(contest: Contest, patience: Patience) -> Outcome:
    """Check that both give the same, then measure them in turns. Raises Disagreement."""
    ours = _Side(contest.ours)
    answer = ours.go()
    ours.taken.clear()  # it may have compiled something
    if contest.theirs is None:
        _take_turns(ours, None, contest.least, patience)
        return Outcome(Spread.of(ours.taken))
    theirs = _Side(contest.theirs)
    difference = relative_difference(*contest.answers(answer, theirs.go()))
    if not difference <= AGREE:
        raise Disagreement(f"ours and theirs differ by {difference:.2g}, {AGREE:g} is allowed")
    if theirs.taken[0] < patience.first:
        theirs.taken.clear()
    _take_turns(ours, theirs, contest.least, patience)
    return Outcome(Spread.of(ours.taken), Spread.of(theirs.taken), difference)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference over the largest number of theirs; infinite if the shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    scale = float(theirs.double().abs().max())
    return float((ours.double() - theirs.double()).abs().max()) / (scale or 1.0)


def _take_turns(ours: _Side, theirs: _Side | None, least: int, patience: Patience) -> None:
    """Up to five of ours, as long as they take no longer than one of theirs; one of theirs."""
    start = time.perf_counter()
    while True:
        spent = time.perf_counter() - start
        few = len(ours.taken) < min(3, least) or (theirs is not None and not theirs.taken)
        enough = len(ours.taken) >= least and _enough(theirs, patience)
        if not few and spent > patience.seconds * (1 if enough else 4):
            return
        ours.go()
        if theirs is None:
            continue
        slow = theirs.taken[0] if theirs.taken else 0.0
        more = min(4, int(slow / max(ours.taken[-1], 1e-9)))
        for _ in range(more):
            ours.go()
        if not (slow > SLOW and _enough(theirs, patience)):
            theirs.go()


def _enough(theirs: _Side | None, patience: Patience) -> bool:
    if theirs is None:
        return True
    slow = bool(theirs.taken) and theirs.taken[0] > SLOW
    return len(theirs.taken) >= (1 if slow else patience.theirs)
