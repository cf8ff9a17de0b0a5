from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fourd_perception.errors import InputError
from training.folder_lock import locked

HOLDS = """
import sys
from pathlib import Path
from training.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process, which has locked a folder."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "run")],
        cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path, other):
    folder = tmp_path / "run"
    with pytest.raises(InputError) as raised, locked(folder):
        pytest.fail("two in one folder")
    assert str(raised.value).startswith(f"another run (pid {other.pid}) is at work in {folder}: ")
    other.send_signal(signal.SIGKILL)
    other.wait()
    with locked(folder):
        assert (folder / ".lock").read_text() == str(os.getpid())
    with locked(folder):
        pass


def test_an_error_within_releases_it(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    refused = pytest.raises(InputError, match=rf"another run \(pid {os.getpid()}\)")
    with locked(tmp_path), refused, locked(tmp_path):
        pytest.fail("two in one folder")


def test_a_folder_that_cannot_be_written_to_is_said_in_a_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused = pytest.raises(InputError, match="file/run: cannot be made or written to")
    with refused, locked(tmp_path / "file" / "run"):
        pytest.fail("no folder")
