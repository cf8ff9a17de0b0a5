"""Where the time of preparing MSR-Action3D goes: benchmarks/prepare_msr_action3d.py --root DIR

The whole release by as many processes as there are cores (how many of them it keeps busy), and a
few sequences in one process under a profiler (what they do).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import shlex
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception.errors import command
from fourd_perception.tools.arguments import counting
from training import datasets
from training.config import DataConfig
from training.datasets.labelled_video import DataSet
from training.datasets.prepared import prepare

_PARTS = {
    "decode": ("read_depth",),
    "back_project": ("back_project_where",),
    "grid": ("_to_grid",),
    "write": ("serialize_file", "serialize", "save", "write", "fsync", "replace"),
}
"""Parts of the work, by the functions that do it."""


def whole(data_set: DataSet, workers: int) -> dict[str, float]:
    """Seconds on the clock, of the processors, and how many of these were busy."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        prepare(data_set, Path(folder) / "prepared", workers=workers)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "busy_cores": round(busy / seconds, 2),
    }


def shares(data_set: DataSet) -> dict[str, float]:
    """Percent of a process's time by part of the work."""
    from training.datasets import prepared

    with tempfile.TemporaryDirectory() as folder:
        profile = cProfile.Profile()
        profile.enable()
        for source in data_set.sources:
            prepared.write_source(
                data_set, prepared.PrepareConfig(), source, Path(folder) / f"{source.name}.x"
            )
        profile.disable()
    stats = pstats.Stats(profile)
    total = stats.total_tt  # type: ignore[attr-defined]
    spent = {
        part: sum(row[3] for (_, _, name), row in stats.stats.items() if name in names)  # type: ignore[attr-defined]
        for part, names in _PARTS.items()
    }
    found = {f"{part}_percent": round(100 * value / total, 1) for part, value in spent.items()}
    return {**found, "rest_percent": round(100 - sum(found.values()), 1)}


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", required=True, help="the release's folder")
    parser.add_argument("--workers", type=counting, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--profiled", type=counting, default=60, help="sequences under the profiler"
    )
    parser.add_argument("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    config = DataConfig(dataset="msr_action3d", root=arguments.root, prepared="unused")
    data_set = datasets.open_data_set(config)
    every = max(1, len(data_set.sources) // arguments.profiled)
    few = DataSet(data_set.rate, data_set.classes, data_set.sources[::every])
    figures = {**whole(data_set, arguments.workers), **shares(few), "workers": arguments.workers}
    for name, value in figures.items():
        print(f"{name:24} {value:8}")
    if arguments.results:
        write_result(
            arguments.results, name="prepare_msr_action3d",
            command=shlex.join(["python", *sys.argv]),
            data=f"msr_action3d, {len(data_set.sources)} sequences",
            protocol=f"the whole by {arguments.workers} processes; shares of {len(few.sources)} "
            "sequences in one process under cProfile",
            seeds=[], figures=figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
