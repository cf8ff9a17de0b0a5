"""How fast the encoders are, against a textbook implementation in the same run.

python benchmarks/bench.py                   # 10 minutes: a table, out/bench.json, out/bench_*.png
python benchmarks/bench.py --quick           # a minute: the operations, and the smaller encoders
python benchmarks/bench.py --only im_pstnet  # what is named
python benchmarks/bench.py --device cuda     # both sides on a GPU, without memory and scaling
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

import torch
from tqdm import tqdm

from benchmarks import bench_memory, bench_scaling
from benchmarks.bench_items import ITEMS
from benchmarks.bench_profile import report
from benchmarks.bench_report import Measured, figures, table
from benchmarks.bench_timing import QUICK, Disagreement, Patience, hold
from benchmarks.results_file import write_result
from fourd_perception.errors import InputError, command

OUT = ROOT / "out"
MEMORY, SCALING = "memory", "scaling"
NAMES = (*ITEMS, MEMORY, SCALING)
_DATA = (
    "the fronts of moving ellipsoids, put together to a person 2.5 m away, in the models' units; "
    "23 x 2048 points for PSTNet's family, 24 x 2048 for P4Transformer, 150 x 2048 for PPTr"
)
_PROTOCOL = (
    "ours and the textbook's (test/textbook, plain PyTorch; for ball_query torch.cdist and topk) "
    "with the same weights in one process, in turns, float32; answers compared first, to 1e-3; "
    "compilation done before; medians. stream: one new frame, against the whole window through the "
    "same encoder. train: forward, cross entropy and backward of 2 clips of 24 x 1024 points. "
    "memory: by how much a process grows at its height. exponent: of the power law that fits"
)


@command
def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cudnn.allow_tf32 = False  # float32 on both sides, as on a CPU
    if arguments.profile:
        item = ITEMS[_known([arguments.profile], ITEMS, "--profile")[0]]
        with torch.inference_mode(not item.grad):
            print(report(item.make(arguments.device)))
        return 0
    on_gpu = arguments.device != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise InputError(f"--device {arguments.device}: PyTorch sees no GPU; leave it out")
    only = _known(arguments.only or [], tuple(ITEMS) if on_gpu else NAMES, "--only")
    names = [one for one in chosen(only, arguments.quick) if one in ITEMS or not on_gpu]
    patience = QUICK if arguments.quick else Patience()
    try:
        measured = measure(names, patience, arguments.device)
    except Disagreement as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _write(measured, arguments, only)
    written = OUT / f"{_name(arguments)}.json"
    print(written.read_text("utf-8") if arguments.json else table(measured))
    return 0


def chosen(only: Sequence[str], quick: bool) -> list[str]:
    """The names to be measured, in the table's order."""
    if only:
        return [name for name in NAMES if name in only]
    return [name for name in NAMES if not quick or (name in ITEMS and ITEMS[name].quick)]


def measure(names: Sequence[str], patience: Patience, device: str = "cpu") -> Measured:
    """Measure what is named, with a progress bar. Raises Disagreement, naming the item."""
    measured = Measured()
    parts = [part for name in names for part in _parts(name, measured, patience, device)]
    layout = "{desc} {percentage:3.0f} %|{bar}| {elapsed}, about {remaining} left"
    with tqdm(
        total=sum(seconds for _, seconds, _ in parts), bar_format=layout, disable=None
    ) as bar:
        for what, seconds, run in parts:
            bar.set_description(what)
            run()
            bar.update(seconds)
    return measured


_Part = tuple[str, float, Callable[[], None]]
"""What is done, about how many seconds it takes, and what does it."""


def _parts(name: str, measured: Measured, patience: Patience, device: str) -> list[_Part]:
    if name == MEMORY:
        return [
            (f"memory of {one}", seconds, partial(_memory, one, measured))
            for one, (_, _, seconds) in bench_memory.MEMORY.items()
        ]
    if name == SCALING:
        return [
            (f"by {axis}", seconds, partial(_curves, axis, measured))
            for axis, seconds in bench_scaling.SECONDS.items()
        ]
    return [(name, ITEMS[name].seconds, partial(_contest, name, measured, patience, device))]


def _contest(name: str, measured: Measured, patience: Patience, device: str) -> None:
    item = ITEMS[name]
    with torch.inference_mode(not item.grad):
        try:
            measured.outcomes[name] = hold(item.make(device), patience)
        except Disagreement as error:
            raise Disagreement(f"{name}: {error}") from None


def _memory(name: str, measured: Measured) -> None:
    measured.memory[name] = {side: bench_memory.in_child(name, side) for side in bench_memory.SIDES}


def _curves(axis: str, measured: Measured) -> None:
    with torch.inference_mode():
        measured.curves[axis] = bench_scaling.curves(axis)


def _write(measured: Measured, arguments: argparse.Namespace, only: Sequence[str]) -> None:
    """out/bench.json and the plot, and what else was asked for."""
    words = ["python benchmarks/bench.py", *(["--quick"] if arguments.quick else [])]
    words += ["--only", *only] if only else []
    name = _name(arguments)
    words += ["--device", arguments.device] if arguments.device != "cpu" else []
    paths = [OUT / f"{name}.json", *([arguments.results] if arguments.results else [])]
    paths += [ROOT / "results" / f"{name}.json"] if arguments.record else []
    for path in paths:
        write_result(
            path,
            name=name,
            command=" ".join(words),
            data=_DATA,
            protocol=f"{torch.get_num_threads()} threads; {_PROTOCOL}",
            seeds=[0],
            figures=figures(measured),
        )
    if measured.curves:
        bench_scaling.plot(measured.curves, OUT / "bench_im_pstnet.png")


def _name(arguments: argparse.Namespace) -> str:
    return "bench" if arguments.device == "cpu" else "bench_gpu"


def _known(names: list[str], known: Collection[str], option: str) -> list[str]:
    """Raises InputError if one of them is not."""
    for name in names:
        if name not in known:
            raise InputError(f"{option}: unknown '{name}'; known: {', '.join(known)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"names: {', '.join(NAMES)}"
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute: fewer items, fewer repeats")
    add("--only", nargs="+", metavar="NAME", help="measure these alone, see below")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="where both sides run")
    add("--json", action="store_true", help="print JSON in place of the table")
    add("--results", type=Path, metavar="FILE", help="write the figures to this file too")
    add("--record", action="store_true", help="write the figures to results/ too")
    add("--profile", metavar="NAME", help="show where the time of one item goes, and no more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
