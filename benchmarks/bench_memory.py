"""The memory that one forward, or one training step, takes; each measured in its own process.

python benchmarks/bench_memory.py im_pstnet forward ours    # MB
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "test")]

import torch

from benchmarks.bench_encoders import ENCODERS
from benchmarks.bench_items import step

MEMORY: Mapping[str, tuple[str, str, float]] = {
    "im_pstnet": ("im_pstnet", "forward", 14),
    "im_pstnet_train": ("im_pstnet", "train", 40),
    "p4_transformer": ("p4_transformer", "forward", 10),
    "pptr": ("pptr", "forward", 70),
}
"""An encoder, what is done with it, and about how many seconds that takes on both sides."""
SIDES = ("ours", "theirs")
TRAINED = (2, 24, 1024)
SHORT = (1, 19, 256)
"""A clip on which everything is compiled before; small enough to leave nothing behind."""
_MB = 1e6


def in_child(name: str, side: str) -> float:
    """MB that one item of MEMORY takes on one side."""
    command = [sys.executable, __file__, *MEMORY[name][:2], side]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}, {side}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def measure(name: str, what: str, side: str) -> float:
    """MB that one call adds to this process at its height."""
    encoder = ENCODERS[name]
    model: Any = encoder.ours() if side == "ours" else encoder.textbook()
    if what == "forward":
        with torch.inference_mode():
            model(encoder.clip(*SHORT))
            clip = encoder.clip()
            return added(lambda: model(clip))
    model.train()
    step(model, encoder.clip(*SHORT), torch.arange(SHORT[0]))()
    clip = encoder.clip(*TRAINED)
    return added(step(model, clip, torch.arange(TRAINED[0])))


def added(call: Callable[[], Any]) -> float:
    """MB by which this process grows while `call` runs, at the most."""
    # Not getrusage: its maximum cannot be set back, and a child starts with its parent's.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / _MB


def _status(name: str) -> float:
    """Bytes of this process, from the kernel: VmRSS is now, VmHWM the most since it was reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: no {name}")


def main() -> int:
    """Print one figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("name", choices=ENCODERS)
    parser.add_argument("what", choices=("forward", "train"))
    parser.add_argument("side", choices=SIDES)
    given = parser.parse_args()
    print(round(measure(given.name, given.what, given.side), 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
