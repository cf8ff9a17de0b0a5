"""Processes of a pool end with the one that made them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """For the `initializer` of a pool: this process ends when its parent does, killed or not.

    By itself a worker whose parent is killed finishes what it is at, for hours perhaps, and then
    waits for more that never comes.
    """
    threading.Thread(target=_follow, name="end with parent", daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the other threads are not asked: nobody is left to tell
