"""kill -9: a process is gone in the middle of what it did, and the run ends as if it were not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_trainer import batches, make, nothing

from training import learning_curve

HERE = Path(__file__).resolve()

KILLED = """
import io, os, signal, sys
from pathlib import Path
import torch
from test_trainer import batches, make, nothing

folder, moment = Path(sys.argv[1]), sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def batches_then_death(epoch):
    for number, batch in enumerate(batches(epoch)):
        yield die if (moment, epoch, number) == ("in an epoch", 2, 1) else batch

def half_a_state(state, file):
    whole = io.BytesIO()
    save(state, whole)
    file.write(whole.getvalue() if state["epoch"] < 3 else whole.getvalue()[:1000])
    if state["epoch"] == 3:
        file.flush()
        die()

save = torch.save
if moment == "in a state":
    torch.save = half_a_state
make(folder).fit(batches_then_death, nothing)
"""


@pytest.mark.parametrize("moment", ["in an epoch", "in a state"])
def test_a_process_that_was_killed_leaves_a_run_that_ends_with_the_same_bits(
    tmp_path, monkeypatch, moment
):
    monkeypatch.setattr(learning_curve, "draw", lambda folder: None)
    path = [str(HERE.parents[2]), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "cut"), moment],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = make(tmp_path / "cut")
    assert again.resume() and again.epoch == 2
    again.fit(batches, nothing)
    whole = make(tmp_path / "whole")
    whole.fit(batches, nothing)
    for name, value in whole.result.state_dict().items():
        assert torch.equal(value, again.result.state_dict()[name]), name
    assert not list((tmp_path / "cut").glob("*.part"))
