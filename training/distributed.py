"""One training in several processes: torchrun --nproc_per_node 2 training/finetune.py ...

Each process takes its share of every batch. Gradients, weighed by the shares, are summed, and so
are the batch norms' statistics (`fourd_perception.models.synchronised`). A step is that of one
process with the whole batch, but for rounding. A loss across a batch's samples has to gather them
itself, as `training.losses` does.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from fourd_perception.errors import InputError

Items = TypeVar("Items", bound=Sequence)
_PATIENCE = datetime.timedelta(hours=4)
"""For the main process, which validates alone. torchrun ends all when one has failed."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and which of them this one is; alone by default."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this one writes files, validates, and speaks."""
        return self.rank == 0

    def shard(self, items: Items) -> Items:
        """This process's share of a batch: together, in the order of ranks, they are the batch.

        The shares differ by one at most. Raises InputError if one of them is empty.
        """
        if len(items) < self.world:
            raise InputError(
                f"a batch of {len(items)} cannot be shared by {self.world} processes: "
                "take larger batches, or fewer processes"
            )
        ends = [number * len(items) // self.world for number in (self.rank, self.rank + 1)]
        return items[ends[0] : ends[1]]  # type: ignore[return-value]

    def sum(self, value: float) -> float:
        """Of all processes' values."""
        if self.world == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.item()

    def sum_gradients(self, model: nn.Module) -> None:
        """Make the gradients the sum of all processes'; where none has one, there stays none."""
        if self.world == 1:
            return
        parameters = [one for one in model.parameters() if one.requires_grad]
        known = torch.tensor(
            [one.grad is not None for one in parameters], dtype=torch.float32, device=self.device
        )
        dist.all_reduce(known)
        parameters = [one for one, count in zip(parameters, known.tolist()) if count]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients: list[Tensor] = [one.grad for one in parameters if one.grad is not None]
        together = torch.cat([one.flatten() for one in gradients])
        dist.all_reduce(together)
        for gradient, part in zip(gradients, together.split([one.numel() for one in gradients])):
            gradient.copy_(part.view_as(gradient))

    def spread(self, model: nn.Module) -> None:
        """Give all processes the main one's parameters and buffers."""
        if self.world > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until all processes are here."""
        self.sum(0.0)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """What is made once, as files are: the main process goes through, then the others do."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()


def device_of(name: str, number: int = 0) -> torch.device:
    """auto, cpu or cuda as a device; `number`: of the GPU. Raises InputError if there is none."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("compute.device: cuda, but PyTorch sees no GPU: take auto or cpu")
    if number >= torch.cuda.device_count():
        raise InputError(
            f"process {number + 1} of this machine has no GPU, there are "
            f"{torch.cuda.device_count()}: start fewer processes (--nproc_per_node)"
        )
    return torch.device("cuda", number)


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun has started; without torchrun this one alone.

    device: auto, cpu (gloo) or cuda (NCCL; each process of a machine takes one GPU). If one process
    fails, its error goes on, and the others end without a word of their own.
    """
    where = device_of(device, int(os.environ.get("LOCAL_RANK", "0")))
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(device=where)
        return
    backend = "gloo"
    if where.type == "cuda":
        torch.cuda.set_device(where)
        backend = "nccl"
    store, rank, world = next(iter(rendezvous("env://", timeout=_PATIENCE)))
    dist.init_process_group(backend, timeout=_PATIENCE, world_size=world, rank=rank, store=store)
    try:
        yield Processes(rank, world, where)
    except Exception as error:
        # A group that has lost a process is left to the end of this one, which closes it.
        if not _is_first_to_fail(store):
            raise SystemExit(1) from None
        if isinstance(error, dist.DistError) or "third_party/gloo" in str(error):
            raise InputError(
                "another process of the run is gone, or out of reach: "
                "start the run again, it goes on from its last state"
            ) from None
        raise
    # None leaves before the main one has written everything: torchrun ends all with the first that
    # dies, be it on its way out.
    dist.barrier()
    dist.destroy_process_group()


def _is_first_to_fail(store: Any) -> bool:
    """Whether no other process has said so before; if it cannot be asked, its keeper has failed."""
    try:
        return store.add("failed", 1) == 1
    except dist.DistError:
        return False
