"""Play a rosbag2 over DDS where `ros2 bag play` is not installed: an mcap or sqlite3 bag, as is."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from rosbags.interfaces import Connection, ConnectionExtRosbag2, QosDurability, QosReliability
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from fourd_perception.errors import command
from fourd_perception.messages.results import to_stamp
from fourd_perception.recordings.bag_reader import Bag, BagError, open_bag, raw_messages
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import counting, positive

_NODE = "play_bag"
_PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
_CLOCK_HZ = 40.0
_DEPTH = 10
_POLL = 0.05
_SETTLE = 0.5
"""Seconds that a subscriber we have found gets to find us as well."""
_LAST_WORDS = 1.0
"""Seconds that subscribers get to take the last messages before the publishers go."""


@dataclass(frozen=True)
class Options:
    """What the command line says; see `--help`."""

    bag: Path
    rate: float = 1.0
    loop: bool = False
    clock: float | None = None
    topics: tuple[str, ...] = ()
    remap: dict[str, str] = field(default_factory=dict)
    wait_for: tuple[str, ...] = ()
    subscribers: int = 1
    wait_timeout: float = 30.0
    step: str | None = None
    json: bool = False


@dataclass
class Summary:
    """What was played. messages: sent, by the topic they were sent on. skipped: topic to type."""

    bag: str
    messages: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    passes: int = 0
    worst_lateness_ms: float = 0.0
    error: str = ""
    interrupted: bool = False

    def text(self) -> str:
        """One line for people."""
        sent = ", ".join(f"{count} on {topic}" for topic, count in sorted(self.messages.items()))
        return f"played {sent or 'nothing'}; at most {self.worst_lateness_ms:.1f} ms late"


class Pace:
    """Recorded time on the monotonic clock. Every moment is counted from the start: no drift."""

    def __init__(self, first: int, rate: float) -> None:
        """first: the recorded time (nanoseconds) that is now. rate: 2 plays twice as fast."""
        self._first = first
        self._rate = rate
        self._start = time.monotonic()

    def due(self, recorded: int) -> float:
        """When, on the monotonic clock, `recorded` is."""
        return self._start + (recorded - self._first) / SECOND / self._rate

    def wait(self, recorded: int) -> float:
        """Sleep until `recorded`; returns how many seconds late it is."""
        late = time.monotonic() - self.due(recorded)
        if late < 0:
            time.sleep(-late)
            late = time.monotonic() - self.due(recorded)
        return max(late, 0.0)

    def forgive(self, recorded: int) -> None:
        """If `recorded` is overdue, it is due now, and all that follows as much later."""
        self._start += max(0.0, time.monotonic() - self.due(recorded))


class ClockPublisher:
    """/clock: at a steady rate, and before every message, so that it is never behind one."""

    def __init__(self, node: Node, hertz: float) -> None:
        self._publisher = node.create_publisher(Clock, "/clock", _DEPTH)
        self._hertz = hertz
        self._now = 0

    def restart(self, recorded: int) -> None:
        """A new pass: time starts again, or for the first time."""
        self._now = recorded
        self._publish()

    def advance(self, pace: Pace, rate: float, recorded: int) -> None:
        """Tick until `recorded` is due, and once at it."""
        step = round(SECOND / self._hertz * rate)
        while self._now + step < recorded:
            self._now += step
            pace.wait(self._now)
            self._publish()
        pace.wait(recorded)
        self._now = max(self._now, recorded)
        self._publish()

    def _publish(self) -> None:
        self._publisher.publish(Clock(clock=to_stamp(self._now)))


def play(node: Node, bag: Bag, options: Options, summary: Summary) -> None:
    """Play an open bag to its end (for ever with `loop`), filling in `summary` on the way.

    Raises BagError: before anything is sent, if there is nothing to play; where it is damaged,
    after what comes before the damage.
    """
    chosen = _choose(bag, options)
    publishers = _publishers(node, chosen, options, summary)
    clock = ClockPublisher(node, options.clock) if options.clock else None
    _wait_for(node, options)
    playable = [one for one in chosen if one.id in publishers]
    try:
        while True:
            _play_once(bag, playable, publishers, clock, options, summary)
            summary.passes += 1
            if not options.loop:
                break
    finally:
        _let_arrive(publishers)


def _play_once(
    bag: Bag,
    connections: list[Connection],
    publishers: dict[int, Publisher],
    clock: ClockPublisher | None,
    options: Options,
    summary: Summary,
) -> None:
    first = bag.start_time
    stepping = bool(options.step)
    seconds = bag.duration / SECOND / options.rate
    with tqdm(total=round(seconds, 1), unit="s", disable=None, leave=False) as bar:
        pace = Pace(first, options.rate)
        if clock:
            clock.restart(first)
        for connection, recorded, data in raw_messages(bag, connections):
            if stepping and connection.topic == options.step:
                stepping = bool(sys.stdin.readline())
                pace.forgive(recorded)
            if clock:
                clock.advance(pace, options.rate, recorded)
            late = pace.wait(recorded)
            publisher = publishers[connection.id]
            publisher.publish(bytes(data))
            summary.messages[publisher.topic_name] += 1
            summary.worst_lateness_ms = max(summary.worst_lateness_ms, late * 1e3)
            bar.update((recorded - first) / SECOND / options.rate - bar.n)


def _choose(bag: Bag, options: Options) -> list[Connection]:
    known = sorted({connection.topic for connection in bag.connections})
    for topic in (*options.topics, *options.remap, *([options.step] if options.step else [])):
        if topic not in known:
            raise BagError(f"{options.bag}: no topic {topic}; it has {', '.join(known) or 'none'}")
    chosen = [
        one for one in bag.connections if not options.topics or one.topic in options.topics
    ]  # fmt: skip
    if not any(one.msgcount for one in chosen):
        raise BagError(f"{options.bag}: empty: it has no messages to play")
    return chosen


def _publishers(
    node: Node, connections: list[Connection], options: Options, summary: Summary
) -> dict[int, Publisher]:
    """A publisher for every connection whose type is installed, by the connection's id."""
    publishers = {}
    for one in connections:
        name = options.remap.get(one.topic, one.topic)
        if not _is_topic(name):
            raise BagError(f"{options.bag}: {name!r} is no topic's name: damaged, or --remap it")
        kind = _message_class(one.msgtype)
        if kind is None:
            summary.skipped[one.topic] = one.msgtype
            print(f"play_bag: {one.topic} is left out: no {one.msgtype} here", file=sys.stderr)
            continue
        publishers[one.id] = node.create_publisher(kind, name, quality(one))
    if not publishers:
        raise BagError(f"{options.bag}: none of its message types is installed here")
    return publishers


