import os
import signal
from contextlib import closing
from functools import partial
from itertools import chain

import pytest
import torch

from fourd_perception.errors import InputError
from training import loaders
from training.trainer import Batch


def batches(epoch, count=5):
    return [partial(batch, epoch, number) for number in range(count)]


def batch(epoch, number):
    return Batch(torch.full((2, 3), float(number)), torch.tensor([epoch, number]), ("a", "b"), 2.0)


def refusing(epoch):
    return [partial(batch, epoch, 0), partial(refuse, epoch)]


def refuse(epoch):
    if epoch == 1:
        raise InputError("one clear line")
    return batch(epoch, 1)


def dying(epoch):
    return [partial(batch, epoch, 0), die]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_make_what_threads_make(workers):
    def all_of(made):
        with closing(made):
            return [list(of_epoch) for of_epoch in made]

    in_threads = all_of(loaders.in_threads(batches, range(2, 4), workers, ahead=2))
    in_processes = all_of(loaders.in_processes(batches, range(2, 4), workers))
    assert [len(epoch) for epoch in in_processes] == [5, 5]
    for one, other in zip(chain(*in_threads), chain(*in_processes), strict=True):
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels)
        assert (one.names, one.weight) == (other.names, other.weight)
    assert in_processes[1][4].labels.tolist() == [3, 4]


def test_what_cannot_be_made_in_a_process_ends_with_its_own_line():
    with closing(loaders.in_processes(refusing, range(2), 1)) as made:
        assert len(list(next(made))) == 2
        with pytest.raises(InputError, match=r"\Aone clear line\Z"):
            list(next(made))


def test_a_process_that_dies_is_told_with_what_helps():
    with (
        closing(loaders.in_processes(dying, range(1), 1)) as made,
        pytest.raises(InputError, match="process that makes batches died.*compute.loaders"),
    ):
        list(next(made))
