"""Tables of docs/training.md that compare runs over several seeds."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

_LADDER = {
    "pstnet": "PSTNet, windows, learning rate in steps",
    "pstnetpp": "PSTNet++, likewise",
    "random_frames": "and frames drawn from segments",
    "cosine": "and a cosine's learning rate",
    "displacement": "and displacements divided by the radius",
    "im_pstnet": "and the rest: im-PSTNet",
}
_ABLATION = {
    "scratch": "nothing: from scratch",
    "crossvideo": "CrossVideo",
    "no_cross": "without the contrast of points with images",
    "no_intra": "without that of two views of the points",
    "no_frame": "without that of frames",
    "no_video": "without that of videos",
    "c2p": "C2P's: frames of two views, against all others",
}
_HOLDOUT = {
    "scratch_20": "nothing: from scratch",
    "whole_20": "CrossVideo on their videos",
    "no_video_20": "the same without the contrast of videos",
    "studio_20": "CrossVideo on the studio's people",
    "studio_first_20": "on the studio's people, then on their videos",
    "studio_first_no_video_20": "the same, the second without the contrast of videos",
}
_WARM_UP = {
    "scratch": "from scratch, 2 epochs",
    "warm_up_2": "pre-trained, 2 epochs",
    "warm_up_15": "15 epochs",
    "warm_up_30": "30 epochs",
}
_BEGINNINGS = {
    f"{row}{head}": (row, end)
    for head, end in (("", ""), (", segments", "_segments"))
    for row in ("scratch", "crossvideo")
}
"""By the head of a column, what its runs began with, and how they were measured."""
_PEOPLE = {1: 80, 2: 40, 4: 20}
"""The percent of their videos that have labels, by their number: about as many videos each."""


def ladder(results: Path) -> str:
    """VG4D's Table IV on MSR-Action3D, by both protocols. results: the folder of the figures."""
    result = _read(results, "msr_action3d_im_pstnet")
    seeds = result["beside"]["msr_action3d_ladder"]["seeds"]
    return _by_protocol(f"step ({_count(seeds)})", _LADDER, {"": result["figures"]})


def msr_action3d(results: Path) -> str:
    """The recipes of the shipped models of MSR-Action3D, over several seeds."""
    rows = {}
    for stem, end in (("msr_action3d_im_pstnet", ""), ("msr_action3d_pptr", "_pptr")):
        result = _read(results, stem)
        found, recipe = result["figures"], "msr_action3d" + end
        told = f"[`{recipe}.yaml`](config/training/{recipe}.yaml), {len(result['seeds'])} seeds"
        rows[told] = [f"{found[f'parameters_millions{end}']:.2f} M"] + [
            _spread(found, f"video_accuracy_{protocol}{end}")
            for protocol in ("windows", "segments")
        ]
    return _table("recipe", ("parameters", "every window", "segments"), rows)


def data_efficiency(results: Path) -> str:
    """CrossVideo's Table V on MSR-Action3D: each share of the labels, from each beginning."""
    stem = "crossvideo_data_efficiency"
    return _by_share(results, {head: (stem, *row) for head, row in _BEGINNINGS.items()})


def data_efficiency_otherwise(results: Path) -> str:
    """The same with another warm-up, another pre-training, and fewer epochs; by every window."""
    stem = "crossvideo_data_efficiency"
    columns = {
        "crossvideo, warm-up of 2 epochs": (f"{stem}_warm_up_2", "crossvideo", ""),
        "crossvideo on MSR alone, likewise": (f"{stem}_msr_alone", "crossvideo", ""),
        "scratch, 20 epochs": (f"{stem}_20_epochs", "scratch", ""),
        "crossvideo, 20 epochs": (f"{stem}_20_epochs", "crossvideo", ""),
    }
    return _by_share(results, columns)


