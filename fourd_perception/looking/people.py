"""Several people among the bodies in view, each the same one from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_perception.looking.bodies import Bodies, find_bodies
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.person import (
    LESSER,
    LOST_AFTER,
    SEEN,
    Place,
    beside,
    of_a_persons_size,
    reach,
)
from fourd_perception.stream.frame import SECOND, Person

_BORN_AFTER = 3
"""Frames in a row in which a body must be there to be somebody: noise seldom is."""
_WHOLE = 0.5
"""The part of a person's area that a body must have to say where they are: the legs below a table,
or what somebody in front leaves to be seen, are elsewhere than their middle."""
_STEADY = 0.5
"""Seconds over which a walk is averaged: who is hidden is looked for along it, too."""


def assign(distances: NDArray[np.float64], reaches: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (track, body), each in one pair at most, in the order of the tracks.

    distances: (T, B), metres; reaches: (T,), how far each track may have moved. Of all ways to pair
    those within reach, one in which the sum over the pairs of 1 - distance / reach is the largest:
    who was not seen for a while may have gone far, and so takes no body from one who stands there.
    """
    gains = np.clip(1 - distances / reaches[:, None], 0, None)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return [(t, b) for t, b in zip(rows.tolist(), columns.tolist()) if gains[t, b] > 0]


@dataclass(eq=False)
class _Track:
    """Somebody, or a body that may become somebody.

    number: 0 until they are somebody. place: where they were last seen. alone: the stamp at which
    they were last a body of their own, of so much `area`, square metres. frames: how many in a row,
    until they are somebody. walk: (3,), metres a second.
    """

    place: Place
    alone: int
    area: float
    number: int = 0
    frames: int = 0
    walk: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def see(
        self, stamp: int, centre: NDArray[np.float64], box: NDArray[np.float64], area: float
    ) -> None:
        """Take them for a body of their own, at a later stamp or their first."""
        passed = (stamp - self.alone) / SECOND
        if passed > 0:
            newest = (centre - self.place.centre) / passed
            self.walk = self.walk + min(1.0, passed / _STEADY) * (newest - self.walk)
        self.place = Place(stamp, centre, box)
        self.alone, self.area = stamp, area
        self.frames += 1

    def distances(self, centres: NDArray[np.float64], stamp: int) -> NDArray[np.float64]:
        """(B,) metres from centres, (B, 3), to the way that they may have walked since."""
        way = self.walk * ((stamp - self.alone) / SECOND)
        along = (centres - self.place.centre) @ way / max(float(way @ way), 1e-12)
        nearest = self.place.centre + np.clip(along, 0, 1)[:, None] * way
        return np.asarray(np.linalg.norm(centres - nearest, axis=1))

    def has_within(self, spot: NDArray[np.float64]) -> bool:
        """Whether a spot, (3,), is in the box that they were last seen in."""
        return bool(((spot >= self.place.box[0]) & (spot <= self.place.box[1])).all())


