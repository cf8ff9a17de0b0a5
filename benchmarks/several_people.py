"""What is said of two and of three people who do different things at once, and what it costs.

python benchmarks/several_people.py --results results/where_to_look.json

In furnished rooms that no training has seen somebody performs, and others beside them and behind,
who do actions of their own; again with somebody who walks to and fro behind one person. Every frame
goes through what the recognizer runs: background, people, windows of each. Who is who, the truth
says: the place where each stands. The figures go beside those of where_to_look.py.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint, studio
from fourd_perception.errors import command
from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.people_pipeline import PeoplePipeline
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.recording import OtherPerson, Recording
from fourd_perception.stream.frame import Frame
from fourd_perception.tools.arguments import counting

RATE = 7.5
EMPTY_SECONDS = 4.0
_STRIDE = 4
_THEIRS = 0.6
"""Metres over the floor around somebody's place in which a box is theirs."""
_NEAREST = LookConfig(background_seconds=3.0, person="nearest")
_WINDOWS = PipelineConfig(stride=_STRIDE)


@dataclass
class Tally:
    """What is counted over all rooms of a setting.

    windows: that lie inside one action of somebody who is there. answered: those that somebody was
    answered for at. right: of these. frames: in which somebody is there; followed: and followed.
    switches: how often somebody has another number than before. strangers: numbers of who is at
    nobody's place.
    """

    counts: Counter[str] = field(default_factory=Counter)

    def figures(self, name: str) -> dict[str, float]:
        """By names that begin with the setting's."""
        n = self.counts
        return {
            f"{name}_right": round(100 * n["right"] / max(1, n["answered"]), 2),
            f"{name}_answered": round(100 * n["answered"] / max(1, n["windows"]), 2),
            f"{name}_windows": n["windows"],
            f"{name}_frames_followed": round(100 * n["followed"] / max(1, n["frames"]), 2),
            f"{name}_switches": n["switches"],
            f"{name}_strangers": n["strangers"],
        }


def film(seed: int, others: int, *, passer_by: bool = False, large: bool = False) -> Recording:
    """A person and so many others, all actions each. large: 640x480 pixels."""
    size = {"width": 640, "height": 480} if large else {}
    config = studio.StudioConfig(
        rate=RATE, empty_seconds=EMPTY_SECONDS, companions=others, passer_by=passer_by, **size
    )
    return studio.perform(seed, None, config)


def frames(recording: Recording) -> Iterator[Frame]:
    """Its clouds."""
    rows = recording.intrinsics.height
    for one in recording.frames():
        points = recording.intrinsics.back_project(one.depth).reshape(-1, 3)
        yield Frame(one.stamp, "camera", points, rows=rows)


def judge(recording: Recording, model: checkpoint.Checkpoint, people: int, tally: Tally) -> None:
    """Follow up to `people` of a recording, and count what is said of each."""
    there = [OtherPerson(np.zeros(3), recording.truth), *recording.others]
    look = Look(replace(_NEAREST, people=people))
    pipeline = PeoplePipeline(model, _WINDOWS, people=people)
    called: dict[int, int] = {}
    strangers: set[int] = set()
    for frame in frames(recording):
        for sight in look.push(frame):
            seen = sight.frame
            assert seen.people is not None
            found = {}
            for one in seen.people:
                who = _who(one.low, one.high, recording, there)
                if who is None:
                    strangers.add(one.number)
                else:
                    found[who] = one.number
            if seen.stamp >= recording.truth[0].start:
                tally.counts["frames"] += len(there)
            for who, number in found.items():
                tally.counts["followed"] += 1
                tally.counts["switches"] += called.setdefault(who, number) != number
                called[who] = number
            answer = pipeline.push(seen)
            if answer is None:
                continue
            start = pipeline.window.clip.period * (pipeline.window.clip.frames - 1)
            said = {
                _who(one.person.low, one.person.high, recording, there): one.recognition
                for one in answer.people
            }
            for who, one in enumerate(there):
                truth = window_truth(answer.stamp - start, answer.stamp, one.truth)
                if truth is None:
                    continue
                tally.counts["windows"] += 1
                if who in said:
                    tally.counts["answered"] += 1
                    best = model.card.classes[said[who].top(1, 0.0)[0][0]]
                    tally.counts["right"] += best == truth
    tally.counts["strangers"] += len(strangers)


