"""One loop for every training: epochs, resuming, averaging, records."""

from __future__ import annotations

import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fourd_perception.errors import InputError
from training import learning_curve
from training.config import ComputeConfig, OptimiserConfig
from training.distributed import Processes, device_of
from training.optimisers import learning_rate_factor, moving_average, optimiser
from training.records import Progress, Records, written

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_BETWEEN_DRAWINGS = 30.0
"""Seconds from one drawing of the learning curve to the next."""

AnyBatch = TypeVar("AnyBatch", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """Samples that are learnt from together; what needs other tensors adds fields in a subclass.

    clips, labels: tensors with the samples on the first axis. names: of the samples, for messages.
    weight: how many things the loss is the mean of, if not of the clips (of labelled points, say);
    by it are weighed the batches, and the processes' shares of a batch, that make one step.
    """

    clips: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()
    weight: float | None = None

    def to(self: AnyBatch, device: torch.device) -> AnyBatch:
        """The same on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: one.to(device) for name, one in values.items() if isinstance(one, Tensor)
        }
        return replace(self, **moved)


class Trainer:
    """Trains a model, and can be killed at any moment.

    After every epoch the whole state is written to `folder/state.pt`; a run that finds one goes on
    from it. All randomness of an epoch comes from (seed, epoch), so a run that was interrupted ends
    with the same weights, bit for bit on a CPU, as one that was not.

    Of several processes (`training.distributed`) each gives its own share of every batch; the main
    one alone validates and writes.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor],
        config: OptimiserConfig,
        folder: Path,
        *,
        epochs: int,
        steps_per_epoch: int,
        seed: int,
        identity: str,
        compute: ComputeConfig | None = None,
        processes: Processes | None = None,
    ) -> None:
        """`loss`: a mean over the batch. `identity`: what a state that is gone on from must be of.

        steps_per_epoch: of the optimiser, each of `config.accumulate` batches, the last one of an
        epoch of those that are left. processes: None for this one alone.
        """
        compute = compute or ComputeConfig()
        self.processes = processes or Processes(device=device_of(compute.device))
        self.device, self._precision = self.processes.device, _PRECISIONS[compute.precision]
        scaled = compute.precision == "float16"
        if scaled and self.device.type != "cuda":
            raise InputError(
                f"compute.precision: float16 needs a GPU, this runs on {self.device.type}: "
                "take bfloat16 or float32"
            )
        self.model, self.loss, self.config, self.folder = model, loss, config, folder
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.seed, self.identity = seed, identity
        self.epoch = 0
        model.to(self.device)
        self._optimiser = optimiser(model, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, learning_rate_factor(config, epochs, steps_per_epoch)
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self._average = (
            AveragedModel(model, avg_fn=moving_average(config.average), use_buffers=True)
            if config.average
            else None
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror})") from None

    @property
    def result(self) -> nn.Module:
        """The model to use: the average of the weights where one is kept."""
        return self.model if self._average is None else self._average.module

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.pt"

    def resume(self) -> bool:
        """Go on from `folder/state.pt` if it is there. Raises InputError if it is another run's."""
        path = self._state_path
        if not path.exists():
            return False
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{path}: cannot be read ({error}); delete it to start anew") from None
        if state["identity"] != self.identity:
            raise InputError(
                f"{path}: it is of a run with another configuration; "
                "use --fresh to start anew, or another --out"
            )
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.epoch = state["epoch"]
        return True

    def forget(self) -> None:
        """Remove what a run before this one left in the folder, and nothing else."""
        with self.processes.main_first():
            if self.processes.is_main:
                for pattern in (
                    "state.pt*", "metrics.jsonl*", "learning_curve.png*", "events.out.tfevents.*",
                ):  # fmt: skip
                    for path in self.folder.glob(pattern):
                        path.unlink()

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }
        with written(self._state_path) as part, open(part, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name without its content

    def fit(
        self,
        batches: Callable[[int], Iterable[Callable[[], Any]]],
        validate: Callable[[Any, int], dict[str, float]],
    ) -> None:
        """Train to the last epoch.

        batches(epoch): the epoch's batches, each to be made by calling it (in another thread, ahead
        of its use): a `Batch`, or a tuple of tensors. validate(model, epoch): figures to record, or
        nothing. Raises InputError on a loss that is no number and on a file that cannot be written,
        and whatever the making of a batch raises.
        """
        self._begin_together()
        main = self.processes.is_main
        drawn = time.monotonic()
        with (
            Progress(self.epochs, self.steps_per_epoch, self.epoch, shown=main) as progress,
            Records(self.folder, self.epoch) if main else nullcontext() as records,
        ):
            while self.epoch < self.epochs:
                started = time.monotonic()
                # Each process drops out its own units.
                torch.manual_seed(
                    self.seed * 100_003 + self.epoch + self.processes.rank * 15_485_863
                )
                figures = {"loss": self._run_epoch(batches(self.epoch), progress)}
                self.epoch += 1
                if records is None:
                    continue
                figures["learning_rate"] = float(self._schedule.get_last_lr()[0])
                measured = validate(self.result, self.epoch)
                figures |= measured
                # Before the state: a record without its epoch is dropped when the run goes on.
                records.write(self.epoch, figures | {"seconds": time.monotonic() - started})
                self._save()
                progress.epoch(self.epoch, figures)
                due = measured and time.monotonic() - drawn > _BETWEEN_DRAWINGS
                if due or self.epoch == self.epochs:
                    learning_curve.draw(self.folder)
                    drawn = time.monotonic()
        # No process leaves, and reads what the main one writes, before it is written.
        self.processes.wait()

    def _begin_together(self) -> None:
        """One state in all processes. Raises InputError if some resumed and others did not."""
        if self.processes.sum(self.epoch) != self.processes.world * self.epoch:
            raise InputError(
                f"{self._state_path}: not all processes went on from epoch {self.epoch}: "
                "they must see the same folder"
            )
        self.processes.spread(self.model)

    def _run_epoch(self, batches: Iterable[Callable[[], Any]], progress: Progress) -> float:
        self.model.train()
        losses: list[float] = []
        with closing(_made_ahead(batches, self.config.accumulate)) as made:
            while group := list(islice(made, self.config.accumulate)):
                losses.append(self._step(group, len(losses) + 1))
                progress.step(self.epoch + 1, losses[-1])
        if len(losses) != self.steps_per_epoch:
            raise ValueError(
                f"epoch {self.epoch + 1} had {len(losses)} steps; "
                f"the schedule was made for {self.steps_per_epoch}"
            )
        return float(np.mean(losses))

    def _step(self, group: list[Any], number: int) -> float:
        """One step of the optimiser on batches whose joined mean loss it returns."""
        self._optimiser.zero_grad(set_to_none=True)
        weights = [_weight(batch) for batch in group]
        total = self.processes.sum(sum(weights)) or 1.0
        value = 0.0
        for batch, weight in zip(group, weights):
            # A share before the backward pass, so that a batch norm across processes is right too.
            loss = self._loss(_moved(batch, self.device), number) * (weight / total)
            self._scaler.scale(loss).backward()
            value += loss.item()
        self.processes.sum_gradients(self.model)
        self._scaler.unscale_(self._optimiser)
        if self.config.gradient_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self.model)
        return self.processes.sum(value)

    def _loss(self, batch: Any, step: int) -> Tensor:
        reduced = self._precision is not torch.float32
        with torch.autocast(self.device.type, self._precision if reduced else None, reduced):
            loss = self.loss(self.model, batch)
        if not torch.isfinite(loss):
            names = ", ".join(getattr(batch, "names", ()))
            kept = (
                f"the last good state is {self._state_path}" if self.epoch else "no state is kept"
            )
            raise InputError(
                f"epoch {self.epoch + 1}, step {step}: the loss is {loss.item()}"
                f"{f' for {names}' if names else ''}; {kept}: lower the learning rate, "
                "or look at these samples"
            )
        return loss


def _weight(batch: Any) -> float:
    given = getattr(batch, "weight", None)
    samples = batch[0] if isinstance(batch, tuple) else batch.clips
    return float(len(samples) if given is None else given)


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, tuple):
        return tuple(one.to(device) if isinstance(one, Tensor) else one for one in batch)
    return batch.to(device)


def _made_ahead(batches: Iterable[Callable[[], Any]], count: int) -> Generator[Any, None, None]:
    """Make the next `count` batches in a thread while those before are computed on."""
    pool = ThreadPoolExecutor(1)
    pending: deque[Future[Any]] = deque()
    try:
        for make in batches:
            pending.append(pool.submit(make))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
