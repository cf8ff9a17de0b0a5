"""Memory that runs out, and memory that is given back."""

from __future__ import annotations

import gc

import torch

_OF_THE_CPU = "DefaultCPUAllocator"
"""PyTorch's allocator on the CPU raises a RuntimeError like any other."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that there was no room for an array, on the GPU or elsewhere."""
    # torch.OutOfMemoryError is the same class, from PyTorch 2.5 on.
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _OF_THE_CPU in str(error)
    )


def give_back() -> None:
    """What nobody refers to any more, back to the system; of a GPU, the allocator's cache too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