def labelled_people(results: Path) -> str:
    """As many labelled videos of few people, and of more: from scratch, and pre-trained."""
    tables = {people: _read(results, f"crossvideo_people_{people}") for people in _PEOPLE}
    rows = {
        f"{people} {'person' if people == 1 else 'people'}, {share} % of the videos": [
            _spread(tables[people]["figures"], f"{row}_{share}{end}")
            for row, end in _BEGINNINGS.values()
        ]
        for people, share in _PEOPLE.items()
    }
    return _table(f"labelled ({_count(tables[1]['seeds'])})", _BEGINNINGS, rows)


def _by_share(results: Path, columns: Mapping[str, tuple[str, str, str]]) -> str:
    """Rows by share of the labels. columns: by head, a file's name, a row's, a protocol's end."""
    tables = {head: _read(results, stem) for head, (stem, _, _) in columns.items()}
    first = next(iter(tables.values()))
    shares = (name.removeprefix("scratch_") for name in first["figures"])
    rows = {
        f"{share} %": [
            _spread(tables[head]["figures"], f"{row}_{share}{end}")
            for head, (_, row, end) in columns.items()
        ]
        for share in filter(str.isdigit, shares)
    }
    return _table(f"labelled videos ({_count(first['seeds'])})", columns, rows)


def ablation(results: Path) -> str:
    """CrossVideo without each of its parts: what its encoders are worth, frozen and fine-tuned."""
    tables = {
        "the studio, frozen": _read(results, "crossvideo_ablation"),
        "MSR, frozen": _read(results, "crossvideo_ablation_msr_action3d_probe"),
        "MSR, fine-tuned": _read(results, "crossvideo_ablation_msr_action3d"),
    }
    columns = {
        f"{head} ({_count(table['seeds'])}): ": table["figures"] for head, table in tables.items()
    }
    return _by_protocol("learnt before, by", _ABLATION, columns)


def holdout(results: Path) -> str:
    """What a fine-tuning on 20 % of the labels begins with best, on subjects held out."""
    result = _read(results, "crossvideo_holdout")
    head = f"learnt before ({_count(result['seeds'])})"
    return _by_protocol(head, _HOLDOUT, {"": result["figures"]})


def warm_up(results: Path) -> str:
    """How long the learning rate of a fine-tuning rises, on subjects held out, by share."""
    tables = [_read(results, f"crossvideo_holdout_warm_up_{epochs}") for epochs in (2, 15, 30)]
    figures = {name: value for table in tables for name, value in table["figures"].items()}
    columns = {
        f"{share} %: ": {
            name.replace(f"_{share}", "", 1): value
            for name, value in figures.items() if f"_{share}" in name
        }
        for share in (20, 40)
    }  # fmt: skip
    head = f"warm-up, of 60 epochs ({_count(tables[0]['seeds'])})"
    return _by_protocol(head, _WARM_UP, columns)


def _by_protocol(
    head: str, texts: Mapping[str, str], columns: Mapping[str, Mapping[str, float]]
) -> str:
    """Video accuracies of tables of `training/series.py`. texts: of their rows, by their names.

    columns: each table's figures, by what its two columns' heads begin with. A row that a table
    does not have is left empty there.
    """
    heads = [f"{begin}{end}" for begin in columns for end in ("every window", "segments")]
    rows = {
        text: [
            _spread(figures, name + end) if name in figures else ""
            for figures in columns.values()
            for end in ("", "_segments")
        ]
        for name, text in texts.items()
    }
    return _table(head, heads, rows)


def _table(head: str, heads: Collection[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Markdown. head: of the first column, which has the rows' names; heads: of the others."""
    lines = [[head, *heads], ["---"] * (1 + len(heads))]
    lines += [[name, *cells] for name, cells in rows.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _read(results: Path, stem: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((results / f"{stem}.json").read_text(encoding="utf-8"))
    return result


def _count(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"


def _spread(figures: Mapping[str, float], name: str) -> str:
    """A mean over seeds and its standard deviation, if there are several."""
    deviation = figures.get(f"{name}_std")
    return f"{figures[name]:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")
