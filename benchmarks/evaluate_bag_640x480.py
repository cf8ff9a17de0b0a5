"""How fast bags of a whole camera are evaluated, and in how much memory.

Bags of 640 x 480 at 30 Hz, a wavy wall two metres away that moves, as clouds and as depth images,
go through `evaluate_bag` in a process of its own: benchmarks/evaluate_bag_640x480.py
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception.errors import InputError, command
from fourd_perception.recordings.bag_writer import BagContent, write_bag
from fourd_perception.recordings.recording import Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import counting

WIDTH, HEIGHT, FOCAL, RATE = 640, 480, 525.0, 30
START = 1_764_000_000 * SECOND
STREAMS = ("points", "depth")
_MEASURED = """
import json, resource, sys
from fourd_perception.tools import evaluate_bag
code = evaluate_bag.main()
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"rss_mb": kilobytes / 1024}))
sys.exit(code)
"""


@dataclass(frozen=True)
class Measured:
    """Of one bag: its seconds for a second of computing, the process's largest size, and medians
    of a frame's reading and of a window's model, milliseconds."""

    times_real_time: float
    rss_mb: float
    read_ms: float
    model_ms: float


def wall(seconds: int) -> Recording:
    """A wavy wall of every pixel, that moves."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    everything = np.ones((HEIGHT, WIDTH), np.bool_)

    def frames() -> Iterator[RecordedFrame]:
        for number in range(seconds * RATE):
            depth = 2 + 0.5 * np.sin(u / 60 + 2 * number / RATE) * np.cos(v / 50)
            stamp = number * SECOND // RATE
            yield RecordedFrame(stamp, depth.astype(np.float32), everything)

    camera = Intrinsics(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
    return Recording("wall", RATE, camera, (), (), seconds * RATE, frames)


def measure(stream: str, seconds: int, model: Path, folder: Path) -> Measured:
    """Make a bag, evaluate it, remove it. Raises InputError where it cannot be evaluated."""
    bag = folder / f"{stream}_{seconds}"
    content = BagContent((stream,), whole_room=True)
    write_bag(bag, wall(seconds), start=START, content=content)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(bag), "--model", str(model), "--json",
         "--out", str(folder / "out")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for file in bag.iterdir():
        file.unlink()
    if done.returncode:
        raise InputError(f"{bag}: {done.stderr.strip().splitlines()[-1]}")
    report, memory = (json.loads(line) for line in done.stdout.splitlines())
    figures = report["figures"]
    return Measured(
        figures["times_real_time"],
        round(memory["rss_mb"], 1),
        figures["read_p50_ms"],
        figures["model_p50_ms"],
    )


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--model", type=Path, default=Path("models/studio.safetensors"), metavar="FILE",
        help="default: models/studio.safetensors, the small one",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=counting, nargs="+", default=[10, 40], metavar="S",
        help="of bag; a cloud's second is 150 MB on the disk (default: 10 40)",
    )  # fmt: skip
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--scratch", type=Path, help="folder for the bags (default: the system's)")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        cases = [(stream, seconds)
                 for stream in arguments.streams for seconds in arguments.seconds]  # fmt: skip
        for stream, seconds in tqdm(cases, disable=None):
            measured = measure(stream, seconds, arguments.model.resolve(), Path(scratch))
            for name, value in vars(measured).items():
                figures[f"{stream}_{seconds}s_{name}"] = value
                print(f"{stream}_{seconds}s_{name:20} {value:8.1f}", flush=True)
    if arguments.results:
        write_result(
            arguments.results, name="evaluate_bag_640x480",
            command=shlex.join(["python", *sys.argv]),
            data=f"a wavy wall, {WIDTH} x {HEIGHT} at {RATE} Hz, in uncompressed mcap bags",
            protocol=f"evaluate_bag --model {arguments.model}, one process; times_real_time: "
            "seconds of bag for a second from the first message to the last answer; rss: the "
            "process's largest; read, model: medians of a frame and of a window",
            seeds=[], figures=figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
