"""Points sorted into cubes of space, through a hash table: any extent, in one pass."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

FARTHEST = 1 << 20
"""Cubes from the origin along an axis; points beyond are in none."""


class VoxelTable:
    """Numbers of the cubes that are known.

    coordinates: (V, 3) int64, each cube once; a cube's number is its row.
    """

    def __init__(self, keys: NDArray[np.int64], numbers: NDArray[np.int32],
                 coordinates: NDArray[np.int64]) -> None:  # fmt: skip
        self._keys, self._numbers = keys, numbers
        self.coordinates = coordinates

    @classmethod
    def of(cls, coordinates: NDArray[np.int64]) -> VoxelTable:
        """The table of these cubes, (V, 3), no two the same."""
        keys, numbers = _empty_table(len(coordinates))
        _insert_all(coordinates, keys, numbers)
        return cls(keys, numbers, coordinates)

    def contain(
        self, points: NDArray[np.float32], among: NDArray[np.bool_], size: float
    ) -> NDArray[np.bool_]:
        """(N,) bool: those `among` the points (N, 3), metres, that are in a known cube."""
        found = np.empty(len(points), np.bool_)
        _contain(points, among, size, self._keys, self._numbers, found)
        return found

    def components(self) -> NDArray[np.int32]:
        """(V,) int32: cubes that touch, be it at a corner, have one number; 0 on, by the first."""
        parents = np.arange(len(self.coordinates), dtype=np.int32)
        _join(self.coordinates, self._keys, self._numbers, parents)
        return _renumbered(parents)


def sort_into_voxels(
    points: NDArray[np.float32], among: NDArray[np.bool_], size: float
) -> tuple[VoxelTable, NDArray[np.int32]]:
    """The cubes of edge `size`, metres, that hold those `among` the points, and each point's.

    points: (N, 3) float32; among: (N,) bool. Returns (N,) int32: numbers; -1 of the others and
    where a coordinate is not finite.
    """
    keys, numbers = _empty_table(int(np.count_nonzero(among)))
    coordinates = np.empty((len(keys) // 2, 3), np.int64)
    of_points = np.empty(len(points), np.int32)
    count = _sort(points, among, size, keys, numbers, coordinates, of_points)
    return VoxelTable(keys, numbers, coordinates[:count].copy()), of_points


def pack(coordinates: NDArray[np.int64]) -> NDArray[np.int64]:
    """(V, 3) -> (V,): one number for each cube, which sorts many times faster than three."""
    x, y, z = (coordinates + FARTHEST).T
    return (x << 42) | (y << 21) | z


def unpack(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The inverse of `pack`: (V,) -> (V, 3)."""
    last = (1 << 21) - 1
    return np.stack((keys >> 42, (keys >> 21) & last, keys & last), axis=1) - FARTHEST


def _empty_table(entries: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Room for twice as many, so that searches stay short."""
    slots = 1 << max(4, int(2 * entries).bit_length())
    return np.full(slots, -1, np.int64), np.empty(slots, np.int32)


@numba.njit(cache=True, nogil=True)
def _key(x: int, y: int, z: int) -> int:
    """-1 outside of what a key can name."""
    limit = FARTHEST - 2  # the cubes beside it have keys, too
    if not (-limit <= x <= limit and -limit <= y <= limit and -limit <= z <= limit):
        return -1
    return ((x + FARTHEST) << 42) | ((y + FARTHEST) << 21) | (z + FARTHEST)


@numba.njit(cache=True, nogil=True)
def _cell(value: float, size: float) -> int:
    """Which cube along an axis; outside of all keys where it is not finite."""
    scaled = np.floor(np.float64(value) / size)
    return int(scaled) if abs(scaled) < FARTHEST else FARTHEST


@numba.njit(cache=True, nogil=True)
def _slot(keys: NDArray[np.int64], key: int) -> int:
    """Where a key stands, or the free slot where it would."""
    mask = len(keys) - 1
    mixed = key ^ (key >> 31)
    slot = ((mixed * 0x2545F4914F6CDD1D) >> 20) & mask
    while keys[slot] != -1 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _insert_all(
    coordinates: NDArray[np.int64], keys: NDArray[np.int64], numbers: NDArray[np.int32]
) -> None:
    for number in range(len(coordinates)):
        key = _key(coordinates[number, 0], coordinates[number, 1], coordinates[number, 2])
        if key >= 0:
            slot = _slot(keys, key)
            keys[slot], numbers[slot] = key, number


@numba.njit(cache=True, nogil=True)
def _sort(
    points: NDArray[np.float32],
    among: NDArray[np.bool_],
    size: float,
    keys: NDArray[np.int64],
    numbers: NDArray[np.int32],
    coordinates: NDArray[np.int64],
    of_points: NDArray[np.int32],
) -> int:
    count = 0
    for i in range(len(points)):
        of_points[i] = -1
        if not among[i]:
            continue
        x, y, z = (
            _cell(points[i, 0], size), _cell(points[i, 1], size), _cell(points[i, 2], size)
        )  # fmt: skip
        key = _key(x, y, z)
        if key < 0:
            continue
        slot = _slot(keys, key)
        if keys[slot] == -1:
            keys[slot], numbers[slot] = key, count
            coordinates[count, 0], coordinates[count, 1], coordinates[count, 2] = x, y, z
            count += 1
        of_points[i] = numbers[slot]
    return count


@numba.njit(cache=True, nogil=True)
def _contain(
    points: NDArray[np.float32],
    among: NDArray[np.bool_],
    size: float,
    keys: NDArray[np.int64],
    numbers: NDArray[np.int32],
    found: NDArray[np.bool_],
) -> None:
    for i in range(len(points)):
        found[i] = False
        if among[i]:
            x, y, z = (
                _cell(points[i, 0], size), _cell(points[i, 1], size), _cell(points[i, 2], size)
            )  # fmt: skip
            key = _key(x, y, z)
            found[i] = key >= 0 and keys[_slot(keys, key)] == key


@numba.njit(cache=True, nogil=True)
def _root(parents: NDArray[np.int32], one: int) -> int:
    while parents[one] != one:
        parents[one] = parents[parents[one]]
        one = parents[one]
    return one


@numba.njit(cache=True, nogil=True)
def _join(
    coordinates: NDArray[np.int64],
    keys: NDArray[np.int64],
    numbers: NDArray[np.int32],
    parents: NDArray[np.int32],
) -> None:
    """Union-find over the thirteen neighbours on one side of each cube; roots are the lowest."""
    for number in range(len(coordinates)):
        x, y, z = coordinates[number, 0], coordinates[number, 1], coordinates[number, 2]
        for step in range(14, 27):
            key = _key(x + step // 9 - 1, y + step // 3 % 3 - 1, z + step % 3 - 1)
            if key < 0:
                continue
            slot = _slot(keys, key)
            if keys[slot] == key:
                one, other = _root(parents, number), _root(parents, numbers[slot])
                if one < other:
                    parents[other] = one
                else:
                    parents[one] = other


@numba.njit(cache=True, nogil=True)
def _renumbered(parents: NDArray[np.int32]) -> NDArray[np.int32]:
    """Roots are the lowest of theirs, so each is met before what hangs on it."""
    found = np.empty(len(parents), np.int32)
    count = 0
    for number in range(len(parents)):
        root = _root(parents, number)
        if root == number:
            found[number] = count
            count += 1
        else:
            found[number] = found[root]
    return found
