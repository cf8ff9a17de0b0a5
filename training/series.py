"""Runs that are compared in one table: trained where they are not yet, then measured."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting, whole
from fourd_perception.worker_process import end_with_parent
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos
from training.distributed import device_of
from training.finetune import finetune
from training.measuring import PROTOCOLS, Options, choose, evaluate, together
from training.pretrain import pretrain
from training.pretrain_config import PretrainConfig

_ENDS = {"": PROTOCOLS[0], "_segments": PROTOCOLS[1]}
"""What a row's name ends with, by protocol."""
_PROTOCOL = (
    "video accuracy by every window, _segments: by 5 clips of segments; mean softmax; mean and "
    "standard deviation over the seeds"
)


@dataclass(frozen=True)
class Run:
    """One training. init: the weights that its encoder begins with, or none.

    pretraining: what makes them, in their folder, or has made them.
    """

    config: FinetuneConfig
    init: Path | None = None
    pretraining: PretrainConfig | None = None


def recipe(path: str, values: Mapping[str, str], overrides: tuple[str, ...] = ()) -> FinetuneConfig:
    """A recipe with a row's `values` instead of its own, and `overrides` (NAME=VALUE) after them.

    Raises InputError on a bad override, and on one that learns no action of a clip.
    """
    told = tuple(f"{name}={value}" for name, value in values.items())
    config = load_yaml(FinetuneConfig, path, told + overrides)
    if config.task != "action_recognition":
        raise InputError(f"{path}: task {config.task}; what is compared is action_recognition")
    return config


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
    made.add_argument("--earlier", type=Path, metavar="FILE",
                      help="a file of results with this table: its seeds are kept beside these, "
                      "and what is told is of all")  # fmt: skip
    return made


