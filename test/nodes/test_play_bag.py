from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from node_bench import FRAMES, PERIOD, START, cloud
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2

from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.play_bag import main, quality
from fourd_perception.recordings.bag_reader import Bag

pytestmark = pytest.mark.usefixtures("ros")

TOPIC = "/camera/points"
STAMPS = [START + index * PERIOD for index in range(FRAMES + 2)]
NEVER = QosTime(0, 0)


def offered(reliability, durability=QosDurability.VOLATILE, depth=0):
    return Qos(
        QosHistory.UNKNOWN, depth, reliability, durability, NEVER, NEVER,
        QosLiveliness.AUTOMATIC, NEVER, False,
    )  # fmt: skip


def write(path, plugin=StoragePlugin.MCAP, stamps=STAMPS, unknown=False):
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=8, storage_plugin=plugin) as bag:
        points = bag.add_connection(TOPIC, "sensor_msgs/msg/PointCloud2", typestore=types)
        if unknown:
            kind = "nobody_msgs/msg/Odd"
            odd = bag.add_connection("/odd", kind, msgdef="int8 a", rihs01="RIHS01_0")
            bag.write(odd, START, b"\0\1\0\0\0")
        for stamp in stamps:
            bag.write(points, stamp, serialize_message(cloud(stamp)))
    return path


@pytest.fixture
def bag(tmp_path):
    return write(tmp_path / "bag")


def play(monkeypatch, capsys, *arguments):
    """Exit code, and what was printed."""
    monkeypatch.setattr(sys, "argv", ["play_bag", *map(str, arguments)])
    code = main()
    return code, capsys.readouterr()


@contextmanager
def listener(*subscriptions):
    """What arrives, in order: (topic, nanoseconds)."""
    heard = []
    node = Node("listener")
    reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
    for topic, kind in subscriptions:

        def hear(message, topic=topic):
            stamp = message.clock if isinstance(message, Clock) else message.header.stamp
            heard.append((topic, from_stamp(stamp)))

        node.create_subscription(kind, topic, hear, reliable)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield heard
    executor.shutdown()
    thread.join()
    node.destroy_node()


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_every_message_arrives_as_recorded_and_is_counted(tmp_path, monkeypatch, capsys, plugin):
    bag = write(tmp_path / "bag", plugin)
    with listener(("/other", PointCloud2)) as heard:
        code, out = play(
            monkeypatch, capsys, bag, "--rate", 5, "--remap", f"{TOPIC}:=/other",
            "--wait-for", "/other", "--json",
        )  # fmt: skip
    assert code == 0, out.err
    assert [stamp for _, stamp in heard] == STAMPS
    summary = json.loads(out.out)
    assert summary["messages"] == {"/other": len(STAMPS)}
    assert summary["passes"] == 1 and summary["error"] == ""


def test_it_waits_for_as_many_subscribers_as_it_is_told(bag, monkeypatch, capsys):
    with listener((TOPIC, PointCloud2)) as heard:
        code, out = play(
            monkeypatch, capsys, bag, "--wait-for", TOPIC, "--subscribers", 2, "--wait-timeout", 2
        )
    assert code == 2 and not heard
    assert f"only 1 of 2 nodes subscribes to {TOPIC} after 2 s" in out.err


def test_a_line_lets_the_next_message_go_and_the_end_all_others(bag, monkeypatch, capsys):
    class Lines:
        """stdin: what had been sent each time that a line was wanted."""

        def __init__(self):
            self.seen = []

        def readline(self):
            if self.seen and len(heard) <= self.seen[-1]:
                until(lambda: len(heard) > self.seen[-1])
            self.seen.append(len(heard))
            return "\n" if len(self.seen) < 3 else ""

    lines = Lines()
    monkeypatch.setattr(sys, "stdin", lines)
    with listener((TOPIC, PointCloud2)) as heard:
        code, _ = play(monkeypatch, capsys, bag, "--rate", 5, "--step", TOPIC, "--wait-for", TOPIC)
    assert code == 0
    assert lines.seen == [0, 1, 2]
    assert [stamp for _, stamp in heard] == STAMPS


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_lone_file_is_a_bag(bag, monkeypatch, capsys):
    (file,) = bag.glob("*.mcap")
    code, out = play(monkeypatch, capsys, file, "--rate", 100)
    assert code == 0 and f"{len(STAMPS)} on {TOPIC}" in out.out


def test_clock_is_never_behind_a_message_and_jumps_back_with_a_loop(bag, monkeypatch, capsys):
    with listener((TOPIC, PointCloud2), ("/clock", Clock)) as heard:
        monkeypatch.setattr("fourd_perception.nodes.play_bag.Pace", stop_after(2))
        code, _ = play(
            monkeypatch, capsys, bag, "--rate", 5, "--loop", "--clock", 50,
            "--wait-for", TOPIC, "/clock",
        )  # fmt: skip
    assert code == 130
    clock = [stamp for topic, stamp in heard if topic == "/clock"]
    assert clock[0] == START and STAMPS[-1] in clock
    assert [b < a for a, b in itertools.pairwise(clock)].count(True) == 1
    assert len(clock) > 2 * len(STAMPS)
    assert [stamp for topic, stamp in heard if topic == TOPIC] == STAMPS * 2


def stop_after(passes):
    """A Pace of which a third pass cannot be made, as if by Ctrl-C."""
    from fourd_perception.nodes.play_bag import Pace

    made = []

    def make(*arguments):
        if len(made) == passes:
            raise KeyboardInterrupt
        made.append(Pace(*arguments))
        return made[-1]

    return make


