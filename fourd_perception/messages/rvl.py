"""RVL, a fast compression of depth images (Wilson, Fast Lossless Depth Image Compression, 2017).

A stream of nibbles, most significant first in words of 32 bits: runs of zeros, and runs of samples
as their differences, all in a code of three bits a nibble.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

_LONGEST_CODE = 11
"""Nibbles of a number of 32 bits; a longer one is damaged."""


def decompress(data: NDArray[np.uint8], count: int) -> NDArray[np.uint16] | None:
    """The samples of an image: (count,) uint16; None where the data ends early or makes no sense.

    data: (B,) uint8, words of 32 bits, little endian; what lies after the last sample is ignored.
    """
    words = np.frombuffer(data[: data.size // 4 * 4].tobytes(), "<u4").astype(np.uint32)
    samples = np.zeros(count, np.uint16)
    return samples if _decompress(words, samples) else None


@numba.njit(cache=True)
def _number(words: NDArray[np.uint32], place: int) -> tuple[int, int]:
    """The number that begins at a nibble, and the nibble after it; -1 where there is none."""
    value = 0
    for length in range(_LONGEST_CODE):
        if place >= 8 * words.size:
            return -1, place
        nibble = (int(words[place >> 3]) >> (28 - 4 * (place & 7))) & 15
        value |= (nibble & 7) << (3 * length)
        place += 1
        if nibble < 8:
            return value, place
    return -1, place


@numba.njit(cache=True)
def _decompress(words: NDArray[np.uint32], samples: NDArray[np.uint16]) -> bool:
    """Fill in the samples; whether they were all there."""
    at, place, sample = 0, 0, 0
    while at < samples.size:
        zeros, place = _number(words, place)
        if zeros < 0 or zeros > samples.size - at:
            return False
        at += zeros
        run, place = _number(words, place)
        # A pair of empty runs brings nothing, and a damaged message could hold millions of them.
        if run < 0 or run > samples.size - at or zeros + run == 0:
            return False
        for _ in range(run):
            coded, place = _number(words, place)
            if coded < 0:
                return False
            sample += (coded >> 1) ^ -(coded & 1)
            samples[at] = sample & 0xFFFF
            at += 1
    return True