def tell(
    rows: Iterable[str],
    run: Callable[[str, int], Run],
    name: str,
    data: DataConfig,
    protocol: str,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train and measure each row with each seed, print what came out, write it if it is asked for.

    arguments: of `parser`. Returns video accuracies, percent: <row> by every window, and
    <row>_segments, with several seeds their means, and their standard deviations as <...>_std; and
    each seed's own under <name>_by_seed. Raises InputError on an --earlier file that has another
    table, or a seed that is asked for.
    """
    told, protocol = list(rows), f"{protocol}; {_PROTOCOL}"
    measured_on = f"{data.dataset}, {arguments.split} split"
    # Before the hours of training.
    earlier = _Earlier.read(name, measured_on, protocol, told, arguments)
    runs = [run(row, seed) for row in told for seed in arguments.seeds]
    measured = _all_measured(runs, arguments)
    of_seeds = dict(earlier.of_seeds)
    for place, seed in enumerate(arguments.seeds):
        each = zip(told, measured[place :: len(arguments.seeds)])
        of_seeds[seed] = {row + end: value for row, found in each for end, value in found.items()}
    figures: dict[str, Any] = {
        key: round(value, 2) for key, value in together({"": list(of_seeds.values())}).items()
    }
    for key, value in figures.items():
        print(f"{key:40} {value:6.2f} %", flush=True)
    figures[f"{name}_by_seed"] = {str(seed): of_seeds[seed] for seed in sorted(of_seeds)}
    if arguments.results:
        write_result(
            arguments.results,
            name=name,
            command=shlex.join(["python", *sys.argv]),
            data=measured_on,
            protocol=protocol + earlier.said,
            seeds=sorted(of_seeds),
            figures=figures,
            beside=arguments.beside,
        )
    return figures


@dataclass(frozen=True)
class _Earlier:
    """Seeds of a table that have been measured before: their figures, and who says so."""

    of_seeds: dict[int, dict[str, float]] = field(default_factory=dict)
    said: str = ""

    @classmethod
    def read(
        cls, name: str, data: str, protocol: str, rows: Sequence[str], arguments: argparse.Namespace
    ) -> _Earlier:
        """Of --earlier, if it is given; `tell` says what is refused."""
        path: Path | None = arguments.earlier
        if path is None:
            return cls()
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            figures = document["figures"]
            told = document if document["name"] == name else document["beside"][name]
            found = {int(seed): dict(own) for seed, own in figures[f"{name}_by_seed"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"--earlier {path}: no file of results with each seed of {name}"
            ) from None
        for said, ours in ((told["protocol"], protocol), (told["data"], data)):
            if not said.startswith(ours):
                raise InputError(f"--earlier {path}: measured by '{said}', not '{ours}'")
        if twice := sorted(found.keys() & set(arguments.seeds)):
            raise InputError(f"--earlier {path}: has seed {twice[0]}, which --seeds asks for")
        expected = {row + end for row in rows for end in _ENDS}
        for seed, own in found.items():
            if own.keys() != expected:
                raise InputError(
                    f"--earlier {path}: seed {seed} has other rows than are asked for: "
                    + ", ".join(sorted(own.keys() ^ expected))
                )
        seeds = " and ".join(map(str, sorted(found)))
        before = told["protocol"].removeprefix(protocol)
        said = f"{before}; seeds {seeds} as recorded at {told['commit']} by: {told['command']}"
        return cls(found, said)


def _all_measured(runs: Sequence[Run], arguments: argparse.Namespace) -> list[dict[str, float]]:
    """Each run's accuracies. What they begin with comes first: several may begin with the same.

    Before all, the prepared videos: of several processes that would make them all but one stop.
    """
    shared = {run.init: run for run in runs if run.init is not None and run.pretraining is not None}
    data = [run.config.data for run in runs]  # then the pre-trainings', which may want images, too
    data += [run.pretraining.data for run in runs if run.pretraining is not None]
    for one in {each.prepared: each for each in data}.values():
        open_videos(one)
    _all_done(_pretrained, [(path.parent, one) for path, one in shared.items()], arguments.jobs)
    measure = partial(_measured, part=arguments.split)
    return _all_done(
        measure, [(arguments.out / run.config.name, run) for run in runs], arguments.jobs
    )


def _all_done(
    what: Callable[[Path, Run], Any], places: Sequence[tuple[Path, Run]], jobs: int
) -> list[Any]:
    """What each gives of its folder and run. Several at a time write what they say to log.txt."""
    if jobs == 1 or not places:
        return [what(*place) for place in places]
    context = multiprocessing.get_context("spawn")  # a process that has seen a GPU cannot fork
    with ProcessPoolExecutor(jobs, context, initializer=end_with_parent) as pool:
        done = pool.map(partial(_quietly, what), *zip(*places))
        return list(tqdm(done, total=len(places), unit="run"))


def _quietly(what: Callable[[Path, Run], Any], folder: Path, run: Run) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            open(folder / "log.txt", "a", encoding="utf-8") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            return what(folder, run)
    except Exception as error:
        # Now: the pool raises it only when what runs beside has ended, which may take an hour.
        print(f"\n{folder}: failed; those running beside it end first: {error}", file=sys.stderr)
        raise


def _pretrained(folder: Path, run: Run) -> None:
    """Of a run that has a pre-training, in the folder of its initial weights."""
    assert run.pretraining is not None
    pretrain(run.pretraining, folder)  # what is finished it holds against what is asked


def _measured(folder: Path, run: Run, part: str) -> dict[str, float]:
    """Accuracy by the end of its key; of a run that is trained first, if it is not."""
    finetune(run.config, folder, init=run.init)  # as pretrain does
    path = folder / f"{run.config.name}.safetensors"
    accuracies = video_accuracies(path, run.config, part)
    return {end: round(accuracies[protocol], 2) for end, protocol in _ENDS.items()}


def video_accuracies(path: Path, config: FinetuneConfig, part: str) -> dict[str, float]:
    """Percent of a part's videos, by protocol, that a trained model gets right."""
    loaded = checkpoint.load(path, device_of(config.compute.device))
    videos = open_videos(config.data)
    chosen = choose(loaded, videos, config.data, part)
    figures = evaluate(loaded, videos, chosen, Options(), progress=True).figures
    return {protocol: figures[f"video_accuracy_{protocol}"] for protocol in PROTOCOLS}
