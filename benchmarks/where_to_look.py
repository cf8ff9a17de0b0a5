"""What a model of segmented people says of a whole room, by where it is told to look.

python benchmarks/where_to_look.py --results results/where_to_look.json

Bags of people whom no training has seen, in furnished rooms, go through evaluate_bag's own code:
as they are, within a box around the person's place, without the still background, and with the
nearest person alone; again with somebody who walks to and fro behind; and with a person who is
there while the background is learnt. Then what it costs of 640x480 points.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint, studio
from fourd_perception.errors import command
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_labels import bag_truth, own_labels
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.bag_writer import BagContent, start_stamp, write_bag
from fourd_perception.stream.frame import Frame
from fourd_perception.tools.arguments import counting

RATE = 7.5
EMPTY_SECONDS = 4.0
_STRIDE = 4
"""Frames of the models' 7.5 Hz from one answer to the next."""
_BOX = (-1.0, -1.0, 0.05, 1.0, 1.0, 2.3)
"""Around where the person performs, from over the floor on; in the room's frame."""

METHODS = {
    "nothing": LookConfig(),
    "box": LookConfig(crop_box=_BOX, crop_frame=camera.ROOM_FRAME),
    "background": LookConfig(background_seconds=3.0),
    "background_nearest": LookConfig(background_seconds=3.0, person="nearest"),
}


@dataclass(frozen=True)
class Setting:
    """What is filmed, and with which of METHODS it is looked at."""

    empty_seconds: float
    passer_by: bool
    methods: tuple[str, ...]


SETTINGS = {
    "": Setting(EMPTY_SECONDS, False, tuple(METHODS)),
    "_passer_by": Setting(EMPTY_SECONDS, True, tuple(METHODS)),
    "_never_empty": Setting(0.0, False, ("background", "background_nearest")),
}
"""By the ends of the figures' names."""


class Counts:
    """Right and judged answers, by figure."""

    def __init__(self) -> None:
        self.right: dict[str, int] = {}
        self.judged: dict[str, int] = {}

    def add(self, name: str, right: int, judged: int) -> None:
        """Those of one bag."""
        self.right[name] = self.right.get(name, 0) + right
        self.judged[name] = self.judged.get(name, 0) + judged

    def figures(self) -> dict[str, float]:
        """Percent, and how many were judged."""
        found = {name: round(100 * self.right[name] / max(n, 1), 2)
                 for name, n in self.judged.items()}  # fmt: skip
        return found | {f"{name}_judged": n for name, n in self.judged.items()}


def film(folder: Path, seed: int, setting: Setting) -> Path:
    """A bag of all actions once: depth images of the room, and clouds of the person cut out."""
    config = studio.StudioConfig(
        rate=RATE, empty_seconds=setting.empty_seconds, passer_by=setting.passer_by
    )
    path = folder / f"{seed}"
    content = BagContent(("points", "depth"))
    write_bag(path, studio.perform(seed, None, config), start=start_stamp(seed), content=content,
              force=True)  # fmt: skip
    return path


def judge(
    bag: Path, model: checkpoint.Checkpoint, look: LookConfig, *, cut_out: bool
) -> tuple[int, int]:
    """How many answers that lie inside one action are right, and how many there are."""
    asked = BagSource(points=camera.POINTS) if cut_out else BagSource(depth=camera.DEPTH)
    result = evaluate(bag, make_pipeline(model, {"stride": _STRIDE}), asked, look=look)
    labels, clouds = own_labels(bag), result.session.clouds
    if labels is None:
        raise RuntimeError(f"{bag}: make_bag writes a truth, and there is none")
    truth = bag_truth(labels, bag, clouds[0], clouds[-1], result.session.classes)
    said = [one.right for one in result.with_truth(truth).session.answers]
    return sum(one is True for one in said), sum(one is not None for one in said)


def accuracies(models: dict[str, Path], seeds: range) -> dict[str, float]:
    """Of every model, setting and method, over all seeds."""
    loaded = {name: checkpoint.load(path) for name, path in models.items()}
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for end, setting in SETTINGS.items():
                bag = film(Path(folder), seed, setting)
                for name, model in loaded.items():
                    if not end:
                        counts.add(
                            f"{name}_cut_out", *judge(bag, model, LookConfig(), cut_out=True)
                        )
                    for method in setting.methods:
                        found = judge(bag, model, METHODS[method], cut_out=False)
                        counts.add(f"{name}_{method}{end}", *found)
                print(f"seed {seed}{end}: {counts.figures()}", flush=True)
    return counts.figures()


def milliseconds(seed: int, frames: int) -> dict[str, float]:
    """CPU time of one frame of 640x480 points, by method; one thread does it."""
    config = studio.StudioConfig(
        width=640, height=480, rate=RATE, empty_seconds=EMPTY_SECONDS, passer_by=True
    )
    recording = studio.perform(seed, None, config)
    ways = {
        "range": LookConfig(max_range=3.5),
        "box": replace(METHODS["box"], crop_frame=""),
        "background": METHODS["background"],
        "background_nearest": METHODS["background_nearest"],
        "voxel_background_nearest": replace(
            METHODS["background_nearest"], background_method="voxels"
        ),
    }
    looks = {name: Look(way) for name, way in ways.items()}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for look in looks.values():
        look.warm_up()
    last = round(EMPTY_SECONDS * RATE) + frames
    for number, filmed in enumerate(recording.frames()):
        if number == last:
            break
        points = recording.intrinsics.back_project(filmed.depth).reshape(-1, 3)
        frame = Frame(filmed.stamp, "camera", points, rows=480)
        for name, look in looks.items():
            before = time.thread_time()
            look.push(frame)
            if number >= last - frames:
                took[name].append((time.thread_time() - before) * 1e3)
    found = {}
    for name, one in took.items():
        found[f"{name}_frame_p50_ms"] = round(float(np.median(one)), 2)
        found[f"{name}_frame_p99_ms"] = round(float(np.percentile(one, 99)), 2)
    return found


@command
def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    models = {"windows": arguments.model, "frames": arguments.action_model}
    figures = accuracies(models, seeds) | milliseconds(arguments.seed, arguments.frames)
    for name, value in figures.items():
        print(f"{name:40} {value:10}")
    if arguments.results:
        write_result(
            arguments.results,
            name="where to look",
            command=shlex.join(["python", *sys.argv]),
            data=f"studio bags of whole rooms, 320 x 240 at {RATE:g} Hz, all actions once; "
            f"{arguments.count} people and rooms that no training has seen",
            protocol=f"evaluate_bag's code. windows: of {arguments.model.name}, those inside one "
            f"action; frames: of {arguments.action_model.name}; percent right, at stride "
            f"{_STRIDE}. cut_out: the person alone, by the truth; else the room's depth images. "
            f"Defaults but for: box {_BOX} in the room's frame; background_seconds 3, the room "
            f"being empty for {EMPTY_SECONDS:g} s first, but not in never_empty. passer_by: "
            "somebody walks behind the person. The defaults were tried on seeds 900000 to 900020, "
            "not on these. ms: CPU time of a frame of 640 x 480 points",
            seeds=list(seeds),
            figures=figures,
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/studio.safetensors"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip
    add("--action-model", type=Path, default=Path("models/studio_actions.safetensors"),
        metavar="FILE", help="(default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=studio_seeds.TEST, help="the first (default: %(default)s)")
    add("--count", type=counting, default=5, help="how many seeds (default: %(default)s)")
    add("--frames", type=counting, default=150, help="to measure (default: %(default)s)")
    add("--threads", type=counting, default=2, help="(default 2)")
    add("--results", help="write the figures to this file, see results/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
