"""Where the time of one item goes: PyTorch's operators, and the package's own operations."""

from __future__ import annotations

import cProfile
import io
import pstats

from torch.profiler import ProfilerActivity, profile

from benchmarks.bench_timing import Contest

ROWS = 12


def report(contest: Contest) -> str:
    """Two tables of one call of ours each, after two others; the first is PyTorch's profiler's.

    PyTorch knows kernels of Numba only where they are part of a gradient (as _NeighbourMax, say).
    So the second is Python's profiler's, of the functions in ops/, the kernels among them.
    """
    contest.ours()
    contest.ours()
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        contest.ours()
    torchs = watched.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=ROWS, max_name_column_width=40
    )
    python = cProfile.Profile()
    python.runcall(contest.ours)
    text = io.StringIO()
    pstats.Stats(python, stream=text).sort_stats("tottime").print_stats(
        "fourd_perception/ops", ROWS
    )
    return f"{torchs}\n{text.getvalue().strip()}"
