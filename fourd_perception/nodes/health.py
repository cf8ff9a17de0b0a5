"""What a perception node counts and measures, and what follows from it in words. No ROS here."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from enum import IntEnum

from fourd_perception.checkpoint import ModelCard
from fourd_perception.stream.window import ClipConfig

SILENT_AFTER = 5.0
"""Seconds without a message after which an active node says so."""

_REMEMBERED = 100
_TOO_SLOW = 0.9
_TOO_MANY_SKIPPED = 0.1
_PLAUSIBLE_LATENCY_MS = 60_000.0


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Health:
    """Counters of one configured node. Safe to use from the receiving and the inferring thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals: deque[float] = deque(maxlen=_REMEMBERED)
        self._rejected: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._processing: deque[float] = deque(maxlen=_REMEMBERED)
        self._waits: deque[float] = deque(maxlen=_REMEMBERED)
        self._silent_since = time.monotonic()
        self._at_last_report = (0, 0, 0)
        self._failed_since: Counter[str] = Counter()
        self._received = 0
        self.answered = 0
        self.skipped = 0
        self.unwanted = 0

    def listen(self) -> None:
        """From now on, messages are expected."""
        with self._lock:
            self._silent_since = time.monotonic()
            self._arrivals.clear()

    def arrived(self) -> float:
        """A message came; returns when, on the monotonic clock."""
        with self._lock:
            self._silent_since = time.monotonic()
            self._arrivals.append(self._silent_since)
            self._received += 1
            return self._silent_since

    @property
    def silence(self) -> float:
        """Seconds since the last message, or since messages are expected."""
        with self._lock:
            return time.monotonic() - self._silent_since

    def reject(self, reason: str) -> bool:
        """Count a message that cannot be used; True the first time for this reason."""
        with self._lock:
            self._rejected[reason] += 1
            return self._rejected[reason] == 1

    def fail(self, error: Exception) -> bool:
        """Count an exception that should not have been; True the first time for its type."""
        with self._lock:
            self._failures[type(error).__name__] += 1
            self._failed_since[type(error).__name__] += 1
            return self._failures[type(error).__name__] == 1

    def skip(self) -> None:
        """Count a window that was replaced by a newer one before its turn came."""
        with self._lock:
            self.skipped += 1

    def leave(self) -> None:
        """Count a window that nobody subscribes to the answer of."""
        with self._lock:
            self.unwanted += 1

    def answer(self, latency_ms: float, processing_ms: float, wait_ms: float) -> None:
        """Count an answer. latency: stamp to answer on the node's clock; wait: arrival to answer.

        A latency that cannot be one (the sensor's clock is not the node's) is left out.
        """
        with self._lock:
            self.answered += 1
            self._processing.append(processing_ms)
            self._waits.append(wait_ms)
            if is_latency(latency_ms):
                self._latencies.append(latency_ms)

    def values(self) -> dict[str, str]:
        """Everything counted, for DiagnosticStatus.values."""
        with self._lock:
            values = {
                "messages received": str(self._received),
                "messages per second": f"{_rate(self._arrivals):.1f}",
                "windows answered": str(self.answered),
                "windows skipped": str(self.skipped),
                "windows without subscriber": str(self.unwanted),
                "latency median [ms]": _median(self._latencies),
                "processing median [ms]": _median(self._processing),
                "arrival to answer median [ms]": _median(self._waits),
                "messages rejected": str(self._rejected.total()),
                "exceptions": str(self._failures.total()),
            }
            values |= {f"rejected: {reason}": str(n) for reason, n in self._rejected.items()}
            values |= {f"exception: {name}": str(n) for name, n in self._failures.items()}
            return values

    def worries(self) -> list[tuple[Level, str]]:
        """What went wrong since this was last asked, worst first."""
        with self._lock:
            now = self._rejected.total(), self.skipped, self.answered
            rejected, skipped, answered = (new - old for new, old in zip(now, self._at_last_report))
            self._at_last_report = now
            failed, self._failed_since = self._failed_since, Counter()
        found = []
        if failed:
            names = ", ".join(failed)
            found.append((Level.ERROR, f"{failed.total()} exceptions ({names}), see the log"))
        if rejected:
            found.append((Level.WARN, f"{rejected} messages rejected"))
        if skipped > _TOO_MANY_SKIPPED * (skipped + answered):
            found.append(
                (Level.WARN, f"{skipped} windows skipped, {answered} answered: raise stride")
            )
        return found


def is_latency(milliseconds: float) -> bool:
    """False where the sensor's clock cannot be the node's."""
    return 0.0 <= milliseconds <= _PLAUSIBLE_LATENCY_MS


def rate_advice(card: ModelCard, clip: ClipConfig, camera_rate: float, topic: str) -> str | None:
    """What to do if the camera is slower than the model wants; None if it is not."""
    wanted = clip.frame_step / clip.rate
    if camera_rate >= _TOO_SLOW / wanted:
        return None
    remedy = "raise the camera's rate"
    step = round(clip.rate / camera_rate)
    if step > clip.frame_step:
        longer = step / clip.frame_step
        remedy += f", or set frame_step to {step} (a window then lasts {longer:.2g} times as long)"
    return (
        f"{card.name} wants {clip.frames} frames at {1 / wanted:g} Hz; {topic} runs at "
        f"{camera_rate:.3g} Hz: {remedy}"
    )


def _rate(arrivals: deque[float]) -> float:
    """Messages a second over those remembered, down to now, so that it falls when they stop."""
    if not arrivals:
        return 0.0
    return len(arrivals) / max(time.monotonic() - arrivals[0], 1e-3)


def _median(values: deque[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "not known"
