"""Bags of every kind are read alike, and of a damaged one everything before the damage."""

from __future__ import annotations

import functools
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fourd_perception.recordings.bag_reader import BagError, open_bag, raw_messages, read_messages
from fourd_perception.stream.frame import SECOND

TYPES = get_typestore(Stores.ROS2_JAZZY)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
TOPIC, OTHER = "/front/label", "/odd"
ODD = "odd_msgs/msg/Odd"
STRING = "std_msgs/msg/String"
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
KINDS = {
    "mcap": {"plugin": MCAP},
    "sqlite3": {"plugin": SQLITE},
    "mcap by file": {"plugin": MCAP, "mode": CompressionMode.FILE},
    "sqlite3 by file": {"plugin": SQLITE, "mode": CompressionMode.FILE},
    "mcap by message": {"plugin": MCAP, "mode": CompressionMode.MESSAGE},
    "sqlite3 by message": {"plugin": SQLITE, "mode": CompressionMode.MESSAGE},
    "mcap by chunk": {"plugin": MCAP, "mode": CompressionMode.STORAGE},
}


def string(text: str, types: Any = TYPES) -> Any:
    return types.types[STRING](data=text)


@functools.cache
def noise(size: int) -> str:
    """What no compression makes much smaller."""
    return random.Random(size).randbytes(size // 2).hex()


def write(
    path: Path,
    numbers: range = range(6),
    plugin: StoragePlugin = MCAP,
    mode: CompressionMode = CompressionMode.NONE,
    padding: int = 0,
) -> Path:
    """A bag with a text a second, and beside it messages of a type that nobody knows."""
    writer = Writer(path, version=8, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer as bag:
        texts = bag.add_connection(TOPIC, STRING, typestore=TYPES)
        odd = bag.add_connection(OTHER, ODD, msgdef="not a definition", rihs01="RIHS01_0")
        for number in numbers:
            data = TYPES.serialize_cdr(string(f"{number} " + noise(padding)), STRING)
            bag.write(texts, number * SECOND, data)
            bag.write(odd, number * SECOND, b"\0\1\0\0whatever")
    return path


def texts(path: Path) -> list[str]:
    return [one.message.data.split(" ")[0] for one in read_messages(path, TOPIC)]


SIX = [str(number) for number in range(6)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_storage_and_compression(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "bag", **KINDS[kind])
    assert texts(path) == SIX
    with open_bag(path) as bag:
        assert bag.topics == {TOPIC: STRING, OTHER: ODD}
        assert (bag.start_time, bag.duration, bag.message_count) == (0, 5 * SECOND + 1, 12)
        assert not bag.trouble
        between = bag.messages(bag.of_topics([TOPIC]), start=2 * SECOND, stop=4 * SECOND)
        assert [time for _, time, _ in between] == [2 * SECOND, 3 * SECOND]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "file" not in kind])
def test_without_metadata_the_files_are_read_and_it_is_said(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "bag", **KINDS[kind])
    (path / "metadata.yaml").unlink()
    assert texts(path) == SIX
    with open_bag(path) as bag:
        assert bag.trouble == [f"{path}: no metadata.yaml; its 1 storage file(s) are read without"]
        assert bag.topics == {TOPIC: STRING, OTHER: ODD}


def test_a_message_that_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fourd_perception.recordings.bag_reader._LARGEST_MESSAGE", 1 << 20)
    bomb = write(tmp_path / "bomb", plugin=SQLITE, mode=CompressionMode.MESSAGE, padding=3 << 20)
    with pytest.raises(BagError, match="a compressed message of more than 1 MiB"):
        texts(bomb)


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
def test_a_topic_whose_qos_is_written_in_two_ways_is_read(
    tmp_path: Path, plugin: StoragePlugin
) -> None:
    """As bags of Foxy: 0 in metadata.yaml where the file has infinity; nothing may be lost."""
    path = write(tmp_path / "bag", plugin=plugin)
    known = yaml.safe_load((path / "metadata.yaml").read_text())
    for topic in known["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = (
            "- history: 3\n  depth: 0\n  reliability: 1\n  durability: 2\n"
            "  deadline: {sec: 0, nsec: 0}\n  lifespan: {sec: 0, nsec: 0}\n  liveliness: 1\n"
            "  liveliness_lease_duration: {sec: 0, nsec: 0}\n"
            "  avoid_ros_namespace_conventions: false"
        )
    (path / "metadata.yaml").write_text(yaml.safe_dump(known))
    assert texts(path) == SIX


def test_compressed_files_without_metadata_say_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", mode=CompressionMode.FILE)
    (path / "metadata.yaml").unlink()
    with pytest.raises(BagError, match=r"no metadata.yaml; unpack them \(`zstd -d FILE`\)"):
        texts(path)


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
@pytest.mark.parametrize("metadata", [True, False])
def test_split_bags(tmp_path: Path, plugin: StoragePlugin, metadata: bool) -> None:
    """Twelve files, so that the tenth does not come before the second."""
    path = tmp_path / "bag"
    parts = [write(tmp_path / f"bag_{n}", range(n, n + 1), plugin) for n in range(12)]
    path.mkdir()
    files = []
    for part in parts:
        (file,) = (one for one in part.iterdir() if one.suffix != ".yaml")
        files.append(file.name)
        shutil.move(file, path / file.name)
    if metadata:
        known = yaml.safe_load((parts[0] / "metadata.yaml").read_text())
        known["rosbag2_bagfile_information"]["relative_file_paths"] = files
        (path / "metadata.yaml").write_text(yaml.safe_dump(known))
    assert texts(path) == [str(n) for n in range(12)]
    with open_bag(path) as bag:
        assert len(bag.connections) == 2, "one for each topic, in however many files it is"


def test_lone_files(tmp_path: Path) -> None:
    for plugin, suffix in ((MCAP, "mcap"), (SQLITE, "db3")):
        path = write(tmp_path / suffix, plugin=plugin)
        assert texts(path / f"{suffix}.{suffix}") == SIX


def test_ros1_bags(tmp_path: Path) -> None:
    path = tmp_path / "old.bag"
    with Ros1Writer(path) as bag:
        connection = bag.add_connection(TOPIC, STRING, typestore=ROS1)
        for number in range(6):
            data = ROS1.serialize_ros1(string(str(number), ROS1), STRING)
            bag.write(connection, number * SECOND, data)
    assert texts(path) == SIX
    with open_bag(path) as bag:
        raw = [TYPES.deserialize_cdr(data, STRING).data
               for _, _, data in raw_messages(bag, bag.of_topics([TOPIC]))]  # fmt: skip
    assert raw == SIX, "raw messages are what ROS 2 publishes"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BagError, match="not a ROS 1 bag, or damaged .* `rosbag reindex`"):
        texts(path)


