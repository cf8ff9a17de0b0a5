"""A bag played to perception nodes, each in a process of its own, and what comes back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from fourd_perception.errors import InputError
from fourd_perception.nodes.listener import HeardClasses, HeardLabels, Listener
from fourd_perception.recordings import camera_messages as camera

_READY_WITHIN = 180.0  # the first start compiles kernels
_LAST_ANSWERS = 2.0
_ANSWER_WITHIN = 20.0
"""Seconds that an answer is waited for before the next cloud is sent all the same."""
_PATIENCE = 3
"""Answers that may fail to come before none is waited for any more."""
_DISCOVERY = 3.5  # DDS announces itself again after 3 s, to those who missed it
_TICK = 0.1
_LOG_LINES = 15
_HIGHEST_DOMAIN = 232
COMPRESSED = "/compressed"
"""What image_transport puts after the topic of colour images that it compresses."""


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


@dataclass(frozen=True)
class Played:
    """What is played of a bag: its clouds, or depth images and their camera_info.

    frames, camera_info: topics; None with clouds. first_info: of the bag's first CameraInfo the
    CDR, sent from the beginning, as by a driver that runs already. transforms: topics. depth_name:
    `frames` without the name of their transport, depth_transport, if they are depth images. image:
    a topic of colour images as they are, or of compressed ones, <name>/compressed; None: without.
    """

    frames: str = camera.POINTS
    camera_info: str | None = None
    first_info: bytes = b""
    transforms: tuple[str, ...] = ()
    depth_name: str = ""
    depth_transport: str = "raw"
    image: str | None = None

    @property
    def kind(self) -> type:
        """Of the messages that make the frames."""
        if self.camera_info is None:
            return PointCloud2
        return Image if self.depth_transport == "raw" else CompressedImage

    @property
    def remapped(self) -> dict[str, str]:
        """The nodes' names of what is played, and its topics."""
        told = {"points": self.frames}
        if self.camera_info is not None:
            told = {"depth": self.depth_name, "camera_info": self.camera_info}
        if self.image is not None:
            told["image"] = self.image.removesuffix(COMPRESSED)
        return told

    @property
    def parameters(self) -> dict[str, object]:
        """What a node is to be told of them."""
        packed = self.image is not None and self.image.endswith(COMPRESSED)
        return {
            "use_depth": self.camera_info is not None,
            "depth_image_transport": self.depth_transport,
            "use_image": self.image is not None,
            "image_transport": "compressed" if packed else "raw",
        }

    @property
    def topics(self) -> list[str]:
        """All of them."""
        besides = [topic for topic in (self.camera_info, self.image) if topic]
        return [self.frames, *besides, *self.transforms]


@dataclass(frozen=True)
class Started:
    """A node that is started: `recognizer` or `segmenter`, and its parameters.

    label_topics: its class tables, which whoever plays to it waits for.
    """

    name: str
    parameters: Mapping[str, object]
    label_topics: tuple[str, ...]

    def arguments(self, played: Played) -> list[str]:
        """Its module and command line."""
        given = {"autostart": True, "top_k": 0, **played.parameters, **self.parameters}
        told = [("-p", f"{key}:={_as_yaml(value)}") for key, value in given.items()]
        told += [("-r", f"{name}:={topic}") for name, topic in played.remapped.items()]
        return [
            f"fourd_perception.nodes.{self.name}", "--ros-args",
            *(word for pair in told for word in pair),
        ]  # fmt: skip


def recognizer(model: Path, **others: object) -> Started:
    """The recognizer with a model. others: its parameters."""
    return Started("recognizer", {"model": str(model), **others}, ("/recognizer/label_info",))


def segmenter(model: Path | None, action_model: Path | None = None, **others: object) -> Started:
    """The segmenter with a model for points, one for frames, or both. others: its parameters."""
    tables = {"/segmenter/label_info": model, "/segmenter/frame_action/label_info": action_model}
    files = {"model": model, "action_model": action_model}
    told = {key: str(file) for key, file in files.items() if file}
    return Started("segmenter", {**told, **others}, tuple(t for t, file in tables.items() if file))


