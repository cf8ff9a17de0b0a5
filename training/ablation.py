"""CrossVideo without each of its parts: python training/ablation.py --set data.root=<folder>

Pre-trains config/training/crossvideo_msr_action3d.yaml whole, and without the contrast across
modalities, within one, of frames, of videos; then fine-tunes on 20 % of the training videos (or
--percent) from each, and from scratch. What is trained already is not trained again. --recipe and
--pretraining-recipe name others, of any data set whose clips have an action; --set and
--set-pretraining replace values of them. With --set encoder_rate=0 what was pre-trained stays as
it is, and a classifier alone is learnt: into another --out, with --pretrainings where they are.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import command
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import whole
from training import data_efficiency, series
from training.pretrain_config import PretrainConfig

_RECIPE = "config/training/crossvideo_msr_action3d.yaml"
ROWS: dict[str, tuple[str, ...]] = {
    "crossvideo": (),
    "no_cross": ("loss.cross=false",),
    "no_intra": ("loss.intra=false",),
    "no_frame": ("loss.frame=false",),
    "no_video": ("loss.video=false",),
    "c2p": ("loss.cross=false", "loss.video=false", "loss.frame_negatives=all_frames"),
}
"""What each row has otherwise than the whole. c2p: frames against all others, of the points alone,
which is C2P's contrast without its teacher and its partial views."""


def pretraining(
    row: str, seed: int, overrides: tuple[str, ...] = (), path: str = _RECIPE
) -> PretrainConfig:
    """A row's pre-training. path: of the recipe that it changes. Raises InputError as it says."""
    told = (f"name={row}_{seed}", f"seed={seed}", "data.holdout=[]", *ROWS[row])
    return load_yaml(PretrainConfig, path, told + overrides)


def _whose(seed: int | None) -> str:
    return "one run for each seed" if seed is None else f"one run for all seeds, of seed {seed}"


@command
def main() -> int:
    """The command line."""
    parser = series.parser(__doc__.splitlines()[0] if __doc__ else "", "out/ablation")
    rows = (data_efficiency.SCRATCH, *ROWS)
    parser.add_argument("--rows", nargs="+", choices=rows, metavar="ROW",
                        help=f"which rows: {', '.join(rows)} (default: all; of encoders that stay "
                        "as they are, those that have learnt before)")  # fmt: skip
    parser.add_argument("--percent", type=int, choices=data_efficiency.CLIPS_PER_VIDEO, default=20,
                        help="of the training videos that are labelled (default: 20)")  # fmt: skip
    parser.add_argument("--recipe", default=data_efficiency.RECIPE, metavar="FILE",
                        help="of the fine-tuning (default: %(default)s)")  # fmt: skip
    parser.add_argument("--pretraining-recipe", default=_RECIPE, metavar="FILE",
                        help="of the pre-training (default: %(default)s)")  # fmt: skip
    parser.add_argument("--set-pretraining", action="append", default=[], metavar="NAME=VALUE",
                        help="replace a value of the pre-training's recipe")  # fmt: skip
    parser.add_argument("--pretraining-seed", type=whole, metavar="SEED",
                        help="fine-tune all seeds of a row from its pre-training of this seed "
                        "(default: each from one of its own)")  # fmt: skip
    parser.add_argument("--pretrainings", type=Path, metavar="FOLDER",
                        help="where the pre-trainings lie, or go (default: --out)")  # fmt: skip
    arguments = parser.parse_args()
    told_before = tuple(arguments.set_pretraining)
    learns = partial(pretraining, overrides=told_before, path=arguments.pretraining_recipe)
    tunes = partial(
        data_efficiency.recipe,
        percent=arguments.percent,
        overrides=tuple(arguments.overrides),
        path=arguments.recipe,
    )

    def run(row: str, seed: int) -> series.Run:
        tuning = tunes(row, seed=seed)
        if row == data_efficiency.SCRATCH:
            return series.Run(tuning)
        one_for_all = arguments.pretraining_seed
        before = learns(row, seed if one_for_all is None else one_for_all)
        folder = (arguments.pretrainings or arguments.out) / f"{before.name}_pretraining"
        weights = folder / f"{before.name}_points.safetensors"
        return series.Run(tuning, weights, before)

    learnt, tuned = learns("crossvideo", 0), tunes("crossvideo", seed=0)
    chosen = arguments.rows or (rows if tuned.encoder_rate else list(ROWS))
    kept = "" if tuned.encoder_rate else " (pre-trained encoders as they were)"
    protocol = (
        f"{arguments.pretraining_recipe}, {learnt.epochs} epochs on all training videos without "
        f"labels ({_whose(arguments.pretraining_seed)}), then {arguments.recipe}, fine-tuned "
        f"for {tuned.epochs} epochs on {arguments.percent} % of them{kept}, "
        f"{tuned.preprocess.points} points"
    )
    name = "crossvideo_ablation" if tuned.encoder_rate else "crossvideo_ablation_probe"
    series.tell(chosen, run, name, tuned.data, protocol, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
