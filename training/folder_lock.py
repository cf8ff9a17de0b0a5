"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fourd_perception.errors import InputError

_NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made if it is not there.

    However the process ends, the lock ends with it. Its file stays: were it removed, a process that
    has just opened it would lock a file that the next one does not see. Raises InputError if
    another run has the lock, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made or written to ({error.strerror}): "
            "take another folder, or make this one writable"
        ) from None
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        number = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
        raise InputError(
            f"another run (pid {number}) is at work in {folder}: "
            "wait for its end, or take another folder"
        ) from None
    except OSError:  # a file system without locks: nobody can be told from another
        return
    with contextlib.suppress(OSError):  # of a full disk; the lock holds without the number
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
