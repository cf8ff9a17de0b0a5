"""A live run of a bag against the offline one: what was lost, what came otherwise, how late."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-3
"""A score that differs by more is of other frames; by less, perhaps only of another device."""


@dataclass(frozen=True)
class Said:
    """An answer, made comparable. stamp: of the frame that it speaks of, nanoseconds. what: the
    best class, or the digest of a cloud's labels. score: the best class's; 0 for clouds.
    latency_ms: None where it is not known, as it is offline."""

    stamp: int
    what: str
    score: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class LiveDifference:
    """What a live run said otherwise than the offline run of the same bag.

    offline, live: how many answers each gave. lost: offline only. strange: live only, as when its
    windows began at another cloud. changed: both, but of another class, or with other labels.
    rescored: both, of the same class, but with another score: the model saw other frames, as where
    the node skipped a window and spoke of its frames with the next one, or a cloud was lost.
    score_difference: the largest of the best class's score. latency: from the sending of the cloud
    to the arrival of the answer, milliseconds.
    """

    offline: int
    live: int
    lost: int
    strange: int
    changed: int
    rescored: int
    score_difference: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None

    @property
    def is_zero(self) -> bool:
        """Whether the same was said of the same frames."""
        return not (self.lost or self.strange or self.changed or self.rescored)

    def text(self) -> str:
        """In a sentence."""
        late = "" if self.latency_p50_ms is None else (
            f"; median latency {self.latency_p50_ms:.0f} ms, 99 % within "
            f"{self.latency_p99_ms:.0f} ms"
        )  # fmt: skip
        if self.is_zero:
            return f"live, over DDS: the same {self.live} answers{late}"
        return (
            f"live, over DDS: {self.live} answers, offline {self.offline}; {self.lost} lost, "
            f"{self.changed} changed, {self.rescored} out of another window, "
            f"{self.strange} of other frames{late}"
        )


def difference(offline: Sequence[Said], live: Sequence[Said]) -> LiveDifference:
    """Answers are paired by their stamps; of two live ones with one stamp the last counts."""
    ours, theirs = ({one.stamp: one for one in side} for side in (offline, live))
    both = ours.keys() & theirs.keys()
    same = [stamp for stamp in both if ours[stamp].what == theirs[stamp].what]
    late = [one.latency_ms for one in theirs.values() if one.latency_ms is not None]
    p50, p99 = np.percentile(late, (50, 99)).round(1).tolist() if late else (None, None)
    return LiveDifference(
        offline=len(ours),
        live=len(theirs),
        lost=len(ours.keys() - both),
        strange=len(theirs.keys() - both),
        changed=len(both) - len(same),
        rescored=sum(abs(ours[stamp].score - theirs[stamp].score) > _ROUNDING for stamp in same),
        score_difference=max(
            (abs(ours[stamp].score - theirs[stamp].score) for stamp in both), default=0.0
        ),
        latency_p50_ms=p50,
        latency_p99_ms=p99,
    )


def labels_digest(labels: NDArray[np.integer]) -> str:
    """The same text for the same labels in the same order, whatever their type. labels: (N,)."""
    content = np.ascontiguousarray(labels, "<u4").tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
