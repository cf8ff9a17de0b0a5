"""One loop for every training: epochs, resuming, averaging, records."""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from fourd_perception.errors import InputError
from training.config import OptimiserConfig

Batch = tuple[Tensor, Tensor]


class Trainer:
    """Trains a model, and can be killed at any moment.

    After every epoch the whole state is written to `folder/state.pt`; a run that finds one goes on
    from it. All randomness of an epoch comes from (seed, epoch), so a run that was interrupted ends
    with the same weights, bit for bit on a CPU, as one that was not.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Batch], Tensor],
        config: OptimiserConfig,
        folder: Path,
        *,
        epochs: int,
        steps_per_epoch: int,
        seed: int,
        identity: str,
    ) -> None:
        """`identity`: what a state must have been made for to be gone on from."""
        self.model, self.loss, self.config, self.folder = model, loss, config, folder
        self.epochs, self.seed, self.identity = epochs, seed, identity
        self.epoch = 0
        self._optimiser = _optimiser(model, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: _cosine(
                step, config.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
            ),
        )
        self._average = (
            AveragedModel(model, avg_fn=_moving_average(config.average), use_buffers=True)
            if config.average
            else None
        )
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def result(self) -> nn.Module:
        """The model to use: the average of the weights where one is kept."""
        return self.model if self._average is None else self._average.module

    def resume(self) -> bool:
        """Go on from `folder/state.pt` if it is there. Raises InputError if it is another run's."""
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        try:
            state = torch.load(path, weights_only=True)
        except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{path}: cannot be read ({error}); delete it to start anew") from None
        if state["identity"] != self.identity:
            raise InputError(
                f"{path}: it is of a run with another configuration; "
                "use --fresh to start anew, or another --out"
            )
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.epoch = state["epoch"]
        return True

    def forget(self) -> None:
        """Remove what a run before this one left in the folder, and nothing else."""
        for pattern in ("state.pt*", "metrics.jsonl*", "events.out.tfevents.*"):
            for path in self.folder.glob(pattern):
                path.unlink()

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }
        part = self.folder / "state.pt.part"
        torch.save(state, part)
        os.replace(part, self.folder / "state.pt")

    def fit(
        self,
        batches: Callable[[int], Iterable[Callable[[], Batch]]],
        validate: Callable[[nn.Module, int], dict[str, float]],
    ) -> None:
        """Train to the last epoch.

        batches(epoch): the epoch's batches, each to be made by calling it (in another thread, one
        ahead). validate(model, epoch): figures to record, or nothing.
        """
        with (
            _Records(self.folder, self.epoch) as records,
            tqdm(total=self.epochs, initial=self.epoch, unit="epoch", smoothing=0.1) as bar,
        ):
            while self.epoch < self.epochs:
                started = time.monotonic()
                torch.manual_seed(self.seed * 100_003 + self.epoch)
                figures = {"loss": self._run_epoch(batches(self.epoch), bar)}
                self.epoch += 1
                figures["learning_rate"] = float(self._schedule.get_last_lr()[0])
                figures |= validate(self.result, self.epoch)
                # Before the state: a record without its epoch is dropped when the run goes on.
                records.write(self.epoch, figures | {"seconds": time.monotonic() - started})
                self._save()
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in figures.items()})

    def _run_epoch(self, batches: Iterable[Callable[[], Batch]], bar: Any) -> float:
        self.model.train()
        losses: list[float] = []
        for batch in _one_ahead(batches):
            self._optimiser.zero_grad(set_to_none=True)
            loss = self.loss(self.model, batch)
            if not torch.isfinite(loss):
                raise InputError(
                    f"epoch {self.epoch + 1}, step {len(losses) + 1}: the loss is {loss.item()}; "
                    f"the last good state is {self.folder / 'state.pt'}: lower the learning rate"
                )
            loss.backward()
            if self.config.gradient_clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
            self._optimiser.step()
            self._schedule.step()
            if self._average is not None:
                self._average.update_parameters(self.model)
            losses.append(loss.item())
            bar.set_description(f"step {len(losses)} loss {losses[-1]:.3f}", refresh=True)
        return float(np.mean(losses))


def _optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Weight decay is for matrices; normalisation and biases go without."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if config.kind == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, config.learning_rate)


def _cosine(step: int, warmup: float, total: int) -> float:
    """The learning rate's factor: up in a line, then down along a cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A moving average, short at the start, so that what a model begins with is soon gone."""

    def average(kept: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return kept + (1 - now) * (current - kept)

    return average


def _one_ahead(batches: Iterable[Callable[[], Batch]]) -> Iterable[Batch]:
    """Make the next batch in a thread while the last one is computed on."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for make in batches:
            following = pool.submit(make)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


class _Records:
    """metrics.jsonl, a line an epoch, and TensorBoard's events where it is installed."""

    def __init__(self, folder: Path, epochs_done: int) -> None:
        self._path = folder / "metrics.jsonl"
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if _epoch_of(line) <= epochs_done]
        part = folder / "metrics.jsonl.part"
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        os.replace(part, self._path)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder), purge_step=epochs_done + 1)

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, epoch: int, figures: dict[str, float]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, **figures}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, epoch)


def _epoch_of(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # cut off when the run was killed
