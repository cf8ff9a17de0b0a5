"""What a segmenter takes for a camera's whole cloud: benchmarks/segmenter_640x480.py

Clouds of 640 x 480 points, a wavy wall two metres away that moves, go through the pipeline and
become messages, as in the node; the model has random weights, which cost as much as learnt ones.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import models
from fourd_perception.checkpoint import Checkpoint, ModelCard
from fourd_perception.errors import command
from fourd_perception.messages.colours import class_colours
from fourd_perception.messages.labelled_clouds import to_layout
from fourd_perception.ops.interpolate import k_nearest
from fourd_perception.ops.label_at import label_at
from fourd_perception.parameters import load_yaml, to_mapping
from fourd_perception.pipeline import SegmentationPipeline
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import ClipConfig
from fourd_perception.tools.arguments import counting

WIDTH, HEIGHT, FOCAL = 640, 480, 525.0
CLASSES = 16
RATE = 15.0


def cloud(moment: float) -> NDArray[np.float32]:
    """(HEIGHT * WIDTH, 3) float32, metres, optical frame, row after row."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    depth = 2 + 0.5 * np.sin(u / 60 + 2 * moment) * np.cos(v / 50)
    x, y = (u - WIDTH / 2) / FOCAL * depth, (v - HEIGHT / 2) / FOCAL * depth
    return np.stack((x, y, depth), -1).reshape(-1, 3).astype(np.float32)


def checkpoint_of(name: str, points: int, frames: int) -> Checkpoint:
    """A model of config/models with random weights. Raises InputError if there is none."""
    architecture = max((one for one in models.ARCHITECTURES if name.startswith(one)), key=len)
    sizes = to_mapping(
        load_yaml(models.architecture(architecture).config, f"config/models/{name}.yaml")
    )
    torch.manual_seed(0)
    model = models.build(architecture, sizes, CLASSES).eval()
    card = ModelCard(
        name=name, architecture=architecture, task=model.task, model=sizes,
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        clip=ClipConfig(frames=frames, frame_step=1, rate=RATE),
        preprocess=PreprocessConfig(points=points), trained_on={}, accuracy={},
    )  # fmt: skip
    return Checkpoint(card, model)


def milliseconds(call: Callable[[], object], times: int) -> float:
    """The median; the first call, which compiles, is left out."""
    taken = []
    for _ in range(times + 1):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1e3)
    return float(np.median(taken[1:]))


def measure(name: str, points: int, frames: int, count: int) -> dict[str, float]:
    """Milliseconds of a frame, all of it and by part, and frames a second."""
    pipeline = SegmentationPipeline(checkpoint_of(name, points, frames))
    pipeline.warm_up()
    clouds = [cloud(number / RATE) for number in range(count + frames + 1)]
    answers = []
    for number, one in enumerate(clouds):
        answer = pipeline.push(Frame(round(number / RATE * SECOND), "camera", one, rows=HEIGHT))
        if answer is not None:
            answers.append(answer)
    taken = np.array([answer.processing_ms for answer in answers[1:]])
    sampled = torch.from_numpy(clouds[0][:: len(clouds[0]) // points][:points])[None]
    targets = torch.from_numpy(clouds[0])[None]
    logits = torch.randn(points, CLASSES, generator=torch.Generator().manual_seed(0))
    carried = milliseconds(
        lambda: label_at(logits, *(one[0] for one in k_nearest(sampled, targets, 3))), 10
    )
    colours = class_colours(CLASSES)
    message = milliseconds(lambda: to_layout(answers[-1], colours), 10)
    return {
        "frame_p50_ms": round(float(np.median(taken)), 1),
        "frame_p99_ms": round(float(np.percentile(taken, 99)), 1),
        "carry_labels_ms": round(carried, 1),
        "message_ms": round(message, 1),
        "frames_per_second": round(1e3 / (float(np.median(taken)) + message), 2),
    }


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", metavar="NAME",
                        default=["p4_segmenter_small", "pptr_segmenter_small"],
                        help="tables of config/models (default: the small segmenters)")  # fmt: skip
    parser.add_argument("--points", type=counting, default=2048, help="sampled (default: 2048)")
    parser.add_argument("--clip-frames", type=counting, default=3, help="default: 3")
    parser.add_argument("--frames", type=counting, default=60, help="to measure (default: 60)")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.models:
        for figure, value in measure(
            name, arguments.points, arguments.clip_frames, arguments.frames
        ).items():
            figures[f"{name}_{figure}"] = value
            print(f"{name}_{figure:24} {value:8.1f}", flush=True)
    if arguments.results:
        write_result(
            arguments.results, name="segmenter_640x480",
            command=shlex.join(["python", *sys.argv]),
            data=f"a wavy wall, {WIDTH} x {HEIGHT} points at {RATE:g} Hz",
            protocol=f"every frame of a stream, windows of {arguments.clip_frames} frames, "
            f"{arguments.points} points sampled, {CLASSES} classes, random weights; frame: from "
            "the window to the labels of all points; carry_labels: that part of it; message: what "
            "is published",
            seeds=[0], figures=figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
