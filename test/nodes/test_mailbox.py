from __future__ import annotations

import threading

from fourd_perception.nodes.mailbox import NewestWins


def test_a_slow_worker_gets_the_newest_and_skips_the_rest():
    done: list[int] = []
    started, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def work(item):
        started.set()
        go_on.wait(10)
        done.append(item)
        if item == 3:
            finished.set()

    worker = NewestWins(work, "test")
    assert not worker.offer(0)
    assert started.wait(10)
    assert [worker.offer(item) for item in (1, 2, 3)] == [False, True, True]
    go_on.set()
    assert finished.wait(10)
    assert worker.stop(10)
    assert done == [0, 3]


def test_stop_lets_the_item_in_work_end_and_drops_the_waiting_one():
    done: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    def work(item):
        started.set()
        go_on.wait(10)
        done.append(item)

    worker = NewestWins(work, "test")
    worker.offer(0)
    assert started.wait(10)
    worker.offer(1)
    assert not worker.stop(0.01)  # busy
    go_on.set()
    assert worker.stop(10)
    assert done == [0]
