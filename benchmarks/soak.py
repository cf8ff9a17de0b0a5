"""An hour of bag time with faults, as fast as the machine goes: what the node makes of each.

python benchmarks/soak.py                                  # writes results/soak.json
python benchmarks/soak.py --minutes 5 --out /tmp/try.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import rclpy
from tqdm import tqdm

from benchmarks.dds_640x480 import resident
from benchmarks.results_file import write_result
from benchmarks.soak_faults import FAULTS, LOOP, Fault
from benchmarks.soak_node import FRAMES, MODEL, PASS_SECONDS, POINTS, RATE, Soak
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import positive

ROOT = Path(__file__).resolve().parents[1]
NAME = "soak"
PLACES = (12 * RATE, 29 * RATE, 46 * RATE)
"""Where in a pass the faults are, and by how many frames they vary."""
VARY = 2 * RATE
KILLS = 5


@dataclass
class Record:
    """What has been seen of one fault."""

    injected: int = 0
    told: int = 0
    recovered: list[float] = field(default_factory=list)
    """Seconds of bag time from its end to the first right answer."""


class Judge:
    """Holds a soak's answers against those of the clean run."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.truth: dict[int, bytes] = {}
        self.records: dict[str, Record] = {one.name: Record() for one in (LOOP, *FAULTS)}
        self.right = self.wrong = self.missing = 0
        """Answers outside of the faults: the clean run's own, others, and those that did not
        come."""
        self._seen = 0
        self._last: int | None = None
        self._open: tuple[Fault, int] | None = None
        card = soak.node._lanes[0].pipeline
        self._period = card.window.clip.period
        self._reach = (card.window.clip.frames + 1) * self._period // (SECOND // RATE) + 4
        """Frames for which a window may have seen a fault; its grid and its image come late."""

    def learn(self) -> None:
        """The clean run: from each frame on at which the window's grid may begin."""
        step = round(self._period * RATE / SECOND)
        for phase in range(step):
            self.soak.restart()
            self.soak.node.answers.clear()
            for index in range(phase, FRAMES):
                self.soak.frame(index)
            self.truth |= dict(self.soak.node.answers)
        self.soak.restart()
        self.soak.node.answers.clear()

    def begin(self, fault: Fault) -> None:
        """A fault begins now."""
        self.look()
        self.records[fault.name].injected += 1

    def end(self, fault: Fault, counted: Counter[str]) -> None:
        """It is over; counted: by how much the node's counters went up."""
        record = self.records[fault.name]
        record.told += fault.told(counted)
        if fault.lasting:
            self.soak.node.answers.clear()
            self._seen, self._last = 0, None
            self._open = (fault, self.soak.put)
        else:
            self.look()
            record.recovered.append(0.0)

    def look(self) -> None:
        """Judge the answers that came since."""
        for stamp, scores in self.soak.node.answers:
            right = self.truth.get(stamp) == scores
            if self._open is not None:
                fault, since = self._open
                if right:
                    self.records[fault.name].recovered.append((self.soak.put - since) / RATE)
                elif self.soak.put - since <= self._reach:
                    continue  # a window that has seen the fault
                self._open = None
            self.right += right
            self.wrong += not right
            if self._last is not None:
                late = stamp - self._last
                self.missing += max(0, round(late / self._period) - 1)
            self._last = stamp
        self.soak.node.answers.clear()


def run(soak: Soak, judge: Judge, passes: int, seed: int, until: float) -> list[float]:
    """Put the bag in, so many times, but begin none after `until` on the monotonic clock; the MiB
    that the process holds after each."""
    chance, memory = random.Random(seed), []
    deck: list[Fault] = []
    for number in tqdm(range(passes), desc="minutes of the bag", disable=None):
        if memory and time.monotonic() > until:
            break
        places = [place + chance.randint(0, VARY) for place in PLACES]
        index = 0
        if number:
            judge.begin(LOOP)
            before = soak.node.counters()
            soak.frame(index)
            index += 1
            judge.end(LOOP, soak.node.counters() - before)
        while index < FRAMES:
            if places and index >= places[0]:
                del places[0]
                deck = deck or chance.sample(FAULTS, len(FAULTS))
                fault = deck.pop()
                judge.begin(fault)
                before = soak.node.counters()
                index = fault.inject(soak, index, chance)
                soak.frame(index)  # which a jump is noticed by
                judge.end(fault, soak.node.counters() - before)
            else:
                soak.frame(index)
                judge.look()
            index += 1
        memory.append(resident(os.getpid()))
    return memory


