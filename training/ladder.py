"""VG4D's Table IV on MSR-Action3D: python training/ladder.py --set data.root=<folder>

From PSTNet and PSTNet++ to im-PSTNet, one change at a time, under one recipe
(config/training/msr_action3d.yaml, with fewer points). Trains what is not trained yet and measures
it on the test; it can be stopped at any moment: run it again, and it goes on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import command
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import whole
from training.config import FinetuneConfig
from training.data import open_videos
from training.finetune import finetune
from training.measuring import PROTOCOLS, Options, choose, evaluate, together

_RECIPE = "config/training/msr_action3d.yaml"
_PUBLISHED = {
    "sampling.window_share": "1.0", "optimiser.schedule": "steps",
    "optimiser.milestones": "[30, 45]",
}  # fmt: skip
"""How PSTNet was trained: windows of consecutive frames, a learning rate that falls in steps."""
_RANDOM_FRAMES = _PUBLISHED | {"sampling.window_share": "0.5"}


@dataclass(frozen=True)
class Step:
    """One row of the table: a model, and what its recipe sets otherwise."""

    architecture: str
    model: str
    changes: Mapping[str, str] = field(default_factory=dict)


STEPS = {
    "pstnet": Step("pstnet", "pstnet_small", _PUBLISHED),
    "pstnetpp": Step("pstnetpp", "pstnetpp_small", _PUBLISHED),
    "random_frames": Step("pstnetpp", "pstnetpp_small", _RANDOM_FRAMES),
    "cosine": Step("pstnetpp", "pstnetpp_small"),
    "displacement": Step("pstnetpp", "pstnetpp_small_displacement"),
    "im_pstnet": Step("im_pstnet", "im_pstnet_small_inside"),
}
"""By name, in order; from pstnetpp on each has what those before it have."""


def recipe(name: str, seed: int, overrides: tuple[str, ...] = ()) -> FinetuneConfig:
    """The run of one step. Raises InputError on an override that does not fit."""
    step = STEPS[name]
    values = {
        "name": f"{name}_{seed}", "architecture": step.architecture,
        "model": f"config/models/{step.model}.yaml", "seed": str(seed),
        "preprocess.points": "512", "epochs": "60", **step.changes,
    }  # fmt: skip
    told = tuple(f"{key}={value}" for key, value in values.items())
    return load_yaml(FinetuneConfig, _RECIPE, told + overrides)


def measure(path: Path, config: FinetuneConfig, part: str) -> dict[str, float]:
    """Video accuracy by protocol of a trained step."""
    loaded = checkpoint.load(path)
    videos = open_videos(config.data)
    chosen = choose(loaded, videos, config.data, part)
    figures = evaluate(loaded, videos, chosen, Options(), progress=True).figures
    return {protocol: figures[f"video_accuracy_{protocol}"] for protocol in PROTOCOLS}


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP",
                        help=f"which rows: {', '.join(STEPS)} (default: all)")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=whole, default=[0], help="default: 0")
    parser.add_argument("--set", action="append", default=[], dest="overrides",
                        metavar="NAME=VALUE", help="replace a value of the recipe")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/ladder"), help="the runs' folder")
    parser.add_argument("--split", choices=("holdout", "test"), default="test")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    overrides = tuple(arguments.overrides)
    measured: dict[str, list[dict[str, float]]] = {}
    for name in arguments.steps:
        for seed in arguments.seeds:
            config = recipe(name, seed, overrides)
            path = arguments.out / config.name / f"{config.name}.safetensors"
            if not path.exists():
                finetune(config, path.parent)
            measured.setdefault(name, []).append(measure(path, config, arguments.split))
    # The name of the step first: a table's row.
    figures = {
        f"{name}_{figure}": round(value, 2)
        for name, runs in measured.items()
        for figure, value in together({"": runs}).items()
    }
    for key, value in figures.items():
        print(f"{key:32} {value:6.2f} %")
    if arguments.results:
        run = recipe(arguments.steps[0], 0, overrides)
        write_result(
            arguments.results,
            name="msr_action3d_ladder",
            command=shlex.join(["python", *sys.argv]),
            data=f"msr_action3d, {arguments.split} split",
            protocol=f"{_RECIPE} with {run.preprocess.points} points and {run.epochs} epochs, half "
            "width; segments: 5 clips by segments, windows: every window; mean softmax; mean and "
            "standard deviation over the seeds",
            seeds=arguments.seeds,
            figures=figures,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