class Replay:
    """Perception nodes in processes of their own, to which a bag is played from another one.

    A context manager: the nodes start, and warm up, when the block is entered, and end with it,
    also where SIGINT or SIGTERM end the block.
    """

    def __init__(
        self,
        context: Context,
        nodes: Sequence[Started],
        logs: Path,
        played: Played | None = None,
    ) -> None:
        """context: of `private_ros`. logs: an existing folder, for what the processes print.
        played: topics of the bags; None: the clouds that `make_bag` writes."""
        self._context = context
        self._nodes = nodes
        self._logs = logs
        self._played = played or Played()
        self._stack = contextlib.ExitStack()
        self._signals = Signals()
        self._executor = SingleThreadedExecutor(context=context)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Replay:
        self._stack.enter_context(self._signals)
        names = [node.name for node in self._nodes]
        self._listener = Listener(
            self._played.frames, names, self._played.kind, context=self._context
        )
        self._stack.callback(self._listener.destroy_node)
        self._executor.add_node(self._listener)
        self._stack.callback(self._executor.shutdown)
        for node in self._nodes:
            process = _process(node.arguments(self._played), self._log(node.name))
            self._running[node.name] = self._stack.enter_context(process)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def wait_until_ready(self) -> None:
        """Returns when all nodes are active and have had time to find who listens.

        Nothing is computed that nobody listens to: a window that is full before the node knows of
        its listener would have no answer. Raises ReplayFailed.
        """
        until = time.monotonic() + _READY_WITHIN
        while not self._listener.all_are_active():
            self._spin("did not start")
            if time.monotonic() > until:
                names = " or the ".join(self._running)
                raise ReplayFailed(
                    f"the {names} is not active after {_READY_WITHIN:g} s",
                    self._log(self._nodes[-1].name),
                )
        until = time.monotonic() + _DISCOVERY
        info = self._played.camera_info
        publisher = self._listener.create_publisher(CameraInfo, info, 1) if info else None
        while time.monotonic() < until:
            if publisher is not None:
                publisher.publish(self._played.first_info)
            self._spin("ended")
        if publisher is not None:
            self._listener.destroy_publisher(publisher)

    def play(
        self, bag: Path, *options: str, due: Sequence[int] | None = None
    ) -> Iterator[HeardClasses | HeardLabels]:
        """Play a bag from start to end; the answers as they come, and for a moment after.

        options: further ones of play_bag. due: of every answer, the number of the cloud, from 1,
        that it must come after: then a cloud is not sent before the answers that are due with those
        before it, and however slow the nodes are, they skip nothing.
        Raises ReplayFailed, also if there was no answer at all.
        """
        tables = [topic for node in self._nodes for topic in node.label_topics]
        command = [
            "fourd_perception.nodes.play_bag", str(bag), "--topics", *self._played.topics,
            *options, "--wait-for", self._played.frames, *tables,
            "--subscribers", str(1 + len(self._nodes)),  # we are one
        ]  # fmt: skip
        command += [] if due is None else ["--step", self._played.frames]
        log = self._log("play_bag")
        answered = 0
        with _process(command, log, stdin=subprocess.PIPE) as player:
            assert player.stdin is not None
            steps = Steps(player.stdin, due or ())
            until = None
            while until is None or time.monotonic() < until:
                self._spin("ended")
                while self._listener.heard:
                    answered += 1
                    yield self._listener.heard.popleft()
                if due is not None:
                    steps.allow(answered)
                if until is None and player.poll() is not None:
                    until = time.monotonic() + _LAST_ANSWERS
            if player.returncode != 0:
                raise ReplayFailed("the bag could not be played", log)
        if not answered:
            name = self._nodes[0].name
            raise ReplayFailed(f"the {name} answered nothing", self._log(name))

    def _spin(self, how: str) -> None:
        self._executor.spin_once(_TICK)
        self._signals.check()
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ReplayFailed(f"the {name} {how}", self._log(name))


class Steps:
    """Lets a player that waits for a line before each cloud go on when the answers are there."""

    def __init__(self, player: IO[bytes], due: Sequence[int]) -> None:
        """player: its stdin. due: as `Replay.play` has it."""
        self._player = player
        self._due = sorted(due)
        self._sent = 0
        self._last_step = 0.0
        self._missed = 0
        self._failures = 0

    def allow(self, answered: int) -> None:
        """Let it send what may be sent after so many answers. To be called again and again."""
        while not self._player.closed and self._may_go_on(answered):
            self._sent += 1
            with contextlib.suppress(BrokenPipeError):  # the bag has ended
                if self._failures >= _PATIENCE or self._sent > max(self._due, default=0):
                    self._player.close()  # nothing more is waited for
                else:
                    self._player.write(b"\n")
            self._last_step = time.monotonic()

    def _may_go_on(self, answered: int) -> bool:
        owed = bisect_right(self._due, self._sent) - answered - self._missed
        if owed <= 0:
            return True
        if time.monotonic() < self._last_step + _ANSWER_WITHIN:
            return False
        self._missed += owed
        self._failures += 1
        return True


def _as_yaml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        quoted = (json.dumps(one) if isinstance(one, str) else _as_yaml(one) for one in value)
        return f"[{', '.join(quoted)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


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
def _process(
    module_and_arguments: Sequence[str], log: Path, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A module as a process that writes to `log`, and ends when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module_and_arguments],
            stdin=stdin, bufsize=0, stdout=output, stderr=subprocess.STDOUT,
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
