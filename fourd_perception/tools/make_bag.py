"""Write a rosbag2 as a depth camera would have made it, with the truth beside the messages."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fourd_perception.errors import InputError, command
from fourd_perception.recordings import msr_action3d, studio_seeds
from fourd_perception.recordings.bag_writer import STREAMS, BagContent, start_stamp, write_bag
from fourd_perception.recordings.recording import Recording
from fourd_perception.tools.arguments import positive, whole

_EXAMPLES = """\
examples:
  make_bag out/studio --studio --seed 2000007 --actions wave_hand sit_down drink
  make_bag out/kinect --msr ~/MSR-Action3D --subjects 6-10 --seconds 120 --topics points

The bag is a folder: an mcap, its metadata.yaml, and truth.csv with a line of start, end and label
for every action (seconds on the clock of the header stamps). The same arguments give the same
messages."""


@command
def main() -> int:
    """The entry point `make_bag`."""
    arguments = _parser().parse_args()
    streams = tuple(arguments.topics.split(","))
    content = BagContent(streams, arguments.whole_room, arguments.image_step, arguments.labels)
    seed = arguments.seed
    if seed is None:
        seed = studio_seeds.DEMO if arguments.studio else 0
    if arguments.studio:
        recording = studio_recording(
            seed, arguments.seconds, arguments.actions,
            empty_seconds=arguments.empty_seconds or 0.0, passer_by=arguments.passer_by,
            companions=arguments.companions,
        )  # fmt: skip
    else:
        only_studio = ("actions", "whole_room", "empty_seconds", "passer_by", "companions")
        given = [name for name in only_studio if getattr(arguments, name)]
        if given:
            option = given[0].replace("_", "-")
            raise InputError(f"--{option} needs --studio: MSR-Action3D has no room")
        subjects = _numbers(arguments.subjects)
        recording = msr_recording(arguments.msr, seed, arguments.seconds, subjects)
    summary = write_bag(
        arguments.out,
        recording,
        start=start_stamp(seed),
        content=content,
        force=arguments.force,
    )
    if arguments.json:
        print(json.dumps(dataclasses.asdict(summary) | {"path": str(summary.path)}))
    else:
        print(
            f"{summary.path}: {summary.actions} actions, {summary.frames} frames, "
            f"{summary.seconds:.1f} s, {summary.megabytes:.0f} MB"
        )
    return 0


def studio_recording(
    seed: int,
    seconds: float,
    actions: Sequence[str] | None = None,
    *,
    rate: float = 30.0,
    empty_seconds: float = 0.0,
    passer_by: bool = False,
    companions: int = 0,
) -> Recording:
    """Somebody performs `actions`, or, where none are given, all of them by turns for `seconds`.

    empty_seconds, passer_by, companions: as in StudioConfig. Raises InputError on an unknown
    action, or where the studio's renderer is not installed.
    """
    try:
        from fourd_perception import studio
    except ImportError as error:
        raise InputError(f"the studio needs MuJoCo ({error}): pip install mujoco") from None
    config = studio.StudioConfig(
        rate=rate, empty_seconds=empty_seconds, passer_by=passer_by, companions=companions
    )
    if actions:
        return studio.perform(seed, actions, config)
    count = max(1, round(seconds * 2 / (config.seconds_least + config.seconds_most)))
    return studio.perform(seed, _by_turns(studio.CLASSES, count, seed), config)


def msr_recording(
    root: str | Path, seed: int, seconds: float, subjects: Sequence[int]
) -> Recording:
    """MSR-Action3D's sequences of `subjects` in random order, for `seconds`. Raises InputError."""
    return msr_action3d.recording(root, msr_action3d.draw(root, subjects, seed, seconds=seconds))


def _by_turns(names: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` names: all of them in random order, then all in another order, and so on."""
    random = np.random.default_rng(seed)
    rounds = -(-count // len(names))
    order = np.concatenate([random.permutation(len(names)) for _ in range(rounds)])
    return [names[index] for index in order[:count]]


def _numbers(text: str) -> list[int]:
    """'1,3,6-8' as [1, 3, 6, 7, 8]."""
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            part_numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise InputError(f"--subjects: expected such as 6-10 or 1,3; got '{text}'") from None
        if not part_numbers:
            raise InputError(f"--subjects: nobody is in '{part}'; expected such as 6-10")
        numbers += part_numbers
    return numbers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make_bag",
        description=sys.modules[__name__].__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="the bag's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--studio", action="store_true", help="a made-up person in a made-up room")
    source.add_argument("--msr", metavar="ROOT", type=Path, help="MSR-Action3D, in this folder")
    trained = studio_seeds.SHIPPED_MODEL
    parser.add_argument(
        "--seed", type=whole, metavar="N",
        help=f"of everything random (default: {studio_seeds.DEMO} for the studio, whose seeds "
        f"{trained[0]} to {trained[-1]} the shipped model was trained on; 0 for MSR)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=positive, default=60.0, metavar="S",
        help="about how long (default 60); with --actions they decide",
    )  # fmt: skip
    parser.add_argument("--actions", nargs="+", metavar="NAME", help="studio: these, in this order")
    subjects = f"{msr_action3d.TEST_SUBJECTS[0]}-{msr_action3d.TEST_SUBJECTS[-1]}"
    parser.add_argument(
        "--subjects", default=subjects, help=f"MSR: whom (default {subjects}, the test subjects)"
    )
    parser.add_argument(
        "--topics", default=",".join(STREAMS),
        help=f"some of {','.join(STREAMS)} (default all; color where the source has colour)",
    )  # fmt: skip
    parser.add_argument(
        "--image-step", type=int, default=1, metavar="N",
        help="images with every n-th cloud only: a smaller bag (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--whole-room", action="store_true",
        help="every pixel, as an organised cloud; else the person and what they hold",
    )  # fmt: skip
    parser.add_argument(
        "--labels", action="store_true",
        help="studio: a field `label` in the clouds, and point_classes.csv beside truth.csv",
    )  # fmt: skip
    parser.add_argument(
        "--empty-seconds", type=positive, metavar="S",
        help="studio: the room is empty for so long before the person is there",
    )  # fmt: skip
    parser.add_argument(
        "--passer-by", action="store_true",
        help="studio: somebody else walks to and fro behind the person",
    )  # fmt: skip
    parser.add_argument(
        "--companions", type=int, choices=range(3), default=0, metavar="N",
        help="studio: so many others, 2 at most, act beside the person and behind; what they do is "
        "in truth_other_1.csv and so on. Seen in depth and in a --whole-room",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="overwrite a bag that is there")
    parser.add_argument("--json", action="store_true", help="say what was written as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
