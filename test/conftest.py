"""ROS 2 for the tests: on this machine only, and on a domain that a robot nearby does not use;
and threads that sleep while they wait."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", "87")
# PyTorch's and Numba's idle threads would spin against each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No deadline: the first example compiles kernels, and a busy machine is no fault of the code.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


@contextmanager
def _as_found() -> Iterator[None]:
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(products)


@pytest.fixture(autouse=True)
def threads_and_exactness_as_found() -> Iterator[None]:
    """Nodes and trainings set both for their process, which here is that of all other tests too."""
    with _as_found():
        yield


@pytest.fixture(autouse=True, scope="module")
def threads_and_exactness_as_the_module_found_them() -> Iterator[None]:
    """So do nodes that live for a whole module."""
    with _as_found():
        yield
