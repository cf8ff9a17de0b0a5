"""Several bags, one after the other or in several processes, with one progress bar over them."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag import Pipeline, classes_of, evaluate, make_pipeline
from fourd_perception.evaluation.bag_images import BagImages
from fourd_perception.evaluation.bag_labels import (
    LabelFile,
    bag_truth,
    check_point_classes,
    own_labels,
    read_labels,
)
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.evaluation.label_topic import topic_labels
from fourd_perception.evaluation.moments import picture_moments
from fourd_perception.evaluation.written_bag import prediction_bag
from fourd_perception.image_pipeline import VlmConfig
from fourd_perception.looking.config import LookConfig
from fourd_perception.pipeline import ActionPipeline
from fourd_perception.recordings.bag_reader import open_bag
from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.synchronizer import PairConfig
from fourd_perception.worker_process import end_with_parent

_LOOK = 0.2
"""Seconds from one look at the workers' progress to the next."""
_STEP = 0.5


@dataclass(frozen=True)
class BagJob:
    """One bag and one model. labels: a CSV, or labels_topic: a topic of the bag; without them a
    bag's own truth.csv is taken. settings: as `make_pipeline` has them. write_to: a folder for a
    copy of the bag with the predictions, or None. pictures: how many of the hardest moments. look:
    as in `evaluate`. vlm, pairing: what X-CLIP says besides, and which images it is shown;
    None: nothing."""

    bag: Path
    model: Path
    source: BagSource
    labels: Path | None = None
    labels_topic: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    write_to: Path | None = None
    pictures: int = 8
    look: LookConfig | None = None
    vlm: VlmConfig | None = None
    pairing: PairConfig = field(default_factory=PairConfig)


@dataclass(frozen=True)
class FailedJob:
    """A bag that could not be evaluated, and why, in one line."""

    bag: Path
    reason: str


Outcome = BagResult | FailedJob


def run_job(job: BagJob, progress: Callable[[float], None] | None = None) -> Outcome:
    """Evaluate a bag: predictions, truth where there is any, pictures of the hardest moments."""
    try:
        loaded = checkpoint.load(job.model)
        pipeline = make_pipeline(loaded, job.settings, job.vlm)
        images = _images(job, loaded, pipeline)
        if loaded.card.task == "semantic_segmentation":
            check_point_classes(job.bag, loaded.card)
        with ExitStack() as stack:
            copy = None
            if job.write_to is not None:
                copy = stack.enter_context(
                    prediction_bag(job.write_to, classes_of(pipeline), loaded.card.colours)
                )
            result = evaluate(
                job.bag,
                pipeline,
                job.source,
                look=job.look,
                images=images,
                progress=progress,
                tap=copy.copy if copy else None,
                on_result=copy.predict if copy else None,
            )
        result = _judged(job, result)
        return result.with_pictures(picture_moments(result, job.pictures))
    except InputError as error:
        return FailedJob(job.bag, str(error))


def _images(job: BagJob, loaded: checkpoint.Checkpoint, pipeline: Pipeline) -> BagImages | None:
    if job.vlm is None or not isinstance(pipeline, ActionPipeline):
        return None
    return BagImages(loaded, pipeline, job.vlm, job.pairing)


def run_jobs(jobs: Sequence[BagJob], processes: int = 1) -> list[Outcome]:
    """Evaluate bags, in the order given; a bag that fails does not stop the others.

    processes: how many at once; each gets its share of the cores. The results do not depend on it.
    """
    total = sum(_seconds(job.bag) for job in jobs)
    with tqdm(total=round(total, 1), unit="s", desc="bags", disable=None, leave=False) as bar:
        if processes == 1 or len(jobs) == 1:
            return [run_job(job, _steps(bar.update)) for job in jobs]
        return _run_in_processes(jobs, min(processes, len(jobs)), bar)


def _judged(job: BagJob, result: BagResult) -> BagResult:
    given = job.labels or job.labels_topic
    if result.task == "semantic_segmentation":
        if given:
            raise InputError(
                f"{given}: says what is done when, and {job.model} labels points: their truth is "
                "the field `label` of the bag's clouds; leave it out"
            )
        return result
    clouds, classes = result.session.clouds, result.session.classes
    first, last = clouds[0], clouds[-1]
    problems: tuple[str, ...] = ()
    file: LabelFile | None
    if job.labels_topic:
        found = topic_labels(job.bag, job.labels_topic, classes, first, last, result.delay)
        file, problems = found.file, found.problems
    else:
        file = read_labels(job.labels) if job.labels else own_labels(job.bag)
    if file is None:
        return result
    truth = bag_truth(file, job.bag, first, last, classes)
    return result.with_truth(replace(truth, problems=(*problems, *truth.problems)))


def _run_in_processes(jobs: Sequence[BagJob], processes: int, bar: Any) -> list[Outcome]:
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    manager = SyncManager(ctx=context)
    manager.start(end_with_parent)
    with (
        manager,
        ProcessPoolExecutor(processes, context, initializer=end_with_parent) as pool,
    ):
        said = manager.Queue()
        futures = [pool.submit(_work, job, said, threads) for job in jobs]
        waiting: set[Future[Outcome]] = set(futures)
        while waiting:
            _, waiting = wait(waiting, _LOOK, FIRST_COMPLETED)
            bar.update(sum(_taken(said)))
        return [_outcome(job, future) for job, future in zip(jobs, futures)]


def _work(job: BagJob, said: Any, threads: int) -> Outcome:
    """In a process of its own; tells through the queue how many seconds of bag have passed."""
    torch.set_num_threads(threads)
    return run_job(job, _steps(said.put))


def _steps(tell: Callable[[float], object]) -> Callable[[float], None]:
    """Tells how much further the bag is, not more often than once in half a second of it."""
    told = 0.0

    def show(seconds: float) -> None:
        nonlocal told
        if seconds - told >= _STEP:
            tell(seconds - told)
            told = seconds

    return show


def _taken(said: Any) -> Iterator[float]:
    while True:
        try:
            yield said.get_nowait()
        except queue.Empty:
            return


def _outcome(job: BagJob, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - a worker that was killed, or ran out of memory
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return FailedJob(job.bag, f"{job.bag}: its process ended ({text:.200}); try --jobs 1")


def _seconds(bag: Path) -> float:
    """How long a bag is; 0 where it cannot be opened, which its own job will say."""
    try:
        with open_bag(bag) as opened:
            return opened.duration / SECOND
    except InputError:
        return 0.0
