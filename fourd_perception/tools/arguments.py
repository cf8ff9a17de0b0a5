"""Numbers of a command line: types for argparse that refuse what no tool can use."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """A finite number above 0. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def whole(text: str) -> int:
    """A whole number from 0. Raises ArgumentTypeError."""
    return _at_least(0, text)


def counting(text: str) -> int:
    """A whole number from 1. Raises ArgumentTypeError."""
    return _at_least(1, text)


def _at_least(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least}, got {text}")
    return value
