"""A sliding window in time: frames come in at the camera's rate, clips go out at the model's."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fourd_perception.parameters import param
from fourd_perception.stream.frame import LATE, SECOND, Frame

_MAX_GAP_PERIODS = 4
_INTERVALS_REMEMBERED = 9
_INTERVALS_TO_TRUST = 3


@dataclass(frozen=True)
class ClipConfig:
    """The frames that a model wants at once; part of every checkpoint."""

    frames: int = param(24, "frames in a clip", at_least=1, at_most=512)
    frame_step: int = param(
        1, "take every n-th frame of a camera at `rate`", at_least=1, at_most=1000
    )
    rate: float = param(
        30.0, "rate of the camera the model was trained with", unit="Hz", at_least=0.1, at_most=1e3
    )

    @property
    def period(self) -> int:
        """Nanoseconds from one frame of a clip to the next."""
        return round(self.frame_step / self.rate * SECOND)


@dataclass(frozen=True)
class Clip:
    """`ClipConfig.frames` frames, oldest first, at `ClipConfig.period`."""

    frames: tuple[Frame, ...]

    @property
    def newest(self) -> Frame:
        """The frame that a result of this clip speaks of."""
        return self.frames[-1]


class SlidingWindow:
    """Cuts clips out of a stream of frames. Not thread-safe.

    Clips lie on a grid of moments, one `ClipConfig.period` apart, that starts with the first frame;
    at each moment stands the frame that is nearest in time. So a camera of any rate gives clips of
    the duration that the model knows, and a few lost frames leave the others where they belong.
    A moment shortly after a frame does not wait for the next one, if that is expected to be
    further away (by the shortest of the last intervals).
    A jump back in time, or a gap of more than four periods and half a second, empties the window,
    and so does a frame that says that something new begins with it.
    """

    def __init__(
        self, clip: ClipConfig, stride: int = 1, keep: Callable[[Frame], Frame] | None = None
    ) -> None:
        """stride: moments of the grid from one clip to the next. keep: what is kept in place of a
        frame that a moment takes; called once for each.
        """
        if stride < 1:
            raise ValueError(f"stride: expected at least 1, got {stride}")
        self.clip = clip
        self.stride = stride
        self._keep = keep or _as_it_is
        self.resets = 0
        """How often a jump or a gap emptied the window."""
        self.reset_reason = ""
        """Why it was last emptied."""
        self.ignored = 0
        """Frames that came late, or with the stamp of the one before."""
        self._intervals: deque[int] = deque(maxlen=_INTERVALS_REMEMBERED)
        self.clear()

    def clear(self) -> None:
        """Forget all frames, without counting it; the next one starts a new grid."""
        self._moments: deque[Frame] = deque(maxlen=self.clip.frames)
        self._taken: Frame | None = None
        self._last: Frame | None = None
        self._due = 0
        self._until_next_clip = self.clip.frames

    @property
    def filled(self) -> int:
        """How many of the clip's frames are there."""
        return len(self._moments)

    @property
    def camera_rate(self) -> float | None:
        """The stream's rate in Hz, from the median of the last intervals; None until known."""
        return SECOND / statistics.median(self._intervals) if self._intervals else None

    def reset(self, reason: str) -> None:
        """Clear the window, count it and remember why."""
        self.clear()
        self.resets += 1
        self.reset_reason = reason

    def push(self, frame: Frame) -> Clip | None:
        """Take one frame; give a clip if this frame completes one (the newest of several)."""
        if self._last is not None:
            interval = frame.stamp - self._last.stamp
            if -LATE <= interval <= 0 and not frame.begins:
                self.ignored += 1
                return None
            longest = max(_MAX_GAP_PERIODS * self.clip.period, SECOND // 2)
            if interval > 0:
                self._intervals.append(interval)
            else:
                self._intervals.clear()
            if frame.begins:
                self.reset(frame.begins)
            elif interval < 0:
                self.reset(f"time jumped back by {-interval / SECOND:.3f} s")
            elif interval > longest:
                self.reset(f"no frame for {interval / SECOND:.3f} s")
        clip = self._decide(frame)
        self._last = frame
        return clip

    def _decide(self, frame: Frame) -> Clip | None:
        """Put the nearest frame at every moment that `frame` decides; the last clip completed."""
        last, ahead = self._last, 0
        if last is None:
            last, self._due = frame, frame.stamp
        elif len(self._intervals) >= _INTERVALS_TO_TRUST:
            ahead = min(self._intervals) // 2
        clip = None
        while self._due <= frame.stamp + ahead:
            before, after = self._due - last.stamp, abs(frame.stamp - self._due)
            self._take(last if before <= after else frame)
            self._due += self.clip.period
            self._until_next_clip -= 1
            if self._until_next_clip == 0:
                self._until_next_clip = self.stride
                clip = Clip(tuple(self._moments))
        return clip

    def _take(self, frame: Frame) -> None:
        """Put a frame at the next moment; one that stood at the moment before is kept already."""
        again = frame is self._taken
        self._moments.append(self._moments[-1] if again else self._keep(frame))
        self._taken = frame


def _as_it_is(frame: Frame) -> Frame:
    return frame
