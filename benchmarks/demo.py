"""The demo on several recordings that no model has seen; writes the figures to `results/`."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception.tools.arguments import positive, whole

_PROTOCOL = (
    "Each seed: a bag of clouds (the foreground alone) is played at its own pace by one process "
    "over DDS to the recognizer in another, and to the segmenter in a third; a fourth listens. "
    "Figures are the recognizer's. window_accuracy: answered windows "
    "inside one action. action_accuracy: the greatest sum of scores over an action's windows. "
    "Latency: from the sending of a window's newest cloud to the arrival of its answer."
)
_SUMS = ("clouds_sent", "windows_expected", "windows_answered", "windows_dropped",
         "windows_judged", "actions_judged")  # fmt: skip


def main() -> int:
    """Run the demo once a seed."""
    arguments = _parser().parse_args()
    runs = [_run(seed, arguments) for seed in arguments.seeds]
    write_result(
        arguments.results,
        name="demo on MSR-Action3D" if arguments.data else "demo on the studio",
        command=_command(arguments),
        data="; ".join(run["facts"]["recording"] for run in runs),
        protocol=_PROTOCOL,
        seeds=arguments.seeds,
        figures=pooled([run["figures"] for run in runs]),
    )
    print(f"{arguments.results}: {json.dumps(pooled([run['figures'] for run in runs]))}")
    return 0


def pooled(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs: counts added, accuracies (percent) weighted by what they are
    over, the worst latency of each kind, and the window accuracy of every run. None where nothing
    was there to be measured."""
    figures: dict[str, Any] = {name: sum(run[name] for run in runs) for name in _SUMS}
    for kind in ("window", "action"):
        name, over = f"{kind}_accuracy", f"{kind}s_judged"
        right = sum(run[name] * run[over] for run in runs if run[over])
        figures[name] = round(right / figures[over], 2) if figures[over] else None
    for name in ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_max_ms"):
        known = [run[name] for run in runs if run[name] is not None]
        figures[name] = max(known, default=None)
    figures["window_accuracy_by_seed"] = [run["window_accuracy"] for run in runs]
    return figures


def _command(arguments: argparse.Namespace) -> str:
    """Everything that changes the figures; of the data, where it lies does not."""
    seeds = " ".join(map(str, arguments.seeds))
    data = " --data <MSR-Action3D>" if arguments.data else ""
    model = f" --model {shlex.quote(str(arguments.model))}" if arguments.model else ""
    return f"python benchmarks/demo.py --seeds {seeds} --seconds {arguments.seconds}{data}{model}"


def _run(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "fourd_perception.nodes.demo", "--json", "--seed", str(seed),
        "--seconds", str(arguments.seconds), "--out", f"out/demo_{seed}",
    ]  # fmt: skip
    for option in ("data", "model"):
        if getattr(arguments, option):
            command += [f"--{option}", str(getattr(arguments, option))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--seeds", type=whole, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=positive, default=60.0, help="of each (default 60)")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="MSR-Action3D; else the studio")
    parser.add_argument("--model", type=Path, metavar="FILE", help="default: the one in models/")
    parser.add_argument("--results", type=Path, default=Path("results/demo.json"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
