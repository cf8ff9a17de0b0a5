"""Which points of each frame the models are shown: cropped, before the background, of one person
or of several.

The same for the nodes, for evaluate_bag and for whoever trains; no ROS in it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from fourd_perception.looking.background import Background, PixelBackground, VoxelBackground
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.crop import Crop
from fourd_perception.looking.people import PeopleFollower
from fourd_perception.looking.person import PersonFollower
from fourd_perception.looking.transforms import (
    IDENTITY,
    NoTransform,
    Transform,
    TransformBuffer,
    TransformLookup,
)
from fourd_perception.stream.frame import LATE, SECOND, Frame

LEARNING = "while the background is learnt"
"""The reason to leave frames out that is no fault."""

_GAP = 10 * SECOND
"""After so long without a frame, nothing that was learnt is believed any more."""
_MOST_WAIT = 64
"""Frames that wait for their transform, at most."""


@dataclass(frozen=True, eq=False)
class Sight:
    """A frame with what is to be seen of it, and the frame that it was made of."""

    frame: Frame
    of: Frame


class Look:
    """Frames in, frames with `Frame.shown` out, in the order of their stamps. Not thread-safe.

    Every stamp comes out once or is counted in `skipped`: while the background is learnt, where
    there is no transform, where a frame is late. A frame that comes out may still show no point.
    """

    def __init__(self, config: LookConfig, transforms: TransformLookup | None = None) -> None:
        """transforms: who knows them, where there is a crop_frame; without, nobody."""
        self.config = config
        self.skipped: Counter[str] = Counter()
        """Frames that did not come out, by the reason."""
        self.restarts = 0
        """How often the background was learnt anew, or somebody new was followed."""
        self.restart_reason = ""
        self._details: dict[str, str] = {}
        self._transforms = transforms or TransformBuffer()
        self._crop = Crop(config)
        self._background: Background | None = None
        self._learning_since: int | None = None
        self._person: PersonFollower | None = None
        self._people: PeopleFollower | None = None
        self._numbers = count(1)
        self.clear()

    def clear(self) -> None:
        """Forget all that was learnt and who was followed, without counting it."""
        self._waiting: deque[Frame] = deque()
        self._last: int | None = None
        self._camera: tuple[str, int, int] | None = None
        self._begins = ""
        self._shown: tuple[int, int] | None = None
        self._forget()

    def warm_up(self) -> None:
        """Compile the kernels that will be used."""
        other = Look(replace(self.config, crop_frame="", background_seconds=min(
            self.config.background_seconds, 1e-3)))  # fmt: skip
        for rows in (1, 2):
            other.clear()
            points = np.random.default_rng(0).random((8, 3), np.float32)
            for stamp in range(1, 8):
                other.push(Frame(stamp * SECOND // 100, "", points, rows=rows))

    def push(self, frame: Frame) -> list[Sight]:
        """Take a frame; what is ready then, of it and of those that waited."""
        if self._last is not None:
            interval = frame.stamp - self._last
            if -LATE <= interval <= 0:
                self._skip("late or repeated", f"{-interval / SECOND:.3f} s behind the one before")
                return []
            if interval < 0:
                self._jump(f"time jumped back by {-interval / SECOND:.3f} s")
            elif interval > _GAP:
                self._jump(f"no frame for {interval / SECOND:.3f} s")
        self._last = frame.stamp
        self._waiting.append(frame)
        return self.poll()

    def poll(self, *, last: bool = False) -> list[Sight]:
        """What is ready, after transforms have come. last: nothing more will come."""
        ready = []
        while self._waiting:
            frame = self._waiting[0]
            try:
                to_box = self._to_box(frame)
            except NoTransform as error:
                if error.later and not last and self._may_wait(frame):
                    break
                self._waiting.popleft()
                self._skip(error.reason, str(error))
                continue
            self._waiting.popleft()
            seen = self._see(frame, to_box)
            if seen is not None:
                ready.append(Sight(seen, frame))
        return ready

    @property
    def state(self) -> str:
        """What there is to wait for, in words: 'learning background 1.2/3 s'; else empty."""
        if self._background is not None and not self._background.learnt:
            whole = self.config.background_seconds
            passed = 0.0
            if self._learning_since is not None and self._last is not None:
                passed = max(0.0, (self._last - self._learning_since) / SECOND)
            return f"learning background {min(passed, whole):.1f}/{whole:g} s"
        if self._waiting:
            return f"frames that wait for their transform to {self._target}: {len(self._waiting)}"
        return ""

    def values(self) -> dict[str, str]:
        """What it sees and has left out, for diagnostics."""
        values = {}
        if self._shown is not None:
            values["look: points shown"] = f"{self._shown[0]} of {self._shown[1]}"
        if self._background is not None:
            values["look: background"] = self.state or "learnt"
        if self._person is not None:
            seen = self._person.distance
            values["look: person"] = "nobody" if seen is None else (
                f"{seen:.2f} m away, {self._person.others} others"
            )  # fmt: skip
        if self._people is not None:
            values["look: people"] = self._people.text()
        values["look: restarts"] = str(self.restarts)
        if self.restarts:
            values["look: last restart"] = self.restart_reason
        return values | {f"look: skipped: {why}": str(n) for why, n in self.skipped.items()}

    def said(self, besides: Collection[str] = ()) -> list[str]:
        """A line on each reason to leave frames out, with the first one's detail. besides: reasons
        that are known already."""
        return [
            f"{count} frames left out: {reason}: {self._details[reason]}"
            for reason, count in sorted(self.skipped.items())
            if reason not in besides
        ]

    @property
    def _target(self) -> str:
        return self.config.crop_frame.lstrip("/")

    def _to_box(self, frame: Frame) -> Transform:
        """Raises NoTransform."""
        source = frame.frame_id.lstrip("/")
        if not self._target or self._target == source:
            return IDENTITY
        if not source:
            raise NoTransform(
                "no frame_id", f"the cloud has no frame_id, crop_box is in {self._target}",
                later=False,
            )  # fmt: skip
        return self._transforms.lookup(self._target, source, frame.stamp)

    def _may_wait(self, frame: Frame) -> bool:
        newest = self._waiting[-1].stamp
        within = newest - frame.stamp <= round(self.config.transform_timeout * SECOND)
        return within and len(self._waiting) <= _MOST_WAIT

    def _see(self, frame: Frame, to_box: Transform) -> Frame | None:
        """The frame with what is shown of it; None while there is nothing to show."""
        if len(frame.points):  # an empty cloud says nothing of the camera
            organised = len(frame.points) if frame.rows > 1 else 0
            camera = (frame.frame_id, frame.rows, organised)
            if self._camera is not None and camera != self._camera:
                self._restart(_difference(self._camera, camera))
            self._camera = camera
        shown = self._crop.inside(frame.points, to_box)
        if self.config.background_seconds:
            foreground = self._foreground(frame)
            if foreground is None:
                return None
            shown &= foreground
        if self._person is not None:
            shown = self._person.follow(frame.points, shown, frame.stamp)
            if self._person.new:
                self._tell_restart("somebody else is followed")
        people = None
        if self._people is not None:
            people = self._people.follow(frame.points, shown, frame.stamp)
            shown = np.zeros(len(shown), np.bool_)
            for one in people:
                shown |= one.shown
        self._shown = int(np.count_nonzero(shown)), len(shown)
        begins, self._begins = self._begins, ""
        return replace(frame, shown=shown, begins=begins, people=people)

    def _foreground(self, frame: Frame) -> NDArray[np.bool_] | None:
        """None while it is learnt, or cannot be."""
        if not len(frame.points):
            if self._background is None or not self._background.learnt:
                self._skip(LEARNING, "an empty cloud")
                return None
            return np.zeros(0, np.bool_)
        if self._background is None:
            method = self.config.background_method
            if method == "pixels" and frame.rows <= 1:
                self._skip(
                    "not organised",
                    f"background_method pixels needs an organised cloud, and this one has "
                    f"{len(frame.points)} points in one row: set it to voxels or auto",
                )
                return None
            by_pixels = method != "voxels" and frame.rows > 1
            self._background = (PixelBackground if by_pixels else VoxelBackground)(self.config)
            self._learning_since = frame.stamp
        if not self._background.learnt:
            self._background.learn(frame)
            seconds = self.config.background_seconds
            self._skip(LEARNING, f"the first {seconds:g} s")
            return None
        foreground = self._background.foreground(frame)
        if self._background.moved:
            self._restart("the camera has moved: the background is learnt anew")
            return self._foreground(frame)
        return foreground

    def _jump(self, reason: str) -> None:
        for _ in self._waiting:
            self._skip("time jumped while they waited for a transform", reason)
        self._waiting.clear()
        self._restart(reason)

    def _restart(self, reason: str) -> None:
        self._forget()
        self._tell_restart(reason)

    def _tell_restart(self, reason: str) -> None:
        self.restarts += 1
        self.restart_reason = self._begins = reason

    def _forget(self) -> None:
        self._background = self._learning_since = None
        self._person = self._people = None
        if self.config.people > 1:
            self._people = PeopleFollower(self.config, self._numbers)
        elif self.config.person != "all":
            self._person = PersonFollower(self.config)

    def _skip(self, reason: str, detail: str) -> None:
        self.skipped[reason] += 1
        self._details.setdefault(reason, detail)


def _difference(before: tuple[str, int, int], now: tuple[str, int, int]) -> str:
    if before[0] != now[0]:
        return f"the clouds' frame_id changed from '{before[0]}' to '{now[0]}'"
    sizes = [
        f"{count // rows} x {rows}" if count else "not organised"
        for _, rows, count in (before, now)
    ]
    return f"the clouds' size changed from {sizes[0]} to {sizes[1]}"
