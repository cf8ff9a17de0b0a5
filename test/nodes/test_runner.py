"""The recognizer as a process: how it starts, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from node_bench import stream

START = ("from fourd_perception.nodes.recognizer import main; main()",)
BUSY = (
    "import time",
    "from fourd_perception.nodes import recognizer",
    "def load(self, parameters): print('loading', flush=True); time.sleep(60)",
    "recognizer.Recognizer._load = load",
    "recognizer.main()",
)
INFERRING = (
    "import time",
    "from fourd_perception.nodes import recognizer",
    "from fourd_perception.stream.window import Clip",
    "class Slow(recognizer.Recognizer):",
    "    def _activate(self):",
    "        super()._activate()",
    "        self._lanes[0].worker.offer((Clip(()), 0.0))",
    "    def _infer(self, pipeline, clip):",
    "        print('inferring', flush=True)",
    "        time.sleep(1.0)",
    "        while True: sum(range(1000))  # and for ever, without letting go of the interpreter",
    "recognizer.Recognizer = Slow",
    "recognizer.main()",
)
HOW = "give parameters as -p NAME:=VALUE after --ros-args"
LONG = 30.0
SOON = 5.0  # a second, and room for a busy machine


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", "\n".join(code), "--ros-args", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "RCUTILS_LOGGING_USE_STDOUT": "1"},
    )  # fmt: skip


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"never said '{text}'")


def shared_memory(process) -> list[Path]:
    """Fast DDS's own segments of a process; those of its ports belong to all."""
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    names = {line.split()[-1] for line in maps if "/dev/shm/fast" in line}
    return [Path(name) for name in names if "_port" not in name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_active_node_with_exit_code_0_and_nothing_is_left(model, number):
    process = start(START, "-p", f"model:={model}", "-p", "autostart:=true")
    try:
        wait_for(process, "active, listening on /points")
        held = shared_memory(process)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert held or "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    assert [path for path in held if path.exists()] == []


def test_a_node_that_waits_to_be_configured_says_so():
    process = start(START)
    try:
        wait_for(process, "unconfigured: waiting for a lifecycle manager (or set autostart)")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0


def test_a_signal_ends_a_node_that_is_busy():
    process = start(BUSY, "-p", "autostart:=true")
    try:
        wait_for(process, "loading")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("later", [0.0, 1.5])
def test_a_signal_ends_a_node_in_the_middle_of_an_inference(model, number, later):
    process = start(INFERRING, "-p", f"model:={model}", "-p", "autostart:=true")
    try:
        wait_for(process, "inferring")
        time.sleep(later)  # the first second is slept through, what is after it is computed
        process.send_signal(number)
        rest, _ = process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in rest


def test_the_successor_of_a_killed_node_answers(make_bench, model):
    """DDS takes the dead one for alive for many seconds; nobody is to wait for it."""
    arguments = ("-p", f"model:={model}", "-p", "autostart:=true", "-p", "stride:=1")
    bench = make_bench()  # for its probe; its own node stays unconfigured
    bench.subscribe()
    for which in ("first", "successor"):
        process = start(START, *arguments)
        try:
            wait_for(process, "active, listening on /points")
            heard, clouds = len(bench.answers), iter(stream(10_000))

            def answered(heard=heard, clouds=clouds) -> bool:
                bench.points.publish(next(clouds))
                return len(bench.answers) > heard

            try:
                bench.until(answered)
            except AssertionError as error:  # who knew whom, and what it said
                matched = bench.points.get_subscription_count()
                process.kill()
                rest = process.stdout.read()
                pytest.fail(f"the {which}: {error}; {matched} subscribers to /points\n{rest}")
        finally:
            process.kill()  # and no farewell
            process.communicate()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("-p", "model:=nowhere.safetensors", "-p", "autostart:=true"), "no such file"),
        (("-p", "stride:=0"), "stride: expected 1 to 512, got 0"),
        (("--", "model:=/x.safetensors"), f"unknown argument 'model:=/x.safetensors': {HOW}"),
        (("--", "--model", "x"), f"unknown argument '--model': {HOW}"),
        (("--foo",), f"unknown ROS argument ['--foo']: {HOW}"),
    ],
)
def test_what_cannot_start_says_so_in_one_line_and_ends_with_exit_code_2(arguments, words):
    process = start(START, *arguments)
    try:
        output, _ = process.communicate(timeout=LONG)
    finally:
        process.kill()
    assert process.returncode == 2
    assert words in output
    assert len([line for line in output.splitlines() if "[rcl]" not in line]) == 1


@pytest.mark.parametrize("given, expected", [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_unless_the_user_wants_it(given, expected):
    code = (
        "import os, sys",
        "import fourd_perception.nodes",
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])",
        "from fourd_perception.nodes import recognizer",
        "print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY'])",
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"False {expected}", f"True {expected}"]
