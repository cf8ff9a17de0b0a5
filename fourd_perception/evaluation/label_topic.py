"""The truth of a bag from a topic in it: what is being done from a message's time on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_labels import LabelFile, LabelLine
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.recordings.bag_reader import Bag, BagError, open_bag, raw_messages

STRING = "std_msgs/msg/String"
CLASSIFICATION = "vision_msgs/msg/Classification"


@dataclass(frozen=True)
class TopicLabels:
    """file: the labels as lines, a message each, in nanoseconds of the clouds' stamps. problems: a
    line each on messages that say nothing."""

    file: LabelFile
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Said:
    time: int
    number: int
    label: str


def topic_labels(
    path: Path, topic: str, classes: Sequence[str], first: int, last: int, delay: int
) -> TopicLabels:
    """What a topic of a bag says is being done.

    A std_msgs/String names a class, a vision_msgs/Classification its best result, each by name or
    by number. A label holds from its message's stamp on (of a String, which has none, the time of
    its recording) until a message with another label, or the bag's last cloud; an empty text, or a
    Classification without results, says that nothing is being done. The same label again goes on.

    first, last: stamps of the bag's first and last cloud. delay: nanoseconds by which clouds were
    recorded after their stamps. Raises InputError where the topic is not there, or of another type.
    """
    with open_bag(path) as bag:
        kind = _type(bag, topic)
        said, problems = _messages(bag, topic, kind, classes, delay)
    said.sort(key=lambda one: (one.time, one.number))
    lines: list[LabelLine] = []
    name = path.resolve().name
    where = f"{path}: {topic}"
    for one, after in zip(said, [*said[1:], _Said(last + 1, 0, "")]):
        if one.time == after.time and one.label != after.label:
            problems.append(
                f"{where}, message {one.number}: '{one.label:.60}' at the same time as message "
                f"{after.number}: '{after.label:.60}', which is taken"
            )
        start, end = max(one.time, first), after.time
        if end <= start or not one.label:
            continue
        if lines and lines[-1].label == one.label and lines[-1].end == start:
            before = lines.pop()
            lines.append(LabelLine(before.number, name, before.start, end, one.label))
        else:
            lines.append(LabelLine(one.number, name, start, end, one.label))
    return TopicLabels(LabelFile(where, tuple(lines), unit="message"), tuple(problems))


def _type(bag: Bag, topic: str) -> str:
    kinds = (STRING, CLASSIFICATION)
    kind = bag.topics.get(topic)
    if kind in kinds:
        return kind
    known = [name for name, one in sorted(bag.topics.items()) if one in kinds]
    raise InputError(
        f"{bag.path}: --labels-topic {topic}: "
        + (f"it is a {kind}" if kind else "there is no such topic with messages")
        + f"; of {STRING} and {CLASSIFICATION} there is {', '.join(known) or 'none'}"
    )


def _messages(
    bag: Bag, topic: str, kind: str, classes: Sequence[str], delay: int
) -> tuple[list[_Said], list[str]]:
    said, problems = [], []
    numbered = _decoded(bag, topic)
    for number, (recorded, message) in enumerate(numbered, start=1):
        if message is None:
            problems.append(f"{bag.path}: {topic}, message {number}: cannot be decoded; left out")
            continue
        time = from_stamp(message.header.stamp) if kind == CLASSIFICATION else 0
        label = _label(message, kind)
        if label not in classes and label.isdecimal() and int(label) < len(classes):
            label = classes[int(label)]
        said.append(_Said(time or recorded - delay, number, label))
    return said, problems


def _decoded(bag: Bag, topic: str) -> Iterator[tuple[int, Any]]:
    """Time of recording and message, None where it is none; up to where the bag is damaged, which
    the reading of its clouds has said already."""
    messages = raw_messages(bag, bag.of_topics([topic]))
    while True:
        try:
            connection, recorded, data = next(messages)
        except (StopIteration, BagError):
            return
        try:
            yield recorded, bag.deserialize(connection, data)
        except BagError:
            yield recorded, None


def _label(message: Any, kind: str) -> str:
    if kind == STRING:
        return str(message.data).strip()
    best = max(message.results, key=lambda one: one.score, default=None)
    return "" if best is None else str(best.class_id).strip()
