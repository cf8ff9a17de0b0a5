"""One step of CrossVideo's pre-training: its memory, and where its time goes.

python benchmarks/pretrain_step.py    # the paper's sizes, a batch of random clips
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_memory import added
from benchmarks.results_file import write_result
from fourd_perception.errors import command
from fourd_perception.parameters import load_yaml
from fourd_perception.tools.arguments import counting
from training.crossvideo import CrossBatch, CrossVideo
from training.optimisers import optimiser
from training.pretrain import build_model
from training.pretrain_config import PretrainConfig
from training.views import frames_kept

_RECIPE = "config/training/crossvideo_hoi4d.yaml"


def random_batch(config: PretrainConfig, seed: int = 0) -> CrossBatch:
    """Clips of the recipe's sizes: points in a box of 2 m, noise as images."""
    random = torch.Generator().manual_seed(seed)
    count, frames = config.batch_size, config.clip.frames
    kept = frames_kept(frames, config.view)
    every = torch.arange(frames).expand(count, -1)
    seconds = torch.arange(frames)[:: max(1, config.view.every)][:kept].expand(count, -1)

    def cloud(length: int) -> Tensor:
        return 2 * torch.rand(count, length, config.preprocess.points, 3, generator=random)

    size = (count, frames, 3, config.preprocess.image_size, config.preprocess.image_size)
    return CrossBatch(
        clips=cloud(frames), labels=torch.full((count,), -1), names=(),
        second=cloud(seconds.shape[1]), images=torch.rand(*size, generator=random),
        frames=every, second_frames=seconds, image_frames=every,
    )  # fmt: skip


class Stopwatch:
    """Seconds by part of a step: what the encoders take going forward, and what is around them."""

    def __init__(self, model: CrossVideo) -> None:
        self.seconds = dict.fromkeys(("points", "images", "contrast", "backward", "optimiser"), 0.0)
        self._forward = False
        encode: Any = model.points.encode
        model.points.encode = self._timed("points", encode)  # type: ignore[method-assign]
        if model.images is not None:
            model.images.forward = self._timed("images", model.images.forward)  # type: ignore[method-assign]

    def _timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that is timed going forward; what is computed again belongs to the way back."""

        def timed(*given: Any) -> Any:
            if not self._forward:
                return call(*given)
            with self.part(part):
                return call(*given)

        return timed

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds what is inside to a part."""
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started

    def step(self, model: CrossVideo, own: torch.optim.Optimizer, batch: CrossBatch) -> None:
        """One step of the optimiser; forgets those before."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        own.zero_grad(set_to_none=True)
        self._forward = True
        with self.part("contrast"):
            loss, _ = model(batch)
        self._forward = False
        self.seconds["contrast"] -= self.seconds["points"] + self.seconds["images"]
        with self.part("backward"):
            loss.backward()
        with self.part("optimiser"):
            own.step()


def measure(config: PretrainConfig, steps: int) -> dict[str, float]:
    """MB that model, optimiser and steps take at the most; ms of the last step, by part."""
    seconds: dict[str, float] = {}

    def train() -> None:
        model = build_model(config)[0].train()
        own = optimiser(model, config.optimiser)
        watch, batch = Stopwatch(model), random_batch(config)
        for number in range(steps):
            watch.step(model, own, batch)
            print(f"step {number + 1} of {steps}: {sum(watch.seconds.values()):.1f} s", flush=True)
        seconds.update(watch.seconds)

    memory = added(train)
    told = {f"{part}_ms": round(1e3 * value) for part, value in seconds.items()}
    return {"memory_mb": round(memory), "step_ms": sum(told.values()), **told}


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--config", default=_RECIPE, help=f"the recipe (default: {_RECIPE})")
    parser.add_argument("--set", action="append", default=[], dest="overrides",
                        metavar="NAME=VALUE", help="replace a value of the recipe")  # fmt: skip
    parser.add_argument("--steps", type=counting, default=2, help="the last is told (default: 2)")
    parser.add_argument("--results", help="write the figures to this file, see results/")
    arguments = parser.parse_args()
    config = load_yaml(PretrainConfig, arguments.config, tuple(arguments.overrides))
    torch.set_num_threads(config.threads or torch.get_num_threads())
    figures = measure(config, arguments.steps)
    for name, value in figures.items():
        print(f"{name:24} {value:8.0f}")
    if arguments.results:
        write_result(
            arguments.results, name="crossvideo_step", command=shlex.join(["python", *sys.argv]),
            data="random clips",
            protocol=f"{arguments.config}: batch of {config.batch_size}, {config.clips_at_once} "
            f"clips at once, {config.clip.frames} frames of {config.preprocess.points} points and "
            f"{config.preprocess.image_size} px; memory: of model, optimiser and steps together; "
            f"ms of step {arguments.steps}, backward with what is computed again",
            seeds=[config.seed], figures=figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
