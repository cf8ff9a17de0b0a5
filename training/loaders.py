"""Batches, made ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Dataset

from fourd_perception.errors import InputError

Batches = Callable[[int], Sequence[Callable[[], Any]]]
"""From an epoch to its batches, each to be made by calling it."""


def in_threads(
    batches: Batches, epochs: Iterable[int], threads: int, ahead: int
) -> Generator[Iterable[Any], None, None]:
    """For each epoch its batches, in order; `ahead` of them are made while one is learnt from."""
    for epoch in epochs:
        with closing(_made_ahead(batches(epoch), ahead, threads)) as made:
            yield made


def _made_ahead(
    batches: Iterable[Callable[[], Any]], count: int, threads: int
) -> Generator[Any, None, None]:
    pool = ThreadPoolExecutor(threads)
    pending: deque[Future[Any]] = deque()
    try:
        for make in batches:
            pending.append(pool.submit(make))
            if len(pending) > count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_processes(
    batches: Batches, epochs: Sequence[int], processes: int
) -> Generator[Iterable[Any], None, None]:
    """As `in_threads`, and `batches` can be pickled. An epoch's last ones make room for the next's.

    For a GPU: threads that make batches hold the interpreter that has to feed it. Raises
    InputError if the making of a batch does, or a process dies.
    """
    made = _received(
        DataLoader(
            _Made(batches), sampler=_Places(batches, epochs), batch_size=None,
            collate_fn=_as_it_is, num_workers=processes, multiprocessing_context="spawn",
        )
    )  # fmt: skip
    with closing(made):
        for epoch in epochs:
            yield islice(made, len(batches(epoch)))


class _Places:
    """(epoch, number) of all batches, in order."""

    def __init__(self, batches: Batches, epochs: Sequence[int]) -> None:
        self._batches, self._epochs = batches, epochs

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for epoch in self._epochs:
            for number in range(len(self._batches(epoch))):
                yield epoch, number


class _Made(Dataset[Any]):
    """Batches by (epoch, number), or the InputError that one ended with.

    Raised in the process it would come back with a traceback for its message.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._epoch: tuple[int, Sequence[Callable[[], Any]]] | None = None

    def __getitem__(self, place: tuple[int, int]) -> Any:
        epoch, number = place
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, self._batches(epoch)
        try:
            return self._epoch[1][number]()
        except InputError as error:
            return error


def _as_it_is(made: Any) -> Any:
    return made


def _received(loader: DataLoader[Any]) -> Generator[Any, None, None]:
    try:
        for made in loader:
            if isinstance(made, InputError):
                raise made
            yield made
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InputError(
            "a process that makes batches died; if memory was short (a container's shared memory "
            f"counts, /dev/shm), set compute.loaders to fewer than {loader.num_workers}; the run "
            "goes on from its last state"
        ) from None
