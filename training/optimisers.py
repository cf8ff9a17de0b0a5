"""The optimiser, its learning rate from step to step, and the average of the weights."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.config import OptimiserConfig


def optimiser(
    model: nn.Module, config: OptimiserConfig, rate_of: Callable[[str], float] | None = None
) -> torch.optim.Optimizer:
    """Weight decay is for matrices; normalisation and biases go without.

    rate_of: from a parameter's name to its share of the learning rate; None: all have all of it.
    """
    named = [(rate_of(name) if rate_of else 1.0, p) for name, p in model.named_parameters()]
    groups = []
    for rate in sorted({rate for rate, _ in named}, reverse=True):
        alike = [p for own, p in named if own == rate]
        at = {"lr": config.learning_rate * rate}
        matrices, vectors = ([p for p in alike if (p.dim() > 1) is many] for many in (True, False))
        groups += [
            {"params": matrices, "weight_decay": config.weight_decay, **at},
            {"params": vectors, "weight_decay": 0.0, **at},
        ]
    if config.kind == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, config.learning_rate)


def learning_rate_factor(
    config: OptimiserConfig, epochs: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """What the peak learning rate is multiplied by, from the number of steps that are done.

    Up in a line, then down. A warm-up that is longer than the first milestone never reaches the
    peak: so it is in PSTNet's recipe for NTU RGB+D.
    """
    warmup = config.warmup_epochs * steps_per_epoch

    def cosine(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        end = config.final_learning_rate / config.learning_rate if config.learning_rate else 0.0
        done = min(1.0, (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup))
        return end + (1 - end) * (0.5 * (1 + math.cos(math.pi * done)))

    def steps(step: int) -> float:
        risen = min(1.0, (step + 1) / (warmup + 1))
        return risen * config.gamma ** bisect.bisect(config.milestones, step / steps_per_epoch)

    return steps if config.schedule == "steps" else cosine


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A moving average, short at the start, so that what a model begins with is soon gone."""

    def average(kept: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        return kept + (1 - now) * (current - kept)

    return average