def _message_class(name: str) -> Any | None:
    package, _, kind = name.partition("/msg/")
    if not _PACKAGE.fullmatch(package):  # what a bag says is not to choose what is imported
        return None
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError, ValueError, TypeError):  # the last two: damaged names
        return None


def quality(connection: Connection) -> QoSProfile:
    """The QoS to publish with: what the recorded publishers offered, the most of all of them.

    Where the bag does not say, reliable, which fits every subscriber. /tf_static is latched.
    """
    ext = connection.ext
    offered = ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else []
    best_effort = bool(offered) and all(
        one.reliability == QosReliability.BEST_EFFORT for one in offered
    )
    latched = connection.topic == "/tf_static" or any(
        one.durability == QosDurability.TRANSIENT_LOCAL for one in offered
    )
    return QoSProfile(
        # Recorders learn no depth from DDS and write 0; a latched topic may hold many transforms.
        depth=max([one.depth for one in offered] + [_DEPTH, 100 if latched else 0]),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _wait_for(node: Node, options: Options) -> None:
    """Wait until every topic of `wait_for` has its subscribers, or a publisher other than us."""
    until = time.monotonic() + options.wait_timeout
    own = {publisher.topic_name: publisher for publisher in node.publishers}
    for topic in map(node.resolve_topic_name, options.wait_for):
        ours = own.get(topic)
        wanted = options.subscribers if ours else 1
        while (
            found := ours.get_subscription_count() if ours else node.count_publishers(topic)
        ) < wanted:
            if time.monotonic() > until:
                who = f"only {found} of {wanted} nodes" if found else "nobody"
                role = "subscribes to" if ours else "publishes"
                raise BagError(f"{who} {role} {topic} after {options.wait_timeout:g} s")
            time.sleep(_POLL)
    if options.wait_for:
        time.sleep(_SETTLE)


def _let_arrive(publishers: dict[int, Publisher]) -> None:
    until = time.monotonic() + _LAST_WORDS
    for publisher in publishers.values():
        left = max(until - time.monotonic(), 0.0)
        publisher.wait_for_all_acked(Duration(seconds=left))
    time.sleep(_POLL)  # best effort acknowledges nothing


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="play_bag",
        description="Play a rosbag2 (folder, .mcap or .db3) over DDS at its recorded pace.",
        epilog="example: play_bag recording --clock --wait-for /camera/points",
    )
    add = parser.add_argument
    add("bag", type=Path, help="the bag's folder, or one of its files")
    add("--rate", type=positive, default=1.0, help="2: twice as fast (default: 1)")
    add("--loop", action="store_true", help="start again at the end; time jumps back")
    add(
        "--clock", type=positive, nargs="?", const=_CLOCK_HZ, metavar="HZ",
        help=f"publish the recorded time on /clock (default: {_CLOCK_HZ:g} Hz), and before every "
        "message",
    )  # fmt: skip
    add("--topics", nargs="+", default=[], metavar="TOPIC", help="play only these")
    add(
        "--remap", nargs="+", default=[], type=_renaming, metavar="OLD:=NEW",
        help="publish on another topic",
    )  # fmt: skip
    add(
        "--wait-for", nargs="+", default=[], type=_topic, metavar="TOPIC",
        help="start when somebody subscribes to it (a topic that is not played: publishes it)",
    )  # fmt: skip
    add(
        "--subscribers", type=counting, default=1, metavar="N",
        help="with --wait-for, of a topic that is played: so many subscribers (default: 1)",
    )  # fmt: skip
    add("--wait-timeout", type=positive, default=30.0, metavar="S", help="seconds (default: 30)")
    add(
        "--step", type=_topic, metavar="TOPIC",
        help="before every message of this topic of the bag, wait for a line on stdin; after its "
        "end, for none",
    )  # fmt: skip
    add("--json", action="store_true", help="print a summary as JSON")
    given = vars(parser.parse_args(arguments))
    for name in ("topics", "wait_for"):
        given[name] = tuple(given[name])
    given["remap"] = dict(given["remap"])
    return Options(**given)


