"""Two processes on this machine against one with the joined batch."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import shared_training
import torch
from torch import distributed

from fourd_perception.errors import InputError
from fourd_perception.models.synchronised import ranks, summed_over_ranks
from training.distributed import Processes, device_of, joined

ROOT = Path(__file__).resolve().parents[2]
ALONE = Processes()

pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="no gloo"
)


def environment():
    path = [str(ROOT), str(ROOT / "test"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes found, and the folder that they ran in."""
    folder = tmp_path_factory.mktemp("two")
    ran = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1",
            shared_training.__file__, str(folder),
        ],
        env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)], folder


def is_same(got, expected, rtol=1e-4, atol=1e-6):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            got[name], value, rtol=rtol, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("found", "case", "parts"),
    [("p4_transformer",) * 2 + (1,), ("accumulated", "p4_transformer", 2)],
)
def test_gradients_are_those_of_the_joined_batch(both, tmp_path, found, case, parts):
    # Of 5 clips one process has 2 and the other 3; of 3 and 2 they have 1 and 2, 1 and 1.
    expected = shared_training.learnt(case, tmp_path, ALONE)
    for mine in both[0]:
        is_same(mine[found], expected)


@pytest.mark.parametrize("case", ["im_pstnet", "im_pstnet_inside", "im_pstnet_head_norm"])
def test_batch_norms_have_the_statistics_of_the_joined_batch(both, tmp_path, case):
    expected = shared_training.learnt(case, tmp_path, ALONE)
    for mine in both[0]:
        is_same(mine[case], expected, rtol=1e-3, atol=1e-5)


def test_a_norm_over_both_is_that_of_all_rows(both):
    expected = shared_training.normalised(ALONE)
    one, two = (mine["normalised"] for mine in both[0])
    for name in ("made", "gradient"):
        torch.testing.assert_close(torch.cat([one[name], two[name]]), expected[name])
    for mine in (one, two):
        for name in ("mean", "variance", "batches", "sum"):
            torch.testing.assert_close(mine[name], expected[name])


def test_a_resumed_run_ends_with_the_same_bits_everywhere(both):
    runs = [mine["interrupted"][run] for mine in both[0] for run in ("whole", "cut")]
    for other in runs[1:]:
        for name, value in runs[0].items():
            assert torch.equal(value, other[name]), name


def test_values_are_summed_and_the_main_one_writes(both):
    found, folder = both
    assert [mine["total"] for mine in found] == [3.0, 3.0]
    lines = (folder / "p4" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert len(list((folder / "p4").glob("events.out*"))) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_both_with_one_line(tmp_path, rank):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = [
        subprocess.Popen(
            [sys.executable, shared_training.__file__, str(tmp_path), "--fail", str(rank)],
            env=environment() | shared | {"RANK": str(number), "LOCAL_RANK": str(number)},
            stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        said = [one.communicate(timeout=60)[1].splitlines() for one in started]
    finally:
        for one in started:
            one.kill()
    # Besides the main one's line of the first epoch, and what c10d logs of a store that has gone.
    own = [list(itertools.takewhile(lambda line: "[W" not in line, lines)) for lines in said]
    errors = [[line for line in lines if not line.startswith("epoch 1")] for lines in own]
    assert errors[rank] == [f"shared_training: process {rank}: clip 17 cannot be read"]
    assert errors[1 - rank] == []
    assert (started[rank].returncode, started[1 - rank].returncode) == (2, 1)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("count", [3, 4, 7])
def test_shares_are_the_batch_together(count):
    items = list(range(count))
    shares = [Processes(rank, 3).shard(items) for rank in range(3)]
    assert functools.reduce(operator.iadd, shares, []) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_batch_that_is_too_small_to_share_is_refused():
    with pytest.raises(InputError, match="a batch of 2 cannot be shared by 3 processes"):
        Processes(0, 3).shard([1, 2])


def test_one_process_is_alone(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with joined("cpu") as processes:
        assert (processes.rank, processes.world, processes.is_main) == (0, 1, True)
        assert not distributed.is_initialized()
    value = torch.ones(3)
    assert ranks() == 1
    assert summed_over_ranks(value) is value


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_of("auto") == torch.device("cuda", 0)
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="process 2 of this machine has no GPU, there are 1"):
        device_of("auto", 1)
