"""What was measured, as a table and as figures for `results/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.bench_items import ITEMS
from benchmarks.bench_memory import MEMORY
from benchmarks.bench_scaling import Curves, exponent
from benchmarks.bench_timing import Outcome, Spread

NOTE = (
    "ratio: theirs over ours. Times are medians in milliseconds, with the 10th to the 90th "
    "percentile (all, where there are fewer than 10 repeats) and the number of repeats."
)


@dataclass
class Measured:
    """Everything that a run has found so far, by the names of the items."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    memory: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)


def table(measured: Measured) -> str:
    """For people to read."""
    rows = [("measured", "ours", "theirs", "ratio", "asked for", "theirs is")]
    for name, outcome in measured.outcomes.items():
        item = ITEMS[name]
        what = f"{name} ({item.clips} clips)" if item.clips > 1 else name
        rows.append((
            f"{what}, ms", _spread(outcome.ours), _spread(outcome.theirs),
            _ratio(outcome.ratio), _asked(item.asked, outcome.ratio), item.against,
        ))  # fmt: skip
    for name, sides in measured.memory.items():
        ours, theirs = sides["ours"], sides["theirs"]
        rows.append((
            f"memory of {name}, MB", f"{ours:.0f}", f"{theirs:.0f}", _ratio(theirs / ours), "",
            "textbook",
        ))  # fmt: skip
    text = _columns(rows) if len(rows) > 1 else ""
    for axis, several in measured.curves.items():
        for name, points in several.items():
            times = ", ".join(f"{size}: {time:.0f}" for size, time in points)
            text += f"\nim_pstnet, {name}, ms by {axis}: {times}; exponent {exponent(points):.2f}"
    return f"{text.strip()}\n\n{NOTE}"


def figures(measured: Measured) -> dict[str, Any]:
    """For `results/`: each ratio under a name of its own, the rest in groups."""
    found: dict[str, Any] = {}
    for name, outcome in measured.outcomes.items():
        if outcome.ratio is not None:
            found[f"{name}_ratio"] = round(outcome.ratio, 2)
    for name, sides in measured.memory.items():
        found[f"{_memory(name)}_ratio"] = round(sides["theirs"] / sides["ours"], 2)
    for axis, several in measured.curves.items():
        for what, points in several.items():
            words = what.replace(",", "").replace(" ", "_")
            found[f"im_pstnet_{words}_by_{axis}_exponent"] = round(exponent(points), 2)
    found["items"] = {name: _item(name, outcome) for name, outcome in measured.outcomes.items()}
    found["memory_mb"] = {_memory(name): sides for name, sides in measured.memory.items()}
    found["milliseconds_by_size"] = measured.curves
    return found


def met(asked: float, ratio: float) -> bool:
    """Whether a ratio is what was asked for, at the precision that the table shows."""
    return round(ratio, 1) >= asked


def _memory(name: str) -> str:
    encoder, what, _ = MEMORY[name]
    return f"{encoder}_{what}_memory"


def _item(name: str, outcome: Outcome) -> dict[str, Any]:
    item, ratio = ITEMS[name], outcome.ratio
    found: dict[str, Any] = {"ours_ms": _milliseconds(outcome.ours)}
    if item.clips > 1:
        found["ours_ms_a_clip"] = round(outcome.ours.median * 1e3 / item.clips, 3)
    if outcome.theirs is not None and ratio is not None:
        found |= {
            "theirs": item.against,
            "theirs_ms": _milliseconds(outcome.theirs),
            "ratio": round(ratio, 2),
            "difference": outcome.difference,
        }
        if item.asked is not None:
            found |= {"asked_ratio": item.asked, "met": met(item.asked, ratio)}
    return found


def _milliseconds(spread: Spread) -> dict[str, float]:
    return {
        "median": round(spread.median * 1e3, 3),
        "low": round(spread.low * 1e3, 3),
        "high": round(spread.high * 1e3, 3),
        "repeats": spread.repeats,
    }


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    low, middle, high = (_short(one * 1e3) for one in (spread.low, spread.median, spread.high))
    return f"{middle} ({low} to {high}, {spread.repeats} x)"


def _short(value: float) -> str:
    """Three digits that matter, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _asked(asked: float | None, ratio: float | None) -> str:
    if asked is None or ratio is None:
        return ""
    return f"{asked:g}, {'met' if met(asked, ratio) else 'not met'}"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "  ".join(
            cell.ljust(width) if number in (0, 4, 5) else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)
