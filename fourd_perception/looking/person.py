"""One person among the bodies in view, and the same one from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_perception.looking.bodies import Bodies, find_bodies
from fourd_perception.looking.config import LookConfig
from fourd_perception.stream.frame import SECOND

LOST_AFTER = SECOND
"""Somebody who was not seen for longer is gone; whoever is seen then is another one."""
_REACH = 0.3
_SPEED = 2.0
_STRIDE = 0.25
"""A body this far, metres, from where a person was is them; and farther by a speed, metres a
second, for the seconds since, but for no more than these: others come near in the meantime."""
_BESIDE = 0.35
"""Metres around a person's box in which lesser bodies are theirs: a hand before the chest."""
LESSER = 0.35
"""The part of a person's area that a body must not reach to be a part of them."""
SEEN = 0.12
"""Square metres that must be seen of a person."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a person was last seen. box: (2, 3) metres, centre: (3,)."""

    stamp: int
    centre: NDArray[np.float64]
    box: NDArray[np.float64]


class PersonFollower:
    """Picks the nearest or the largest body of a person's size, and stays with it.

    Where their body hangs together with something larger, or little is left of it, it is what is in
    the box where it last was by itself. Not thread-safe.
    """

    def __init__(self, config: LookConfig) -> None:
        self._config = config
        self._place: Place | None = None
        self._followed_before = False
        self.distance: float | None = None
        """Metres from the cloud's origin to who was seen in the last frame; None: nobody."""
        self.others = 0
        """Further bodies of a person's size in the last frame."""
        self.new = False
        """Whether the last frame's person is another one than that of the frames before."""

    def follow(
        self, points: NDArray[np.float32], among: NDArray[np.bool_], stamp: int
    ) -> NDArray[np.bool_]:
        """(N,) bool: the person's points among those of a cloud, (N, 3); none if nobody is seen.

        To be called in the order of stamps.
        """
        config = self._config
        bodies = find_bodies(points, among, config.person_gap)
        like = of_a_persons_size(bodies, config)
        if self._place is not None and stamp - self._place.stamp > LOST_AFTER:
            self._place = None
        self.new, self.distance, self.others = False, None, int(like.sum())
        if self._place is None:
            body = self._choose(bodies, like)
            if body is None:
                return np.zeros(len(points), np.bool_)
            self.new, self._followed_before = self._followed_before, True
            return self._take(points, bodies, body, stamp)
        body = _nearest(self._place, bodies, like, stamp)
        if body is not None:
            return self._take(points, bodies, body, stamp)
        return self._hold(points, among, self._place, stamp)

    def _choose(self, bodies: Bodies, like: NDArray[np.bool_]) -> int | None:
        if not like.any():
            return None
        if self._config.person == "largest":
            return int(np.argmax(np.where(like, bodies.areas, -1.0)))
        distances = np.linalg.norm(bodies.centre, axis=1)
        return int(np.argmin(np.where(like, distances, np.inf)))

    def _take(
        self, points: NDArray[np.float32], bodies: Bodies, body: int, stamp: int
    ) -> NDArray[np.bool_]:
        """A body, with what is beside it and much less than it."""
        theirs = beside(bodies, body, self._config)
        theirs[body] = True
        box = np.stack((bodies.low[theirs].min(axis=0), bodies.high[theirs].max(axis=0)))
        self._place = Place(stamp, bodies.centre[body], box)
        self.distance = float(np.linalg.norm(bodies.centre[body]))
        self.others -= 1
        # -1, of the points that were not asked for, takes the last entry.
        return np.append(theirs, False)[bodies.of_points]

    def _hold(
        self, points: NDArray[np.float32], among: NDArray[np.bool_], place: Place, stamp: int
    ) -> NDArray[np.bool_]:
        """What is where the person last was by themselves."""
        with np.errstate(invalid="ignore"):
            inside = among & ((points >= place.box[0]) & (points <= place.box[1])).all(axis=1)
        seen = find_bodies(points, inside, self._config.person_gap)
        if float(seen.areas.sum()) < SEEN:
            return np.zeros(len(points), np.bool_)
        self._place = Place(stamp, place.centre, place.box)
        self.distance = float(np.linalg.norm(place.centre))
        return inside


def _nearest(place: Place, bodies: Bodies, like: NDArray[np.bool_], stamp: int) -> int | None:
    """The body of a person's size that is nearest to where the person was, if it is near enough."""
    if not like.any():
        return None
    away = np.where(like, np.linalg.norm(bodies.centre - place.centre, axis=1), np.inf)
    return int(np.argmin(away)) if away.min() <= reach(stamp - place.stamp) else None


def of_a_persons_size(bodies: Bodies, config: LookConfig) -> NDArray[np.bool_]:
    """(B,) bool: which bodies may be a person."""
    extents = bodies.extents
    return np.asarray(
        (extents >= config.person_smallest)
        & (extents <= config.person_largest)
        & (bodies.areas >= SEEN)
    )


def beside(bodies: Bodies, body: int, config: LookConfig) -> NDArray[np.bool_]:
    """(B,) bool: which bodies are beside one, and so much less than it that they are part of it."""
    low, high = bodies.low[body] - _BESIDE, bodies.high[body] + _BESIDE
    near = ((bodies.centre >= low) & (bodies.centre <= high)).all(axis=1)
    small = (bodies.areas < LESSER * bodies.areas[body]) & (bodies.extents <= config.person_largest)
    return np.asarray(near & small)


def reach(passed: int) -> float:
    """Metres by which a person's centre may have moved in so many nanoseconds."""
    return _REACH + _SPEED * min(passed / SECOND, _STRIDE)
