"""What each of two processes does in test_distributed.py; and alone, what it is compared with.

python -m torch.distributed.run --nproc_per_node 2 shared_training.py FOLDER
python shared_training.py FOLDER --fail RANK
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError, command
from training import learning_curve
from training.config import ComputeConfig, OptimiserConfig
from training.distributed import Processes, joined
from training.trainer import Batch, Trainer

SAMPLES = 5
ROWS = 7


def case_named(name: str):
    from model_cases import CASES  # takes seconds, and a process that only fails needs none

    return next(case for case in CASES if case.name == name)


def trainer(
    model: nn.Module,
    folder: Path,
    processes: Processes | None = None,
    epochs: int = 1,
    **optimiser: object,
) -> Trainer:
    return Trainer(
        model,
        lambda model, batch: nn.functional.cross_entropy(model(batch.clips), batch.labels),
        OptimiserConfig(
            **{"kind": "sgd", "learning_rate": 0.05, "warmup_epochs": 0.0} | optimiser  # type: ignore
        ),
        folder,
        epochs=epochs,
        steps_per_epoch=1,
        seed=0,
        identity={"name": "shared"},
        compute=ComputeConfig(device="cpu"),
        processes=processes,
    )


def batches(name: str, processes: Processes, parts: int = 1):
    """The epochs of `SAMPLES` clips, in so many batches, of each this process's share."""
    case = case_named(name)

    def of_epoch(epoch: int):
        clips = case.clip(SAMPLES, seed=epoch)
        labels = torch.arange(SAMPLES) % 4
        for numbers in torch.arange(SAMPLES).tensor_split(parts):
            mine = processes.shard(numbers)
            yield lambda mine=mine: Batch(clips[mine], labels[mine])

    return of_epoch


def nothing(model: nn.Module, epoch: int) -> dict[str, float]:
    return {}


def learnt(name: str, folder: Path, processes: Processes, parts: int = 1) -> dict[str, Tensor]:
    """Gradients, weights and loss after one step."""
    model = case_named(name).build()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # each process drops its own
    run = trainer(model, folder, processes, accumulate=parts)
    run.fit(batches(name, processes, parts), nothing)
    gradients = {
        f"gradient of {key}": one.grad
        for key, one in run.model.named_parameters()
        if one.grad is not None
    }
    return gradients | {key: one.clone() for key, one in run.model.state_dict().items()}


def normalised(processes: Processes) -> dict[str, Tensor]:
    """A batch norm over rows that the processes share, 2 and 5 of 7."""
    from fourd_perception.models.synchronised import normalise_over_ranks, summed_over_ranks

    random = torch.Generator().manual_seed(3)
    rows = torch.randn(ROWS, 4, generator=random, dtype=torch.float64) * 3 + 5
    weight = torch.randn(ROWS, 4, generator=random, dtype=torch.float64)
    mine = slice(0, 2) if processes.rank == 0 else slice(2, None)
    if processes.world == 1:
        mine = slice(None)
    values = rows[mine].clone().requires_grad_()
    norm = nn.BatchNorm1d(4, dtype=torch.float64)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    made = (
        normalise_over_ranks(norm, values[:, None])[:, 0] if processes.world > 1 else norm(values)
    )
    # Not the sum over rows, whose gradient would be nothing.
    (made * weight[mine]).sum().backward()
    assert values.grad is not None
    return {
        "made": made.detach(), "gradient": values.grad,
        "mean": norm.running_mean, "variance": norm.running_var,
        "batches": norm.num_batches_tracked,
        "sum": summed_over_ranks(values.detach().sum(0)),
    }  # type: ignore[dict-item]  # fmt: skip


class Board:
    """In TensorBoard's place: each process that writes events leaves a file of its own."""

    class SummaryWriter:
        def __init__(self, folder: str, **_: object) -> None:
            Path(folder, f"events.out.tfevents.{os.getpid()}").touch()

        def add_scalar(self, *_: object) -> None:
            pass

        def close(self) -> None:
            pass


class Killed(Exception):
    pass


def interrupted(folder: Path, processes: Processes) -> dict[str, dict[str, Tensor]]:
    """The weights of a run of three epochs, and of one that was stopped and resumed."""
    name, epochs = "p4_transformer", 3
    build, of_epoch = case_named(name).build, batches(name, processes)
    whole = trainer(build(), folder / "whole", processes, epochs, momentum=0.9)
    whole.fit(of_epoch, nothing)

    def then_death(epoch: int):
        if epoch == 2:
            raise Killed
        return of_epoch(epoch)

    cut = trainer(build(), folder / "cut", processes, epochs, momentum=0.9)
    try:
        cut.fit(then_death, nothing)
    except Killed:
        processes.wait()
    again = trainer(build(), folder / "cut", processes, epochs, momentum=0.9)
    assert again.resume() and again.epoch == 2
    again.fit(of_epoch, nothing)
    return {"whole": whole.model.state_dict(), "cut": again.model.state_dict()}


@command
def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fail", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # Neither is what this is about, and both take seconds.
    sys.modules["torch.utils.tensorboard"] = Board  # type: ignore[assignment]
    learning_curve.draw = lambda *_, **__: Path()
    with joined("cpu") as processes:
        folder = arguments.folder
        if arguments.fail is not None:
            fail(folder, processes, arguments.fail)
            return 0
        found: dict[str, object] = {
            "p4_transformer": learnt("p4_transformer", folder / "p4", processes),
            "accumulated": learnt("p4_transformer", folder / "p4_2", processes, parts=2),
            "im_pstnet": learnt("im_pstnet", folder / "im", processes),
            "im_pstnet_inside": learnt("im_pstnet_inside", folder / "inside", processes),
            "im_pstnet_head_norm": learnt("im_pstnet_head_norm", folder / "head", processes),
            "interrupted": interrupted(folder, processes),
            "normalised": normalised(processes),
            "total": processes.sum(processes.rank + 1.0),
        }
        with processes.main_first():
            if processes.is_main:
                (folder / "made_once").write_text("by the main process")
            elif not (folder / "made_once").exists():
                raise InputError("the main process was not first")
        torch.save(found, folder / f"rank{processes.rank}.pt")
    return 0


def fail(folder: Path, processes: Processes, rank: int) -> None:
    """A run in which one process cannot make its second batch."""

    def bad(epoch: int):
        if epoch == 1 and processes.rank == rank:
            raise InputError(f"process {rank}: clip 17 cannot be read")
        return [lambda: Batch(torch.ones(2, 3), torch.zeros(2, dtype=torch.int64))]

    trainer(nn.Linear(3, 2), folder, processes, epochs=3).fit(bad, nothing)


if __name__ == "__main__":
    sys.exit(main())
