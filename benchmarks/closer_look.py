"""What a second look at a room costs and brings live: python benchmarks/closer_look.py

The studio's rooms, people that no training has seen, as a camera of 640 x 480 points sees them, go
through the segmenter's pipeline frame by frame, by one look and by two in turns, so that both are
timed under one load; CPU time counts what all threads have computed. The labels of all points are
judged.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import command
from fourd_perception.evaluation import metrics
from fourd_perception.pipeline import SegmentationConfig, SegmentationPipeline
from fourd_perception.recordings import studio_seeds
from fourd_perception.stream.frame import UNLABELLED, Frame
from fourd_perception.tools.arguments import counting

WIDTH, HEIGHT = 640, 480
RATE = 7.5
MAX_DISTANCE = 0.3
LOOKS = {"one_look": False, "two_looks": True}


def frames(seed: int, skipped: int, count: int) -> Iterator[tuple[Frame, NDArray[np.int64]]]:
    """A performance's frames after the first `skipped`, and the truth of their points."""
    from fourd_perception.studio import StudioConfig, perform

    recording = perform(seed, None, StudioConfig(width=WIDTH, height=HEIGHT, rate=RATE))
    for one in islice(recording.frames(), skipped, skipped + count):
        points = recording.intrinsics.back_project(one.depth).reshape(-1, 3)
        truth = np.full(one.depth.shape, UNLABELLED, np.int64)
        if one.labels is not None:
            truth[one.depth > 0] = one.labels[one.depth > 0]
        yield Frame(one.stamp, "camera", points, rows=HEIGHT), truth.ravel()


def measure(model: Path, recordings: int, count: int) -> dict[str, float]:
    """Milliseconds of a frame by one look and by two, and the mean IoU."""
    loaded = checkpoint.load(model)
    classes = len(loaded.card.classes)
    taken: dict[str, list[float]] = {name: [] for name in LOOKS}
    computed: dict[str, list[float]] = {name: [] for name in LOOKS}
    counts = {name: np.zeros((classes, classes + 1), np.int64) for name in LOOKS}
    for number in range(recordings):
        pipelines = {
            name: SegmentationPipeline(
                loaded, SegmentationConfig(max_distance=MAX_DISTANCE, closer_look=twice)
            )
            for name, twice in LOOKS.items()
        }
        for pipeline in pipelines.values():
            pipeline.warm_up()
        # Another action of each.
        for frame, truth in frames(studio_seeds.TEST + number, 30 * number, count):
            for name, pipeline in pipelines.items():
                started = time.process_time()
                answer = pipeline.push(frame)
                if answer is None:
                    continue
                computed[name].append((time.process_time() - started) * 1e3)
                taken[name].append(answer.processing_ms)
                counts[name] += metrics.label_confusion(
                    truth=truth, answers=answer.labels.astype(np.int64), classes=classes,
                    ignore=(UNLABELLED,),
                )  # fmt: skip
    median = {name: float(np.median(one)) for name, one in taken.items()}
    found = {
        "ratio": round(median["two_looks"] / median["one_look"], 2),
        "frames": len(taken["one_look"]),
    }
    for name in LOOKS:
        found[f"{name}_frame_p50_ms"] = round(median[name], 1)
        found[f"{name}_frame_cpu_p50_ms"] = round(float(np.median(computed[name])), 1)
        found[f"{name}_miou"] = round(metrics.mean_iou(counts[name]), 2)
    return found


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/studio_points.safetensors"), metavar="FILE",
        help="(default: %(default)s)")  # fmt: skip
    add("--recordings", type=counting, default=6, help="(default: 6)")
    add("--frames", type=counting, default=20, help="of each (default: 20)")
    add("--threads", type=counting, default=2, help="(default: 2)")
    add("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.model, arguments.recordings, arguments.frames)
    for name, value in figures.items():
        print(f"{name:32} {value:10}")
    if arguments.results:
        write_result(
            arguments.results, name="closer_look", command=shlex.join(["python", *sys.argv]),
            data=f"rooms of the studio, {WIDTH} x {HEIGHT} points at {RATE:g} Hz, seeds that no "
            "training uses",
            protocol=f"every frame through the pipeline, max_distance {MAX_DISTANCE:g}, by one "
            "look and by two in turns; a frame: from the window to the labels of all points; mean "
            "IoU of all points with a return",
            seeds=[studio_seeds.TEST + number for number in range(arguments.recordings)],
            figures=figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