def test_a_message_of_an_unknown_type_is_left_out_in_one_line(tmp_path, monkeypatch, capsys):
    bag = write(tmp_path / "bag", unknown=True)
    code, out = play(monkeypatch, capsys, bag, "--rate", 100, "--json")
    assert code == 0
    assert out.err.splitlines() == ["play_bag: /odd is left out: no nobody_msgs/msg/Odd here"]
    assert json.loads(out.out)["skipped"] == {"/odd": "nobody_msgs/msg/Odd"}


def flip(bag, whole, flipped, name="metadata.yaml"):
    (file,) = bag.glob(name)
    file.write_bytes(file.read_bytes().replace(whole, flipped))
    return bag


@pytest.mark.parametrize(
    "break_it, arguments, words",
    [
        (lambda bag: bag / "nowhere", (), "no such bag"),
        (lambda bag: flip(bag, b"sensor", b"\xffensor"), (), "damaged"),
        (
            lambda bag: flip(bag, TOPIC.encode(), b"/camera+points", "*.mcap"), (),
            "is no topic's name",
        ),
        (
            lambda bag: flip(bag, b"sensor_msgs/msg", b".ensor_msgs/msg", "*.mcap"), (),
            "none of its message types",
        ),
        (lambda bag: write(bag.parent / "empty", stamps=[]), (), "empty"),
        (lambda bag: bag, ("--topics", "/x"), f"no topic /x; it has {TOPIC}"),
        (lambda bag: bag, ("--remap", "/x:=/y"), "no topic /x"),
        (
            lambda bag: bag, ("--wait-for", TOPIC, "--wait-timeout", "0.1"),
            f"nobody subscribes to {TOPIC}",
        ),
        (lambda bag: bag, ("--step", "/x"), "no topic /x"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(
    bag, monkeypatch, capsys, break_it, arguments, words
):
    code, out = play(monkeypatch, capsys, break_it(bag), *arguments)
    assert code == 2
    assert out.out == ""
    line = out.err.splitlines()[-1]
    assert line.startswith("play_bag: ") and words in line
    assert "Traceback" not in out.err


def test_a_bag_that_is_cut_off_is_played_to_the_cut(bag, monkeypatch, capsys):
    pytest.importorskip("mcap")
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-200])
    code, out = play(monkeypatch, capsys, bag, "--json")
    assert code == 2
    (line,) = out.err.splitlines()
    assert line.startswith(f"play_bag: {bag}: damaged: cut off")
    assert json.loads(out.out)["messages"] == {TOPIC: len(STAMPS)}


def test_damage_on_the_way_is_told_after_what_came_before_it(bag, monkeypatch, capsys):
    whole = Bag.messages

    def damaged(self, connections):
        yield next(whole(self, connections))
        raise KeyError(7)

    monkeypatch.setattr(Bag, "messages", damaged)
    code, out = play(monkeypatch, capsys, bag, "--json")
    assert code == 2
    (line,) = out.err.splitlines()
    assert line.startswith(f"play_bag: {bag}: damaged") and "KeyError: 7" in line
    assert json.loads(out.out)["messages"] == {TOPIC: 1}


def test_a_fault_of_publishing_is_not_taken_for_damage(bag, monkeypatch, capsys):
    def fail(self, message):
        raise KeyError("ours")

    monkeypatch.setattr(Publisher, "publish", fail)
    with pytest.raises(KeyError, match="ours"):
        play(monkeypatch, capsys, bag)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rate", "0"), ("--rate", "nan"), ("--remap", "/a=/b"), ("--remap", f"{TOPIC}:=/1bad"),
        ("--wait-for", "/a b"), ("--wait-for", "/a//b"), ("--wait-for", "{nobody}/a"),
    ],
)  # fmt: skip
def test_arguments_are_checked(bag, monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        play(monkeypatch, capsys, bag, *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("play_bag: error: argument --")


@pytest.mark.parametrize(
    "topic, profiles, reliability, latched",
    [
        ("/a", [], ReliabilityPolicy.RELIABLE, False),
        ("/a", [offered(QosReliability.BEST_EFFORT)], ReliabilityPolicy.BEST_EFFORT, False),
        (
            "/a", [offered(QosReliability.BEST_EFFORT), offered(QosReliability.RELIABLE)],
            ReliabilityPolicy.RELIABLE, False,
        ),
        (
            "/map", [offered(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)],
            ReliabilityPolicy.RELIABLE, True,
        ),
        ("/tf_static", [], ReliabilityPolicy.RELIABLE, True),
    ],
)  # fmt: skip
def test_quality_is_as_recorded(topic, profiles, reliability, latched):
    none = MessageDefinition(MessageDefinitionFormat.NONE, "")
    one = Connection(1, topic, "a/msg/A", none, "", 1, ConnectionExtRosbag2("cdr", profiles), None)
    qos = quality(one)
    assert qos.reliability == reliability
    assert (qos.durability == DurabilityPolicy.TRANSIENT_LOCAL) is latched
    assert qos.depth >= 10


def test_a_bag_goes_through_the_recognizer(bag, make_bench, monkeypatch, capsys):
    bench = make_bench()
    bench.activate()
    spinning = threading.Thread(target=bench.answered, args=(len(STAMPS) - FRAMES + 1,))
    spinning.start()
    code, _ = play(
        monkeypatch, capsys, bag, "--remap", f"{TOPIC}:=/points", "--rate", 2,
        "--wait-for", "/points",
    )  # fmt: skip
    spinning.join()
    assert code == 0
    assert [from_stamp(one.header.stamp) for one in bench.answers] == STAMPS[FRAMES - 1 :]
