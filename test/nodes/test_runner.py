"""The recognizer as a process: how it starts, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

START = ("from fourd_perception.nodes.recognizer import main; main()",)
BUSY = (
    "import time",
    "from fourd_perception.nodes import recognizer",
    "def load(self, parameters): print('loading', flush=True); time.sleep(60)",
    "recognizer.Recognizer._load = load",
    "recognizer.main()",
)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_active_node_with_exit_code_0(model, number):
    process = start(START, "-p", f"model:={model}", "-p", "autostart:=true")
    try:
        wait_for(process, "active, listening on /points")
        process.send_signal(number)
        rest, _ = process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in rest


def test_a_signal_ends_a_node_that_is_busy():
    process = start(BUSY, "-p", "autostart:=true")
    try:
        wait_for(process, "loading")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON)
    finally:
        process.kill()
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("-p", "model:=nowhere.safetensors", "-p", "autostart:=true"), "no such file"),
        (("-p", "stride:=0"), "stride: expected 1 to 512, got 0"),
    ],
)
def test_what_cannot_start_says_so_in_one_line_and_ends_with_exit_code_2(arguments, words):
    process = start(START, *arguments)
    output, _ = process.communicate(timeout=LONG)
    assert process.returncode == 2
    assert words in output
    assert len([line for line in output.splitlines() if "[rcl]" not in line]) == 1
