"""Which kernels a device has."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

import torch


def triton_searches(device: torch.device) -> ModuleType | None:
    """`ops.triton_searches` for a GPU that Triton compiles for; None where plain PyTorch has to do.

    Triton comes with PyTorch's builds for GPUs; on others, and on Apple's, it is not there.
    """
    return _loaded("triton_searches") if device.type == "cuda" else None


def triton_pooling(device: torch.device) -> ModuleType | None:
    """`ops.triton_pooling` likewise; None also where PyTorch is told to be deterministic."""
    fits = device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()
    return _loaded("triton_pooling") if fits else None


@cache
def _loaded(name: str) -> ModuleType | None:
    try:
        return import_module(f"fourd_perception.ops.{name}")
    except ModuleNotFoundError:  # of triton
        return None