def _renaming(text: str) -> tuple[str, str]:
    old, sign, new = text.partition(":=")
    if not (old and sign and new):
        raise argparse.ArgumentTypeError(f"expected OLD:=NEW, got {text}")
    return old, _topic(new)


def _topic(text: str) -> str:
    if not _is_topic(text):
        raise argparse.ArgumentTypeError(f"expected a topic such as /camera/points, got {text!r}")
    return text


def _is_topic(text: str) -> bool:
    try:
        return validate_full_topic_name(expand_topic_name(text, _NODE, "/"))
    except (NameValidationException, ValueError, TypeError):  # the last: not Unicode
        return False


@command
def main() -> int:
    """The entry point `play_bag`."""
    options = _parse(None)
    summary = Summary(str(options.bag))
    with open_bag(options.bag) as bag:
        # Ctrl-C is to interrupt this thread's sleep; rclpy's handlers would swallow it.
        context = Context()
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = Node(_NODE, context=context, start_parameter_services=False)
        try:
            play(node, bag, options, summary)
        except BagError as error:
            summary.error = str(error)
            raise
        except KeyboardInterrupt:
            summary.interrupted = True
            raise
        finally:
            node.destroy_node()
            context.try_shutdown()
            if options.json:
                print(json.dumps(vars(summary)))
            elif summary.messages:
                print(summary.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
