"""VG4D's Table IV on MSR-Action3D: python training/ladder.py --set data.root=<folder>

From PSTNet and PSTNet++ to im-PSTNet, one change at a time, under one recipe
(config/training/msr_action3d.yaml, with fewer points). Trains what is not trained yet and measures
it on the test; it can be stopped at any moment: run it again, and it goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import command
from training import series
from training.config import FinetuneConfig

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
    return series.recipe(_RECIPE, values, overrides)


@command
def main() -> int:
    """The command line."""
    parser = series.parser(__doc__.splitlines()[0] if __doc__ else "", "out/ladder")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP",
                        help=f"which rows: {', '.join(STEPS)} (default: all)")  # fmt: skip
    arguments = parser.parse_args()
    overrides = tuple(arguments.overrides)
    shown = recipe(arguments.steps[0], 0, overrides)

    def run(step: str, seed: int) -> series.Run:
        return series.Run(recipe(step, seed, overrides))

    protocol = (
        f"{_RECIPE} with {shown.preprocess.points} points and {shown.epochs} epochs, half width"
    )
    series.tell(arguments.steps, run, "msr_action3d_ladder", shown.data, protocol, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
