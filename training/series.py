"""Runs that are compared in one table: trained where they are not yet, then measured."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.tools.arguments import counting, whole
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos
from training.distributed import device_of
from training.finetune import finetune
from training.measuring import PROTOCOLS, Options, choose, evaluate, together
from training.pretrain import pretrain
from training.pretrain_config import PretrainConfig


@dataclass(frozen=True)
class Run:
    """One training. init: the weights that its encoder begins with, or none.

    pretraining: what makes them, in their folder, where they are not there yet.
    """

    config: FinetuneConfig
    init: Path | None = None
    pretraining: PretrainConfig | None = None


def parser(description: str, folder: str) -> argparse.ArgumentParser:
    """The options that every series has. folder: where its runs go if nothing is said."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--seeds", nargs="+", type=whole, default=[0], help="default: 0")
    made.add_argument("--set", action="append", default=[], dest="overrides",
                      metavar="NAME=VALUE", help="replace a value of the recipes")  # fmt: skip
    made.add_argument("--out", type=Path, default=Path(folder), help="the runs' folder")
    made.add_argument("--jobs", type=counting, default=1,
                      help="runs at a time, each in a process of its own (default: 1)")  # fmt: skip
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
    told = list(rows)
    runs = [run(row, seed) for row in told for seed in arguments.seeds]
    measured = _all_measured(runs, arguments)
    found: dict[str, float] = {}
    for number, row in enumerate(told):
        of_row = measured[number * len(arguments.seeds) :][: len(arguments.seeds)]
        for name, value in together({"": of_row}).items():
            key = (row + name).replace(f"_{PROTOCOLS[0]}", "")
            found[key] = round(value, 2)
            print(f"{key:40} {value:6.2f} %", flush=True)
    return found


def _all_measured(runs: Sequence[Run], arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Each run's accuracies. Several at a time write what they say to `<run>/log.txt`."""
    measure = partial(_measured, out=arguments.out, part=arguments.split)
    if arguments.jobs == 1:
        return [measure(run) for run in runs]
    context = multiprocessing.get_context("spawn")  # a process that has seen a GPU cannot fork
    with ProcessPoolExecutor(arguments.jobs, context) as pool:
        done = pool.map(partial(_quietly, measure, arguments.out), runs)
        return list(tqdm(done, total=len(runs), unit="run"))


def _quietly(measure: Callable[[Run], dict[str, float]], out: Path, run: Run) -> dict[str, float]:
    folder = out / run.config.name
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "log.txt", "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        return measure(run)


def _measured(run: Run, out: Path, part: str) -> dict[str, float]:
    """Accuracy by protocol, as the end of a key; of a run that is trained first, if it is not."""
    folder = out / run.config.name
    path = folder / f"{run.config.name}.safetensors"
    if not path.exists():
        if run.pretraining is not None and run.init is not None and not run.init.exists():
            pretrain(run.pretraining, run.init.parent)
        finetune(run.config, folder, init=run.init)
    accuracies = video_accuracies(path, run.config, part)
    return {f"_{protocol}": value for protocol, value in accuracies.items()}


def video_accuracies(path: Path, config: FinetuneConfig, part: str) -> dict[str, float]:
    """Percent of a part's videos, by protocol, that a trained model gets right."""
    loaded = checkpoint.load(path, device_of(config.compute.device))
    videos = open_videos(config.data)
    chosen = choose(loaded, videos, config.data, part)
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
