"""Every transition, over and over: nothing is left behind, and nothing is stuck."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest
from node_bench import FRAMES, PERIOD, START, cloud, stream
from rclpy.lifecycle import TransitionCallbackReturn

SUCCESS = TransitionCallbackReturn.SUCCESS
ERROR = TransitionCallbackReturn.ERROR
ROUNDS = 100
WARM = 15
"""Rounds until allocators, caches and compiled kernels have what they want."""
PAGE = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE = 1 << 20


def held(node) -> dict[str, int]:
    """What a leak would make more of."""
    gc.collect()
    return {
        "threads of Python": threading.active_count(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "publishers": len(list(node.publishers)),
        "subscriptions": len(list(node.subscriptions)),
        "timers": len(list(node.timers)),
        "clients and services": len(list(node.clients)) + len(list(node.services)),
        "waitables": len(list(node.waitables)),
        "managed entities": len(node._managed_entities),
        "parameters": len(node.get_parameters_by_prefix("")),
        "callbacks on parameters": len(node._on_set_parameters_callbacks),
    }


def resident() -> float:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MEBIBYTE


def test_a_hundred_rounds_leave_nothing_behind(make_bench):
    """All transitions but shutdown, and clouds while active."""
    bench = make_bench(use_image=True, image_timeout=0.0)
    node = bench.recognizer
    before: dict[str, int] = {}
    memory = 0.0
    for number in range(ROUNDS):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            for message in stream(FRAMES, START + number * PERIOD):
                node._input._on_points(message)
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        bench.executor.spin_once(timeout_sec=0.0)
        if number == WARM:
            before, memory = held(node), resident()
    assert held(node) == before
    # A model, or a window of clouds, each time would be ten times as much.
    assert resident() - memory < 20
    bench.activate()
    bench.send(*stream(FRAMES))
    bench.answered(1)


def test_a_hundred_nodes_shut_down_leave_nothing_behind(make_bench):
    """Shutdown from each state in turn, and the node destroyed after it."""
    threads = files = 0
    for number in range(ROUNDS):
        bench = make_bench()
        node = bench.recognizer
        if number % 3 > 0:
            assert node.trigger_configure() == SUCCESS
        if number % 3 > 1:
            assert node.trigger_activate() == SUCCESS
            node._input._on_points(cloud(START))
        assert node.trigger_shutdown() == SUCCESS
        assert not list(node.subscriptions)
        bench.close()
        bench.close = lambda: None
        if number == WARM:
            threads = len(list(Path("/proc/self/task").iterdir()))
            files = len(list(Path("/proc/self/fd").iterdir()))
    assert len(list(Path("/proc/self/task").iterdir())) <= threads
    assert len(list(Path("/proc/self/fd").iterdir())) <= files


@pytest.mark.parametrize("step", ["_create", "_activate", "_deactivate", "_destroy"])
def test_a_defect_in_a_transition_is_recovered_from(make_bench, monkeypatch, capfd, step):
    """Its on_error leaves a node that can be configured, and that answers."""
    bench = make_bench()
    node = bench.recognizer
    walk = [
        node.trigger_configure, node.trigger_activate,
        node.trigger_deactivate, node.trigger_cleanup,
    ]  # fmt: skip
    place = ("_create", "_activate", "_deactivate", "_destroy").index(step)
    for transition in walk[:place]:
        assert transition() == SUCCESS
    right, calls = getattr(node, step), []

    def fail_once(*arguments):
        calls.append(step)
        if len(calls) == 1:
            raise RuntimeError("a defect")
        return right(*arguments)

    monkeypatch.setattr(node, step, fail_once)
    assert walk[place]() == ERROR
    assert " failed: RuntimeError: a defect (" in capfd.readouterr().err
    assert node._state_machine.current_state[1] == "unconfigured" == node._state
    assert not node.parameters.locked and not list(node.subscriptions)
    bench.activate()
    bench.send(*stream(FRAMES))
    bench.answered(1)


def test_a_forbidden_transition_is_refused_and_changes_nothing(make_bench):
    bench = make_bench()
    bench.activate()
    # Jazzy's rclpy raises, Kilted's says so and returns an error.
    try:
        said = str(bench.recognizer.trigger_configure())
    except RuntimeError as error:
        said = str(error)
    assert "Transition is not registered" in said or said == str(TransitionCallbackReturn.ERROR)
    bench.send(*stream(FRAMES))
    bench.answered(1)