def _who(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    recording: Recording,
    there: list[OtherPerson],
) -> int | None:
    """Whose place a box is at; None: nobody's."""
    assert recording.viewpoint is not None
    middle = recording.viewpoint[:, :3] @ ((low + high) / 2) + recording.viewpoint[:, 3]
    away = [float(np.linalg.norm((middle - one.place)[:2])) for one in there]
    return int(np.argmin(away)) if min(away) <= _THEIRS else None


def milliseconds(seed: int, model: checkpoint.Checkpoint, count: int) -> dict[str, float]:
    """CPU time of a frame of 640x480 points, and of a window, by how many are followed of three."""
    looks = {people: Look(replace(_NEAREST, people=people)) for people in (1, 2, 3)}
    pipelines: dict[int, ActionPipeline | PeoplePipeline] = {1: ActionPipeline(model, _WINDOWS)}
    pipelines |= {people: PeoplePipeline(model, _WINDOWS, people=people) for people in (2, 3)}
    frame_ms: dict[int, list[float]] = {people: [] for people in looks}
    window_ms: dict[int, list[float]] = {people: [] for people in looks}
    for people, look in looks.items():
        look.warm_up()
        pipelines[people].warm_up()
    last = round(EMPTY_SECONDS * RATE) + count
    for number, frame in enumerate(frames(film(seed, 2, large=True))):
        if number == last:
            break
        for people, look in looks.items():
            pipeline = pipelines[people]
            before = time.thread_time()
            sights = look.push(frame)
            clips = [clip for one in sights if (clip := pipeline.offer(one.frame)) is not None]
            if number >= last - count:
                frame_ms[people].append((time.thread_time() - before) * 1e3)
            for clip in clips:
                before = time.thread_time()
                answer = pipeline.recognise(clip)
                took = (time.thread_time() - before) * 1e3
                if people == 1 or len(getattr(answer, "people", ())) == people:
                    window_ms[people].append(took)
    found = {}
    for people in looks:
        found[f"people_{people}_frame_p50_ms"] = round(float(np.median(frame_ms[people])), 2)
        found[f"people_{people}_window_p50_ms"] = round(float(np.median(window_ms[people])), 2)
    return found


@command
def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    model = checkpoint.load(arguments.model)
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    figures: dict[str, float] = {}
    for name, others, passer_by in (
        ("two_people", 1, False), ("three_people", 2, False), ("crossing", 0, True),
    ):  # fmt: skip
        tally = Tally()
        for seed in seeds:
            judge(film(seed, others, passer_by=passer_by), model, 2 if passer_by else others + 1,
                  tally)  # fmt: skip
            print(f"seed {seed} {name}: {tally.figures(name)}", flush=True)
        figures |= tally.figures(name)
    figures |= milliseconds(arguments.seed, model, arguments.frames)
    for name, value in figures.items():
        print(f"{name:40} {value:10}")
    if arguments.results:
        write_result(
            arguments.results,
            name="several people",
            command=shlex.join(["python", *sys.argv]),
            data=f"studio recordings of whole rooms, 320 x 240 at {RATE:g} Hz, all actions once; "
            f"{arguments.count} rooms, each with two, with three people who do different things at "
            "once, and with one behind whom somebody walks to and fro (crossing)",
            protocol=f"{arguments.model.name}, background_seconds 3, person nearest, people as "
            f"many as there are, stride {_STRIDE}. right: percent of the answered windows inside "
            "one action of the person whose place the box is at; answered: percent of all such "
            "windows; frames_followed: percent of frames and people; switches: times that a person "
            "had another number than before; strangers: numbers of who is at none of these "
            "places, in crossing who walks, one a room at best. ms: CPU time of a frame of "
            "640 x 480 points with three people, its sampling included, and of a window of all "
            "who are followed; one thread",
            seeds=list(seeds),
            figures=figures,
            beside=True,
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/studio.safetensors"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=studio_seeds.TEST, help="the first (default: %(default)s)")
    add("--count", type=counting, default=5, help="how many seeds (default: %(default)s)")
    add("--frames", type=counting, default=150, help="to measure (default: %(default)s)")
    add("--results", help="put the figures into this file, beside its own, see results/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
