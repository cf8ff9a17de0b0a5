"""Bags on a cluster of two local workers: the same figures, also where one of them is killed."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
import small_model
import tiny_folders

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_cluster import run_on_cluster
from fourd_perception.evaluation.bag_jobs import BagJob, FailedJob, run_jobs
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.image_pipeline import VlmConfig

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    before = dict(os.environ)  # Dask leaves OMP_NUM_THREADS and others in it, for its workers
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        os.environ.clear()
        os.environ.update(before)
        yield local
    os.environ.clear()
    os.environ.update(before)


def jobs(folder: Path, count: int) -> list[BagJob]:
    model = small_model.save(folder / "model.safetensors")
    return [
        BagJob(cases.clouds(folder / f"bag_{number}", 40 + number), model, BagSource(), pictures=1)
        for number in range(count)
    ]


def same(ours: BagResult, theirs: BagResult) -> bool:
    return (
        ours.path == theirs.path
        and np.array_equal(ours.scores, theirs.scores)
        and [dataclasses.replace(one, latency_ms=None) for one in ours.session.answers]
        == [dataclasses.replace(one, latency_ms=None) for one in theirs.session.answers]
    )


def test_the_figures_are_those_of_one_machine(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = jobs(Path("."), 3)
    broken = dataclasses.replace(asked[0], bag=Path("nowhere"))
    here = run_jobs([*asked, broken])
    there = run_on_cluster([*asked, broken], cluster.scheduler_address)
    assert all(map(same, here[:3], there[:3]))
    assert isinstance(there[3], FailedJob)
    assert there[3].bag == Path("nowhere") and "no such bag" in there[3].reason


def test_images_and_texts_are_judged_there_too(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tiny_folders.make(Path("."))
    model = tiny_folders.save_aligned(Path("aligned.safetensors"), folder)
    messages = [make(n) for n in range(40) for make in (cases.cloud, cases.picture)]
    vlm = VlmConfig(video_text_model=str(folder), image_rate=5.0)
    asked = [
        BagJob(cases.write(Path(name), messages), model, BagSource(), pictures=0, vlm=vlm)
        for name in ("a", "b")
    ]
    here, there = run_jobs(asked, 2), run_on_cluster(asked, cluster.scheduler_address)
    assert all(map(same, here, there)) and "rgb" in here[0].by_source


def test_a_worker_that_is_killed_costs_nothing_but_time(cluster, tmp_path):
    asked = jobs(tmp_path, 6)
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        before = client.run(os.getpid)
        # It dies with a bag in hand: the others' work is begun after it.
        doomed = min(before.values())
        client.submit(_die_soon, doomed, workers=[_of(before, doomed)], pure=False)
        there = run_on_cluster(asked, cluster.scheduler_address)
    assert all(map(same, run_jobs(asked), there))


def _of(pids: dict[str, int], pid: int) -> str:
    return next(worker for worker, one in pids.items() if one == pid)


def _die_soon(pid: int) -> None:
    import threading

    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()


def test_nobody_there_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("fourd_perception.evaluation.bag_cluster._CONNECT", 1)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run_on_cluster([], "tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run_on_cluster([], "nonsense://")
