"""A thread that always works on the newest thing there is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class NewestWins(Generic[Item]):
    """One worker thread and a mailbox that holds one item: a slow worker skips, it never queues.

    `work` is called in the worker's thread and deals with its own exceptions. The other methods
    are to be called from one thread.
    """

    def __init__(self, work: Callable[[Item], None], name: str) -> None:
        self._work = work
        self._ready = threading.Condition()
        self._item: Item | None = None
        self._stopping = False
        # A daemon, so that a process that must end is not held back by a long computation.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: Item) -> bool:
        """Leave `item` to the worker. True if an older one, never started, had to make room."""
        with self._ready:
            replaced = self._item is not None
            self._item = item
            self._ready.notify()
        return replaced

    def stop(self, timeout: float | None = None) -> bool:
        """Let the item in work end, drop the waiting one. False if `timeout` seconds were short."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._stopping or self._item is not None)
                item, self._item = self._item, None
                if self._stopping or item is None:
                    return
            self._work(item)