class PeopleFollower:
    """Follows up to `people` bodies of a person's size, by the rules of `PersonFollower`.

    Somebody is who was seen in a few frames in a row, the nearest or the largest first, and until
    they were not seen for a second. No point is shown of two. Where bodies hang together, each is
    what is in the box where they last were by themselves, and of two such the nearer one's.
    Not thread-safe.
    """

    def __init__(self, config: LookConfig, numbers: Iterator[int]) -> None:
        """numbers: what people are called, one after the other."""
        self._config = config
        self._numbers = numbers
        self._tracks: list[_Track] = []
        self._leads = 0
        self._others = 0

    def follow(
        self, points: NDArray[np.float32], among: NDArray[np.bool_], stamp: int
    ) -> tuple[Person, ...]:
        """Everybody followed, by their numbers, also who is not seen; as `PersonFollower.follow`.

        points: (N, 3), a cloud. among: (N,) bool. To be called in the order of stamps.
        """
        bodies = find_bodies(points, among, self._config.person_gap)
        like = of_a_persons_size(bodies, self._config)
        self._tracks = [one for one in self._tracks if stamp - one.place.stamp <= LOST_AFTER]
        somebody = [one for one in self._tracks if one.number]
        nobody = [one for one in self._tracks if not one.number]
        taken = self._match(somebody, bodies, np.flatnonzero(like), stamp)
        self._let_go_of_joined(somebody, taken, bodies)
        free = np.array([b for b in np.flatnonzero(like).tolist() if b not in taken.values()
                         and self._may_be_another(somebody, bodies, b)], np.int64)  # fmt: skip
        taken |= self._match(nobody, bodies, free, stamp)
        self._tracks = somebody + [one for one in nobody if one in taken]
        for body in free.tolist():
            if body not in taken.values():
                box = np.stack((bodies.low[body], bodies.high[body]))
                place = Place(stamp, bodies.centre[body], box)
                born = _Track(place, stamp, float(bodies.areas[body]))
                self._tracks.append(born)
                taken[born] = body
        shown = self._take(points, taken, bodies, stamp)
        held = [one for one in somebody if one not in taken]
        unowned = among & ~np.logical_or.reduce([np.zeros(len(points), np.bool_), *shown.values()])
        shown |= self._hold(points, unowned, held, stamp)
        self._name()
        self._others = int(like.sum()) - sum(one.number > 0 for one in taken)
        nothing = np.zeros(len(points), np.bool_)
        known = sorted((one for one in self._tracks if one.number), key=lambda one: one.number)
        people = []
        for one in known:
            low, high = one.place.box
            people.append(
                Person(one.number, shown.get(one, nothing), low, high, one.number == self._leads)
            )
        return tuple(people)

    def text(self) -> str:
        """Who is followed, in words: '2 followed (1: 2.31 m, 4: 3.02 m), 0 others'."""
        known = [one for one in self._tracks if one.number]
        away = ", ".join(f"{one.number}: {_distance(one):.2f} m" for one in known)
        return f"{len(known)} followed{f' ({away})' if away else ''}, {self._others} others"

    def _match(
        self, tracks: Sequence[_Track], bodies: Bodies, free: NDArray[np.int64], stamp: int
    ) -> dict[_Track, int]:
        if not tracks or not free.size:
            return {}
        distances = np.stack([one.distances(bodies.centre[free], stamp) for one in tracks])
        reaches = np.array([reach(stamp - one.alone) for one in tracks])
        return {tracks[t]: int(free[b]) for t, b in assign(distances, reaches)}

    def _let_go_of_joined(
        self, somebody: Sequence[_Track], taken: dict[_Track, int], bodies: Bodies
    ) -> None:
        """A body is not one's alone that has become so much larger as another is missed in it."""
        for missed in [one for one in somebody if one not in taken]:
            for one, body in list(taken.items()):
                spot = missed.place.centre
                within = ((spot >= bodies.low[body]) & (spot <= bodies.high[body])).all()
                if within and bodies.areas[body] - one.area >= LESSER * missed.area:
                    del taken[one]

    def _may_be_another(self, somebody: Sequence[_Track], bodies: Bodies, body: int) -> bool:
        """Whether a body is none that somebody may be a part of, or that is a part of them."""
        low, high, centre = bodies.low[body], bodies.high[body], bodies.centre[body]
        return not any(
            one.has_within(centre) or ((one.place.centre >= low) & (one.place.centre <= high)).all()
            for one in somebody
        )

    def _take(
        self, points: NDArray[np.float32], taken: dict[_Track, int], bodies: Bodies, stamp: int
    ) -> dict[_Track, NDArray[np.bool_]]:
        """Bodies, with what is beside each and much less than it, of several the nearest one's."""
        owner = np.full(len(bodies) + 1, -1)  # -1, of the points not asked for, has the last entry
        nearest = np.full(len(bodies), np.inf)
        for number, body in enumerate(taken.values()):
            theirs = beside(bodies, body, self._config)
            theirs[list(taken.values())] = False
            away = np.linalg.norm(bodies.centre - bodies.centre[body], axis=1)
            theirs &= away < nearest
            nearest[theirs] = away[theirs]
            owner[:-1][theirs] = number
            owner[body] = number
        shown = {}
        for number, (one, body) in enumerate(taken.items()):
            theirs = owner[:-1] == number
            box = np.stack((bodies.low[theirs].min(axis=0), bodies.high[theirs].max(axis=0)))
            area = float(bodies.areas[body])
            if area >= _WHOLE * one.area or stamp - one.alone > LOST_AFTER:
                one.see(stamp, bodies.centre[body], box, area)
            else:
                one.place = Place(stamp, one.place.centre, one.place.box)
            shown[one] = owner[bodies.of_points] == number
        return shown

    def _hold(
        self,
        points: NDArray[np.float32],
        among: NDArray[np.bool_],
        held: Sequence[_Track],
        stamp: int,
    ) -> dict[_Track, NDArray[np.bool_]]:
        """What is where each last was by themselves; of two such the nearer one's."""
        if not held:
            return {}
        away = np.full((len(held), len(points)), np.inf)
        with np.errstate(invalid="ignore"):
            for number, one in enumerate(held):
                low, high = one.place.box
                inside = among & ((points >= low) & (points <= high)).all(axis=1)
                to = points[inside] - one.place.centre
                away[number, inside] = np.linalg.norm(to, axis=1)
        nearest, shown = away.argmin(axis=0), {}
        for number, one in enumerate(held):
            theirs = np.isfinite(away[number]) & (nearest == number)
            seen = find_bodies(points, theirs, self._config.person_gap)
            if float(seen.areas.sum()) >= SEEN:
                shown[one] = theirs
                one.place = Place(stamp, one.place.centre, one.place.box)
        return shown

    def _name(self) -> None:
        """Give numbers to who was seen for long enough, and choose who leads."""
        known = [one for one in self._tracks if one.number]
        ripe = [one for one in self._tracks if not one.number and one.frames >= _BORN_AFTER]
        ripe.sort(key=self._rank)
        for one in ripe[: self._config.people - len(known)]:
            one.number = next(self._numbers)
            known.append(one)
        if known and self._leads not in [one.number for one in known]:
            self._leads = min(known, key=self._rank).number

    def _rank(self, track: _Track) -> float:
        return -track.area if self._config.person == "largest" else _distance(track)


def _distance(track: _Track) -> float:
    return float(np.linalg.norm(track.place.centre))
