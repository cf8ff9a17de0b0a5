"""How many threads the CPU kernels use."""

from __future__ import annotations

import numba
import torch


def as_many_as_torch() -> None:
    """Let Numba's kernels, called next from this thread, use as many threads as PyTorch is told to.

    So there is one knob, `torch.set_num_threads`. Numba's own holds for the calling thread alone,
    which is why every operation asks for it.
    """
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
