"""One loop for every training: epochs, resuming, averaging, records."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Mapping
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
from fourd_perception.whole_file import written
from training import learning_curve, loaders
from training.config import ComputeConfig, OptimiserConfig
from training.distributed import Processes, device_of
from training.identity import differences
from training.optimisers import learning_rate_factor, moving_average, optimiser
from training.records import Progress, Records

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_ANOTHER_OUT = "use another --out to keep it; --fresh starts anew and deletes it"
_BETWEEN_DRAWINGS = 30.0
"""Seconds from one drawing of the learning curve to the next."""
_LOADER_THREADS, _LOADER_PROCESSES = 2, 6
"""Where compute.loaders does not say: for a CPU, which computes besides; for a GPU, at most."""

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
        identity: Mapping[str, Any],
        compute: ComputeConfig | None = None,
        processes: Processes | None = None,
        rate_of: Callable[[str], float] | None = None,
    ) -> None:
        """`loss`: a mean over the batch. `identity`: what a state that is gone on from must be of,
        as names (of sections, too) and plain values.

        steps_per_epoch: of the optimiser, each of `config.accumulate` batches, the last one of an
        epoch of those that are left. processes: None for this one alone. rate_of: see `optimiser`;
        what learns at a rate of 0 stays as it is, its norms' statistics too.
        """
        compute = compute or ComputeConfig()
        self.processes = processes or Processes(device=device_of(compute.device))
        self.device, self._precision = self.processes.device, _PRECISIONS[compute.precision]
        self._loaders = compute.loaders
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
        self._still: list[nn.Module] = []
        if rate_of is not None:
            self._keep_still(rate_of)
        self._optimiser = optimiser(model, config, rate_of)
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

    def _keep_still(self, rate_of: Callable[[str], float]) -> None:
        for name, weight in self.model.named_parameters():
            if not rate_of(name):
                weight.requires_grad_(False)
        self._still = [
            module
            for name, module in self.model.named_modules()
            if name and not rate_of(name + ".")
        ]

    @property
    def result(self) -> nn.Module:
        """The model to use: the average of the weights where one is kept."""
        return self.model if self._average is None else self._average.module

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.pt"

    def resume(self) -> bool:
        """Go on from `folder/state.pt` if it is there.

        Raises InputError, which names what differs, if it is another run's, or no state of ours.
        """
        path = self._state_path
        if not path.exists():
            return False
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise InputError(f"{path}: cannot be read ({_line(error)}); {_ANOTHER_OUT}") from None
        try:
            differing = differences(state["identity"], self.identity)
            if not differing:
                self._take(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not a state of such a run ({_line(error)}); {_ANOTHER_OUT}"
            ) from None
        if differing:
            more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise InputError(
                f"{path}: it is of a run with another configuration: "
                f"{'; '.join(differing[:5])}{more}; {_ANOTHER_OUT}"
            )
        return True

    def _take(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.epoch = int(state["epoch"])

    def forget(self, *products: Path) -> None:
        """Remove what a run before this one left in the folder, its products, and nothing else."""
        with self.processes.main_first():
            if self.processes.is_main:
                for pattern in (
                    "state.pt*", "metrics.jsonl*", "learning_curve.png*", "events.out.tfevents.*",
                ):  # fmt: skip
                    for path in self.folder.glob(pattern):
                        path.unlink()
                for path in products:
                    path.unlink(missing_ok=True)

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
        batches: loaders.Batches,
        validate: Callable[[Any, int], dict[str, float]],
    ) -> None:
        """Train to the last epoch.

        batches(epoch): the epoch's batches, each to be made by calling it (ahead of its use, in
        another thread, or where a GPU computes in another process, to which `batches` has to be
        pickled): a `Batch`, or a tuple of tensors. validate(model, epoch): figures to record, or
        nothing. Raises InputError on a loss, a gradient or a weight that is no number, on an epoch
        without labels and on a file that cannot be written; and whatever the making of a batch
        raises.
        """
        self._begin_together()
        main = self.processes.is_main
        drawn = time.monotonic()
        with (
            Progress(self.epochs, self.steps_per_epoch, self.epoch, shown=main) as progress,
            Records(self.folder, self.epoch) if main else nullcontext() as records,
            closing(self._made(batches)) as epochs,
        ):
            for made in epochs:
                started = time.monotonic()
                # Each process drops out its own units.
                torch.manual_seed(
                    self.seed * 100_003 + self.epoch + self.processes.rank * 15_485_863
                )
                figures = {"loss": self._run_epoch(made, progress)}
                self.epoch += 1
                if records is None:
                    continue
                figures["learning_rate"] = float(self._schedule.get_last_lr()[0])
                with progress.validating(self.epoch):
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

    def _made(self, batches: loaders.Batches) -> Generator[Iterable[Any], None, None]:
        """Of each epoch that is left, its batches."""
        epochs = range(self.epoch, self.epochs)
        if self.device.type == "cpu":
            threads = self._loaders or _LOADER_THREADS
            return loaders.in_threads(
                batches, epochs, threads, ahead=max(self.config.accumulate, threads)
            )
        processes = self._loaders or min(_LOADER_PROCESSES, os.cpu_count() or 1)
        return loaders.in_processes(batches, epochs, processes)

    def _run_epoch(self, batches: Iterable[Any], progress: Progress) -> float:
        self.model.train()
        for module in self._still:
            module.eval()
        losses: list[float] = []
        learnt_from = 0.0
        made = iter(batches)
        while group := list(islice(made, self.config.accumulate)):
            weights = [_weight(batch) for batch in group]
            total = self.processes.sum(sum(weights))
            losses.append(self._step(group, weights, total or 1.0, len(losses) + 1))
            learnt_from += total
            progress.step(self.epoch + 1, losses[-1])
        if len(losses) != self.steps_per_epoch:
            raise ValueError(
                f"epoch {self.epoch + 1} had {len(losses)} steps; "
                f"the schedule was made for {self.steps_per_epoch}"
            )
        if not learnt_from:
            raise InputError(
                f"epoch {self.epoch + 1}: nothing in this epoch has a label: "
                "look at the labels of the training videos"
            )
        self._check_weights()
        return float(np.mean(losses))

    def _step(self, group: list[Any], weights: list[float], total: float, number: int) -> float:
        """One step of the optimiser on batches whose joined mean loss it returns.

        weights: of the batches; total: theirs and those of the other processes' shares.
        """
        self._optimiser.zero_grad(set_to_none=True)
        shares = []
        for batch, weight in zip(group, weights):
            # A share before the backward pass, so that a batch norm across processes is right too.
            loss = self._loss(_moved(batch, self.device)) * (weight / total)
            self._scaler.scale(loss).backward()
            shares.append(loss.detach())
        self.processes.sum_gradients(self.model)
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(
            self.model.parameters(), self.config.gradient_clip or math.inf
        )
        *losses, length = torch.stack([*shares, norm.to(shares[0])]).tolist()  # one look at a GPU
        for batch, value in zip(group, losses):
            if not math.isfinite(value):
                raise self._diverged(f"the loss is {value}", [batch], number)
        # A scaler leaves out a step with such gradients, and scales less from then on.
        if not self._scaler.is_enabled() and not math.isfinite(length):
            raise self._diverged(f"the gradients' norm is {length}", group, number)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self.model)
        return self.processes.sum(sum(losses))

    def _loss(self, batch: Any) -> Tensor:
        reduced = self._precision is not torch.float32
        with torch.autocast(self.device.type, self._precision if reduced else None, reduced):
            return self.loss(self.model, batch)

    def _diverged(self, what: str, group: Iterable[Any] = (), step: int = 0) -> InputError:
        names = ", ".join(name for batch in group for name in getattr(batch, "names", ()))
        kept = f"the last good state is {self._state_path}" if self.epoch else "no state is kept"
        return InputError(
            f"epoch {self.epoch + 1}{f', step {step}' if step else ''}: {what}"
            f"{f' for {names}' if names else ''}; {kept}: start a run in another --out with a "
            f"lower optimiser.learning_rate{', or look at these samples' if names else ''}"
        )

    def _check_weights(self) -> None:
        """Raises InputError if they are not fit to be kept in place of the last good ones."""
        for model in (self.model, self.result):
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise self._diverged(f"'{name}' has values that are not finite numbers")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _weight(batch: Any) -> float:
    given = getattr(batch, "weight", None)
    samples = batch[0] if isinstance(batch, tuple) else batch.clips
    return float(len(samples) if given is None else given)


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, tuple):
        return tuple(one.to(device) if isinstance(one, Tensor) else one for one in batch)
    return batch.to(device)
