"""Tables of docs/training.md that compare runs over several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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


def ladder(results: Path) -> str:
    """VG4D's Table IV on MSR-Action3D, by both protocols. results: the folder of the figures."""
    result = _read(results, "msr_action3d_im_pstnet")
    seeds = result["beside"]["msr_action3d_ladder"]["seeds"]
    return _by_protocol(f"step ({_count(seeds)})", _LADDER, {"": result["figures"]})


def msr_action3d(results: Path) -> str:
    """The recipes of the shipped models of MSR-Action3D, over several seeds."""
    rows = ["| recipe | parameters | every window | segments |", "| --- | --- | --- | --- |"]
    for stem, end in (("msr_action3d_im_pstnet", ""), ("msr_action3d_pptr", "_pptr")):
        result = _read(results, stem)
        found, recipe = result["figures"], "msr_action3d" + end
        cells = [
            f"[`{recipe}.yaml`](config/training/{recipe}.yaml), {len(result['seeds'])} seeds",
            f"{found[f'parameters_millions{end}']:.2f} M",
        ]
        for protocol in ("windows", "segments"):
            cells.append(_spread(found, f"video_accuracy_{protocol}{end}"))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def data_efficiency(results: Path) -> str:
    """CrossVideo's Table V on MSR-Action3D: each share of the labels, from each beginning."""
    result = _read(results, "crossvideo_data_efficiency")
    first = result["figures"]
    alone = _read(results, "crossvideo_data_efficiency_msr_alone")["figures"]
    columns = (
        ("scratch", first, "scratch"),
        ("crossvideo, studio first", first, "crossvideo"),
        ("crossvideo, MSR alone", alone, "crossvideo"),
    )
    heads = [f"{head}{end}" for end in ("", ", segments") for head, _, _ in columns]
    rows = [
        f"| labelled videos ({len(result['seeds'])} seeds) | {' | '.join(heads)} |",
        f"| --- |{' --- |' * len(heads)}",
    ]
    shares = (name.removeprefix("scratch_") for name in first if name.startswith("scratch_"))
    for share in filter(str.isdigit, shares):
        cells = [
            _spread(figures, f"{beginning}_{share}{end}")
            for end in ("", "_segments")
            for _, figures, beginning in columns
        ]
        rows.append(f"| {share} % | {' | '.join(cells)} |")
    return "\n".join(rows)


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


def _by_protocol(
    head: str, texts: Mapping[str, str], columns: Mapping[str, Mapping[str, float]]
) -> str:
    """Video accuracies of tables of `training/series.py`. texts: of their rows, by their names.

    columns: each table's figures, by what its two columns' heads begin with. A row that a table
    does not have is left empty there.
    """
    heads = [f"{begin}{end}" for begin in columns for end in ("every window", "segments")]
    rows = [
        f"| {head} | {' | '.join(heads)} |",
        "| --- |" + " --- |" * len(heads),
    ]
    for name, text in texts.items():
        cells = [
            _spread(figures, name + end) if name in figures else ""
            for figures in columns.values()
            for end in ("", "_segments")
        ]
        rows.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _read(results: Path, stem: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((results / f"{stem}.json").read_text(encoding="utf-8"))
    return result


def _count(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"


def _spread(figures: Mapping[str, float], name: str) -> str:
    """A mean over seeds and its standard deviation, if there are several."""
    deviation = figures.get(f"{name}_std")
    return f"{figures[name]:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")
