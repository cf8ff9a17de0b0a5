"""Bags on the machines of a Dask cluster: the same figures as on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_jobs import BagJob, FailedJob, Outcome, run_job

_CONNECT = 10
"""Seconds to wait for the scheduler."""


def run_on_cluster(jobs: Sequence[BagJob], scheduler: str) -> list[Outcome]:
    """Evaluate bags on a cluster's workers, in the order given; one that fails stops no other.

    scheduler: its address, such as tcp://10.0.0.1:8786. The workers need this package, and every
    file under the path that it has here (a shared file system). A bag whose worker dies is begun
    again on another one, three times at most (Dask's `allowed-failures`). Raises InputError where
    Dask is not installed or nobody answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise InputError(f"--cluster needs Dask ({error}): pip install distributed") from None
    try:
        client = Client(scheduler, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--cluster {scheduler}: no Dask scheduler answers ({error}); start one with "
            "`dask scheduler`, and on every machine `dask worker`"
        ) from None
    with client, tqdm(total=len(jobs), unit="bag", desc="bags", disable=None, leave=False) as bar:
        futures = [client.submit(run_job, _absolute(job), pure=False) for job in jobs]
        for _ in as_completed(futures, loop=client.loop):
            bar.update()
        return [
            FailedJob(job.bag, f"{job.bag}: {_reason(future.exception())}")
            if future.status == "error"
            else _as_asked(future.result(), job)
            for job, future in zip(jobs, futures)
        ]


def _absolute(job: BagJob) -> BagJob:
    """With paths that mean the same on every machine."""

    def whole(path: Path | None) -> Path | None:
        return None if path is None else path.absolute()

    vlm = job.vlm
    if vlm is not None:
        vlm = replace(vlm, video_text_model=str(Path(vlm.video_text_model).expanduser().absolute()))
    return replace(
        job,
        bag=job.bag.absolute(),
        model=job.model.absolute(),
        labels=whole(job.labels),
        write_to=whole(job.write_to),
        vlm=vlm,
    )


def _as_asked(outcome: Outcome, job: BagJob) -> Outcome:
    """Under the path that the bag was asked for by."""
    if isinstance(outcome, FailedJob):
        return replace(outcome, bag=job.bag)
    return replace(outcome, path=job.bag)


def _reason(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"its worker died or could not run it ({text:.200})"