def test_a_type_is_learnt_from_the_bag(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("int32 count\nstd_msgs/String text", "own_msgs/msg/Own"))
    with Writer(tmp_path / "bag", version=8, storage_plugin=MCAP) as bag:
        own = bag.add_connection("/own", "own_msgs/msg/Own", typestore=types)
        message = types.types["own_msgs/msg/Own"](count=3, text=string("three"))
        bag.write(own, 1, types.serialize_cdr(message, "own_msgs/msg/Own"))
    (read,) = read_messages(tmp_path / "bag", "/own")
    assert (read.message.count, read.message.text.data) == (3, "three")


def test_a_type_that_nobody_knows_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="bag: damaged") as caught:
        list(read_messages(write(tmp_path / "bag"), OTHER))
    assert "\n" not in str(caught.value)


class TestCutOff:
    """An mcap whose recorder crashed: chunks of about a megabyte, and no index."""

    @pytest.fixture(autouse=True)
    def mcap(self) -> None:
        pytest.importorskip("mcap")

    @staticmethod
    def read(path: Path) -> tuple[list[str], str]:
        """What is read, and what is said then."""
        read = []
        try:
            for one in read_messages(path, TOPIC):
                read.append(one.message.data.split(" ")[0])
        except BagError as error:
            return read, str(error)
        return read, ""

    @pytest.mark.parametrize("mode", [CompressionMode.NONE, CompressionMode.STORAGE])
    @pytest.mark.parametrize("lone", [True, False])
    def test_everything_before_the_cut_and_then_it_is_said(
        self, tmp_path: Path, mode: CompressionMode, lone: bool
    ) -> None:
        path = write(tmp_path / "bag", range(12), mode=mode, padding=300_000)
        file = path / "bag.mcap"
        whole = file.read_bytes()
        (path / "metadata.yaml").unlink()
        file.write_bytes(whole[: len(whole) * 2 // 3])
        read, said = self.read(file if lone else path)
        assert read and read == [str(n) for n in range(len(read))]
        assert "cut off, as by a crash while recording, and read up to the cut" in said
        with open_bag(file) as bag:
            assert bag.topics[TOPIC] == STRING
            assert bag.end_time == (len(read) - 1) * SECOND + 1

    def test_at_every_place(self, tmp_path: Path) -> None:
        """A cut never makes a message up, and never costs one that was whole in its chunk."""
        file = write(tmp_path / "bag", range(8), padding=400_000) / "bag.mcap"
        whole = file.read_bytes()
        seen = []
        for cut in range(2000, len(whole) - 1, len(whole) // 13):
            file.write_bytes(whole[:cut])
            read, said = self.read(file)
            assert "damaged" in said
            assert read == [str(n) for n in range(len(read))]
            seen.append(len(read))
        assert seen == sorted(seen) and seen[0] == 0 and seen[-1] >= 6
