"""A bag played to a recognizer, each in a process of its own, and what comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from fourd_perception.errors import InputError
from fourd_perception.nodes.listener import HeardAnswer, Listener
from fourd_perception.recordings import camera_messages as camera

_READY_WITHIN = 180.0  # the first start compiles kernels
_LAST_ANSWERS = 2.0
_TICK = 0.1
_LOG_LINES = 15
_HIGHEST_DOMAIN = 232


class ReplayFailed(Exception):
    """A process ended before its time, or nothing was answered."""

    def __init__(self, text: str, log: Path) -> None:
        """log: where the process wrote; its last lines become part of the message."""
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        super().__init__("\n".join([f"{text}; {log} ends in:", *(f"  {line}" for line in lines)]))


class Signals:
    """SIGINT and SIGTERM as exceptions that are not lost.

    One that is raised while rclpy runs a callback may end there; it is raised again by `check`.
    """

    def __init__(self) -> None:
        self._received: BaseException | None = None

    def __enter__(self) -> Signals:
        self._before = {
            number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises KeyboardInterrupt or SystemExit where a signal has come."""
        if self._received is not None:
            raise self._received

    def _end(self, number: int, _: object) -> None:
        interrupted = number == signal.SIGINT
        self._received = KeyboardInterrupt() if interrupted else SystemExit(128 + number)
        raise self._received


class Replay:
    """A recognizer in a process of its own, to which a bag is played from another one.

    A context manager: the recognizer starts, and warms up, when the block is entered, and ends with
    it, also where SIGINT or SIGTERM end the block.
    """

    def __init__(self, context: Context, model: Path, logs: Path) -> None:
        """context: of `private_ros`. logs: an existing folder, for what the processes print."""
        self._context = context
        self._model = model
        self._logs = logs
        self._stack = contextlib.ExitStack()
        self._signals = Signals()
        self._executor = SingleThreadedExecutor(context=context)

    def __enter__(self) -> Replay:
        self._stack.enter_context(self._signals)
        self._listener = Listener(camera.POINTS, context=self._context)
        self._stack.callback(self._listener.destroy_node)
        self._executor.add_node(self._listener)
        self._stack.callback(self._executor.shutdown)
        command = [
            "fourd_perception.nodes.recognizer", "--ros-args",
            "-r", f"points:={camera.POINTS}", "-p", f"model:={self._model}",
            "-p", "autostart:=true", "-p", "top_k:=0",
        ]  # fmt: skip
        self._recognizer = self._stack.enter_context(_process(command, self._recognizer_log))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def _recognizer_log(self) -> Path:
        return self._logs / "recognizer.log"

    def wait_until_ready(self) -> None:
        """Returns when the recognizer is active. Raises ReplayFailed."""
        until = time.monotonic() + _READY_WITHIN
        while not self._listener.recognizer_is_active():
            self._spin("the recognizer did not start")
            if time.monotonic() > until:
                raise ReplayFailed(
                    f"the recognizer is not active after {_READY_WITHIN:g} s", self._recognizer_log
                )

    def play(self, bag: Path) -> Iterator[HeardAnswer]:
        """Play a bag from start to end; the answers as they come, and for a moment after.

        Raises ReplayFailed, also if there was no answer at all.
        """
        command = [
            "fourd_perception.nodes.play_bag", str(bag), "--topics", camera.POINTS,
            "--wait-for", camera.POINTS, "/recognizer/label_info",
        ]  # fmt: skip
        log = self._logs / "play_bag.log"
        answered = False
        with _process(command, log) as player:
            until = None
            while until is None or time.monotonic() < until:
                self._spin("the recognizer ended")
                while self._listener.heard:
                    answered = True
                    yield self._listener.heard.popleft()
                if until is None and player.poll() is not None:
                    until = time.monotonic() + _LAST_ANSWERS
            if player.returncode != 0:
                raise ReplayFailed("the bag could not be played", log)
        if not answered:
            raise ReplayFailed("the recognizer answered nothing", self._recognizer_log)

    def _spin(self, if_ended: str) -> None:
        self._executor.spin_once(_TICK)
        self._signals.check()
        if self._recognizer.poll() is not None:
            raise ReplayFailed(if_ended, self._recognizer_log)


@contextlib.contextmanager
def private_ros(fastdds_profile: Path) -> Iterator[Context]:
    """ROS on this machine only, on the domain that ROS_DOMAIN_ID says, else on one of its own.

    The environment says so to the processes that are started too. rclpy's own handling of signals,
    which would only end its spinning, is off. Raises InputError on a ROS_DOMAIN_ID that is none.
    """
    environment = dict(os.environ)
    os.environ.update(
        ROS_DOMAIN_ID=_domain(),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        FASTRTPS_DEFAULT_PROFILES_FILE=str(fastdds_profile),  # up to Jazzy
        FASTDDS_DEFAULT_PROFILES_FILE=str(fastdds_profile),
    )
    context = Context()
    try:
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        yield context
    finally:
        context.try_shutdown()
        os.environ.clear()
        os.environ.update(environment)


def _domain() -> str:
    given = os.environ.get("ROS_DOMAIN_ID", "")
    if given and not (given.isdecimal() and int(given) <= _HIGHEST_DOMAIN):
        raise InputError(f"ROS_DOMAIN_ID: expected 0 to {_HIGHEST_DOMAIN}, got '{given}'")
    return given or str(1 + os.getpid() % 100)  # above 101, ports may meet those of other programs


@contextlib.contextmanager
def _process(module_and_arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A module as a process that writes to `log`, and ends when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module_and_arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
