"""CrossVideo's Table V on MSR-Action3D: python training/data_efficiency.py --init NAME=FILE ...

Fine-tuning on 10, 20, 40 and 80 % of the training videos, from scratch and from encoders that
training/pretrain.py has trained on all of them without labels
(config/training/crossvideo_msr_action3d.yaml). What is trained already is not trained again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import InputError, command
from fourd_perception.tools.arguments import counting
from training import series
from training.config import DataConfig, FinetuneConfig
from training.data import open_videos, split

RECIPE = "config/training/msr_action3d_pptr.yaml"
CLIPS_PER_VIDEO = {4: 8, 10: 4, 20: 2, 40: 1, 80: 1}
"""By percent of the videos: few are seen more often in an epoch, so that there are steps enough."""
_SHARES = (10, 20, 40, 80)
"""The paper's."""
SCRATCH = "scratch"
_SEED = "{seed}"


def recipe(
    beginning: str, percent: int, seed: int, overrides: tuple[str, ...] = (), path: str = RECIPE
) -> FinetuneConfig:
    """One fine-tuning; the seed is that of the share, too. path: of the recipe that it changes.

    Raises InputError on a bad override, and on a recipe that learns no action of a clip.
    """
    values = {
        "name": f"{beginning}_{percent}_{seed}", "seed": str(seed),
        "data.train_share": str(percent / 100), "data.share_seed": str(seed),
        "sampling.clips_per_video": str(CLIPS_PER_VIDEO[percent]),
        "preprocess.points": "512", "epochs": "60",
    }  # fmt: skip
    return series.recipe(path, values, overrides)


def named(text: str, seeds: Sequence[int] = (0,)) -> tuple[str, str]:
    """NAME=FILE as name and file; {seed} in it stands for each seed's own.

    Raises InputError on anything else, on scratch, and where a seed's file is not there.
    """
    name, equals, file = text.partition("=")
    if not equals or not name or not file or name == SCRATCH:
        raise InputError(f"--init {text}: expected NAME=FILE, the name not '{SCRATCH}'")
    for one in (file.replace(_SEED, str(seed)) for seed in seeds):
        if not Path(one).is_file():
            raise InputError(f"--init {text}: no file {one}; training/pretrain.py makes it")
    return name, file


def labelled_groups(count: int, seeds: Sequence[int], data: DataConfig) -> dict[int, list[str]]:
    """So many groups (people) of the training videos for each seed, whose labels it may have.

    In their order, from the seed's own on, so that as many seeds as groups have each as often.
    Raises InputError if there are not so many.
    """
    whole = split(open_videos(data), replace(data, train_share=1.0))
    groups = sorted({video.group for video in whole["train"]})
    if count > len(groups):
        raise InputError(f"--groups {count}: there are {len(groups)}: {', '.join(groups)}")
    return {
        seed: sorted(groups[(seed + place) % len(groups)] for place in range(count))
        for seed in seeds
    }


@command
def main() -> int:
    """The command line."""
    parser = series.parser(__doc__.splitlines()[0] if __doc__ else "", "out/data_efficiency")
    parser.add_argument("--init", nargs="+", required=True, metavar="NAME=FILE",
                        help="<name>_points.safetensors of training/pretrain.py, and what its "
                        "rows are called: crossvideo=out/train/...; {seed} in it stands for the "
                        "seed, where each has a pre-training of its own")  # fmt: skip
    parser.add_argument("--shares", nargs="+", type=int, choices=CLIPS_PER_VIDEO,
                        default=_SHARES, metavar="PERCENT",
                        help="of the training videos (default: 10 20 40 80)")  # fmt: skip
    parser.add_argument("--set-init", action="append", default=[], metavar="NAME=VALUE",
                        help="replace a value of the recipe where it begins with --init, such as "
                        "a longer warm-up; from scratch it stays")  # fmt: skip
    parser.add_argument("--groups", type=counting, metavar="COUNT",
                        help="the share is of so many groups' (people's) videos, of others for "
                        "each seed (default: of all)")  # fmt: skip
    arguments = parser.parse_args()
    overrides, begun = tuple(arguments.overrides), tuple(arguments.set_init)
    weights = dict(named(text, arguments.seeds) for text in arguments.init)
    beginnings = (SCRATCH, *weights)
    rows = {f"{one}_{share}": (one, share) for share in arguments.shares for one in beginnings}
    shown = recipe(SCRATCH, arguments.shares[0], 0, overrides)
    only: dict[int, tuple[str, ...]] = {}
    whose = "the training videos"
    if arguments.groups:
        for seed, groups in labelled_groups(arguments.groups, arguments.seeds, shown.data).items():
            only[seed] = (f"data.train_groups=[{', '.join(groups)}]",)
        whose += f" of {arguments.groups} of their groups, other groups for each seed"

    def run(row: str, seed: int) -> series.Run:
        beginning, percent = rows[row]
        told = overrides + only.get(seed, ())
        if beginning == SCRATCH:
            return series.Run(recipe(beginning, percent, seed, told))
        init = Path(weights[beginning].replace(_SEED, str(seed)))
        return series.Run(recipe(beginning, percent, seed, told + begun), init)

    protocol = (
        f"{RECIPE} with {shown.preprocess.points} points and {shown.epochs} epochs on a share of "
        f"{whose}, of each action alike, another for each seed; from scratch, or begun "
        f"with {' and '.join(arguments.init)}"
        + (f", which have {' and '.join(begun)}" if begun else "")
    )
    series.tell(rows, run, "crossvideo_data_efficiency", shown.data, protocol, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
