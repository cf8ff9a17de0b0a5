"""A node under load: memory that runs out, threads, and what it says of its times."""

from __future__ import annotations

import gc
import threading
import weakref

import numba
import pytest
import torch
from node_bench import FRAMES, PERIOD, START, cloud, stream
from rclpy.parameter import Parameter
from std_msgs.msg import Float64

from fourd_perception.nodes.memory import is_out_of_memory

TOPICS = ("processing_time_ms", "pipeline_latency_ms", "cyclic_time_ms")


class Ballast:
    """Something large that a computation had made when memory ran out."""


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate"),
        MemoryError(),
    ],
)
def test_a_model_that_runs_out_of_memory_costs_the_window(make_bench, monkeypatch, capfd, error):
    bench = make_bench()
    bench.activate()
    pipeline = bench.recognizer._lanes[0].pipeline
    ballast: list[weakref.ref[Ballast]] = []
    emptied: list[bool] = []

    def classify(features):
        held = Ballast()
        ballast.append(weakref.ref(held))
        raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: emptied.append(ballast[-1]() is None), raising=False
    )
    bench.send(*stream(FRAMES))
    bench.answered(1)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline._model, "classify", classify)
        error.__traceback__ = None
        for number in (1, 2):
            bench.send(cloud(START + (FRAMES - 1 + number) * PERIOD))
            bench.until(lambda number=number: len(emptied) == number)
            # The exception is this test's own, and holds its frames: as none would on a robot.
            error.__traceback__ = None
    name = type(error).__name__
    bench.until(
        lambda: any(f"exceptions ({name}), see the log" in r.message for r in bench.reports)
    )
    assert bench.report()[1][f"exception: {name}"] == "2"
    log = capfd.readouterr().err
    assert log.count("a window is lost, for want of memory: take fewer frames or points") == 1
    bench.send(cloud(START + (FRAMES + 2) * PERIOD))
    bench.answered(2)


def test_what_a_failed_window_held_is_freed_before_the_cache_is_emptied(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    held: list[weakref.ref[Ballast]] = []
    gone: list[bool] = []

    def classify(features):
        ballast = Ballast()
        held.append(weakref.ref(ballast))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(held[-1]() is None))
    monkeypatch.setattr(bench.recognizer._lanes[0].pipeline._model, "classify", classify)
    bench.send(*stream(FRAMES))
    bench.until(lambda: gone)
    assert gone == [True]


def test_other_exceptions_are_no_want_of_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))


def test_a_cleaned_up_node_gives_its_memory_back(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    bench.send(*stream(FRAMES))
    bench.answered(1)
    model = weakref.ref(bench.recognizer._lanes[0].pipeline._model)
    gone: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(model() is None))
    gc.disable()  # what is freed is freed by the node
    try:
        bench.recognizer.trigger_deactivate()
        bench.recognizer.trigger_cleanup()
    finally:
        gc.enable()
    assert gone == [True]


def test_torch_threads_holds_in_the_thread_that_infers(make_bench, monkeypatch):
    before = torch.get_num_threads()
    bench = make_bench(torch_threads=3)
    infer, seen = bench.recognizer._infer, []

    def look(pipeline, clip):
        answer = infer(pipeline, clip)
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        seen.append(numba.get_num_threads())
        return answer

    monkeypatch.setattr(bench.recognizer, "_infer", look)
    try:
        bench.activate()
        bench.send(*stream(FRAMES))
        bench.answered(1)
    finally:
        torch.set_num_threads(before)
    assert seen == [("inference", 3), min(3, numba.config.NUMBA_NUM_THREADS)]


def test_times_are_published_while_somebody_listens(make_bench):
    bench = make_bench()
    bench.activate()
    bench.send(*stream(FRAMES))
    bench.answered(1)
    heard: dict[str, list[float]] = {name: [] for name in TOPICS}
    for name, values in heard.items():
        bench.probe.create_subscription(
            Float64, f"/recognizer/debug/{name}",
            lambda message, values=values: values.append(message.data), 10,
        )  # fmt: skip
    publishers = bench.recognizer._lanes[0].times._publishers
    bench.until(lambda: all(one.get_subscription_count() for one in publishers.values()))
    now = bench.recognizer.get_clock().now().nanoseconds
    # From the wall clock on, so that a latency can be one; the window starts again for it.
    bench.send(*stream(FRAMES, now - FRAMES * PERIOD))
    bench.answered(2)
    bench.send(cloud(now))
    bench.answered(3)
    bench.until(lambda: len(heard["cyclic_time_ms"]) == 2)
    bench.until(lambda: len(heard["processing_time_ms"]) == 2)
    assert [len(heard[name]) for name in TOPICS] == [2, 2, 2]
    assert all(0 < one < 60_000 for values in heard.values() for one in values)
    assert max(heard["processing_time_ms"]) < min(heard["pipeline_latency_ms"])
    # Stamps of long ago: the latency would be none.
    bench.send(*stream(FRAMES))
    bench.answered(4)
    bench.until(lambda: len(heard["processing_time_ms"]) == 3)
    assert len(heard["pipeline_latency_ms"]) == 2


def test_times_are_not_published_to_nobody(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    published: list[Float64] = []
    for publisher in bench.recognizer._lanes[0].times._publishers.values():
        monkeypatch.setattr(publisher, "publish", published.append)
    bench.send(*stream(FRAMES))
    bench.answered(1)
    bench.report()  # a report is due after the answer: the worker is done with it
    assert published == []


def test_the_first_answer_after_an_activation_has_no_cycle(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    cyclic: list[float] = []
    bench.probe.create_subscription(
        Float64, "/recognizer/debug/cyclic_time_ms", lambda one: cyclic.append(one.data), 10
    )
    publisher = bench.recognizer._lanes[0].times._publishers["cyclic_time_ms"]
    bench.until(lambda: publisher.get_subscription_count() == 1)
    for number in (1, 2):
        bench.send(*stream(FRAMES))
        bench.answered(number)
        bench.recognizer.trigger_deactivate()
        bench.recognizer.trigger_activate()
    bench.report()
    assert cyclic == []


def test_the_model_has_run_before_the_first_window(make_bench, monkeypatch):
    """Once to be configured, once to be activated: compiling is not the first answer's."""
    bench = make_bench()
    node = bench.recognizer
    load, runs = node._load, []

    def watched(parameters):
        pipelines = load(parameters)
        classify = pipelines[0]._model.classify
        monkeypatch.setattr(
            pipelines[0]._model, "classify", lambda one: runs.append(node._state) or classify(one)
        )
        return pipelines

    monkeypatch.setattr(node, "_load", watched)
    assert node.start()
    assert runs == ["unconfigured", "inactive"]
    (refused,) = node.set_parameters([Parameter("torch_threads", value=1)])
    assert not refused.successful
