"""A pool's processes do not outlive the one that made them, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

_PARENT = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from fourd_perception.worker_process import end_with_parent

def work(seconds):
    print(os.getpid(), flush=True)
    time.sleep(seconds)
    return seconds

if __name__ == "__main__":
    context = get_context(sys.argv[1])
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        assert pool.submit(work, 0).result() == 0
        pool.submit(work, 600).result()
"""


def _ends(process: int, seconds: float = 30.0) -> bool:
    """Whether a process is gone, or a zombie that nobody waits for, before the seconds are over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks into /proc")
@pytest.mark.parametrize("start", ["spawn", "fork"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_ends_when_its_parent_is_killed(start, how, tmp_path):
    (tmp_path / "parent.py").write_text(_PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), start]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        said = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
    assert said[0] == said[1] != parent.pid  # one worker, that did its work before
    assert _ends(said[0])