def restarts(count: int) -> list[float]:
    """Seconds from a kill -9 to an active successor, started at once."""
    code = "from fourd_perception.nodes.recognizer import main; main()"
    command = [
        sys.executable, "-u", "-c", code, "--ros-args", "-p", f"model:={MODEL}",
        "-p", "autostart:=true",
    ]  # fmt: skip
    environment = {**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "1"}
    took, killed = [], None
    for _ in range(count + 1):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert child.stdout is not None
        if not any("active, listening" in line for line in child.stdout):
            raise SystemExit("the recognizer did not start, see above")
        if killed is not None:
            took.append(time.monotonic() - killed)
        child.kill()
        killed = time.monotonic()
        child.wait()
    return took


def figures_of(judge: Judge, memory: list[float], seconds: float) -> dict[str, Any]:
    """All of it, for the result's file."""
    faults = {}
    for one in (LOOP, *FAULTS):
        record = judge.records[one.name]
        if record.injected:
            faults[one.name] = {
                "node": one.did,
                "injected": record.injected,
                "told": record.told,
                "recovered": len(record.recovered),
                "recovered_median_s": round(statistics.median(record.recovered or [-1.0]), 2),
                "recovered_worst_s": round(max(record.recovered, default=-1.0), 2),
            }
    after = memory[1:] or memory
    return {
        "bag_minutes": len(memory) * PASS_SECONDS / 60,
        "times_real_time": round(len(memory) * PASS_SECONDS / seconds, 1),
        "answers_as_in_the_clean_run": judge.right,
        "other_answers": judge.wrong,
        "answers_missing": judge.missing,
        "faults_injected": sum(one["injected"] for one in faults.values()),
        "faults_not_recovered_from": sum(
            one["injected"] - one["recovered"] for one in faults.values()
        ),
        "rss_first_minute_mb": round(memory[0], 1),
        "rss_largest_growth_percent": round((max(after) / memory[0] - 1) * 100, 2),
        "rss_last_growth_percent": round((after[-1] / memory[0] - 1) * 100, 2),
        "faults": faults,
    }


def main() -> int:
    """Soak, and write the result; exit code 1 where an answer was not the clean run's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=positive, default=60.0, help="of the bag (default: 60)")
    parser.add_argument(
        "--at-most", type=positive, help="begin no minute after so many of real time"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / f"{NAME}.json")
    given = parser.parse_args()
    rclpy.init(args=[])
    soak = Soak()
    judge = Judge(soak)
    judge.learn()
    started = time.monotonic()
    passes = max(1, round(given.minutes * 60 / PASS_SECONDS))
    limit = math.inf if given.at_most is None else started + 60 * given.at_most
    memory = run(soak, judge, passes, given.seed, limit)
    figures = figures_of(judge, memory, time.monotonic() - started)
    soak.close()
    rclpy.try_shutdown()
    took = restarts(KILLS)
    figures["restart_after_kill_median_s"] = round(statistics.median(took), 2)
    figures["restart_after_kill_worst_s"] = round(max(took), 2)
    write_result(
        given.out,
        NAME,
        f"python benchmarks/{NAME}.py --minutes {given.minutes:g} --seed {given.seed}"
        + ("" if given.at_most is None else f" --at-most {given.at_most:g}"),
        f"a bag of {PASS_SECONDS} s, random clouds of {POINTS} points and images at {RATE} Hz, "
        "over and over",
        "put into the callbacks of a live recognizer (studio.safetensors, an answer for each frame "
        "of its window) without waiting but for its answers; three faults in each minute, drawn by "
        "the seed; answers of windows that saw no fault are held, bit by bit, against a run "
        "without faults; recovered: bag time from the fault's end to the first such answer; "
        "memory at the end of each minute against the first's; restart: kill -9, the successor "
        "started at once, until it is active",
        (given.seed,),
        figures,
    )
    print(json.dumps(figures, indent=1))
    bad = figures["other_answers"] + figures["answers_missing"]
    return int(bool(bad + figures["faults_not_recovered_from"]))


if __name__ == "__main__":
    sys.exit(main())
