"""How many threads the CPU kernels use."""

from __future__ import annotations

import numba
import torch


def as_many_as_torch() -> None:
    """Let Numba's kernels, called next from this thread, use as many threads as PyTorch is told to.

    So there is one knob, `torch.set_num_threads`. Numba's own holds for the calling thread alone,
    which is why every operation asks for it.
    """
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    if torch.get_num_threads() != threads:
        # Numba's pool has just been started, and has set OpenMP's number, which is PyTorch's too.
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
