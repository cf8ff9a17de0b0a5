"""Runs that are compared in one table: trained where they are not yet, then measured."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.tools.arguments import whole
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos
from training.finetune import finetune
from training.measuring import PROTOCOLS, Options, choose, evaluate, together


@dataclass(frozen=True)
class Run:
    """One training. init: the weights that its encoder begins with, or none."""

    config: FinetuneConfig
    init: Path | None = None


def parser(description: str, folder: str) -> argparse.ArgumentParser:
    """The options that every series has. folder: where its runs go if nothing is said."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--seeds", nargs="+", type=whole, default=[0], help="default: 0")
    made.add_argument("--set", action="append", default=[], dest="overrides",
                      metavar="NAME=VALUE", help="replace a value of the recipes")  # fmt: skip
    made.add_argument("--out", type=Path, default=Path(folder), help="the runs' folder")
    made.add_argument("--split", choices=("holdout", "test"), default="test")
    made.add_argument("--results", help="write the figures to this file, see results/")
    made.add_argument("--beside", action="store_true",
                      help="put them beside those that --results has already")  # fmt: skip
    return made


def figures_of(
    rows: Iterable[str], run: Callable[[str, int], Run], arguments: argparse.Namespace
) -> dict[str, float]:
    """Train and measure each row with each seed, and print what came out.

    arguments: of `parser`. Returns video accuracies, percent: <row> by every window, and
    <row>_segments; with several seeds their means, and their standard deviations as <...>_std.
    """
    found: dict[str, float] = {}
    for row in rows:
        measured = [_measured(run(row, seed), arguments) for seed in arguments.seeds]
        for name, value in together({"": measured}).items():
            key = (row + name).replace(f"_{PROTOCOLS[0]}", "")
            found[key] = round(value, 2)
            print(f"{key:40} {value:6.2f} %", flush=True)
    return found


def _measured(run: Run, arguments: argparse.Namespace) -> dict[str, float]:
    """Accuracy by protocol, as the end of a key."""
    folder = arguments.out / run.config.name
    path = folder / f"{run.config.name}.safetensors"
    if not path.exists():
        finetune(run.config, folder, init=run.init)
    accuracies = video_accuracies(path, run.config.data, arguments.split)
    return {f"_{protocol}": value for protocol, value in accuracies.items()}


def video_accuracies(path: Path, config: DataConfig, part: str) -> dict[str, float]:
    """Percent of a part's videos, by protocol, that a trained model gets right."""
    loaded = checkpoint.load(path)
    videos = open_videos(config)
    chosen = choose(loaded, videos, config, part)
    figures = evaluate(loaded, videos, chosen, Options(), progress=True).figures
    return {protocol: figures[f"video_accuracy_{protocol}"] for protocol in PROTOCOLS}


def record(
    figures: Mapping[str, float],
    name: str,
    data: DataConfig,
    protocol: str,
    arguments: argparse.Namespace,
) -> None:
    """Write the figures where --results says, if it does."""
    if arguments.results:
        write_result(
            arguments.results,
            name=name,
            command=shlex.join(["python", *sys.argv]),
            data=f"{data.dataset}, {arguments.split} split",
            protocol=f"{protocol}; video accuracy by every window, _segments: by 5 clips of "
            "segments; mean softmax; mean and standard deviation over the seeds",
            seeds=arguments.seeds,
            figures=figures,
            beside=arguments.beside,
        )
