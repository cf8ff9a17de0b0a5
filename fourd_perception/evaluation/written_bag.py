"""A copy of a bag with a model's predictions as topics, for Foxglove or RViz."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag import Result
from fourd_perception.messages.colours import class_colours
from fourd_perception.messages.labelled_clouds import to_layout
from fourd_perception.pipeline import FrameActions, Recognition, Segmentation
from fourd_perception.recordings import camera_messages as camera

ACTION = "/prediction/action"
SEGMENTATION = "/prediction/segmentation"
LABEL_INFO = "/prediction/label_info"

_PREFIX = "/prediction/"
_CLASSIFICATION, _LABEL_INFO = "vision_msgs/msg/Classification", "vision_msgs/msg/LabelInfo"
_HYPOTHESIS, _CLASS = "vision_msgs/msg/ObjectHypothesis", "vision_msgs/msg/VisionClass"
DEFINITIONS = {
    _HYPOTHESIS: "string class_id\nfloat64 score\n",
    _CLASS: "uint16 class_id\nstring class_name\n",
    _CLASSIFICATION: "std_msgs/Header header\nObjectHypothesis[] results\n",
    _LABEL_INFO: "std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n",
}
"""vision_msgs as upstream defines them; rosbags has only the common interfaces."""
_UNKNOWN_HASH = "RIHS01_" + "0" * 64
_TOP = 5


class PredictionBag:
    """An mcap that takes a bag's messages and, between them, what a model said of them.

    `copy` and `predict` fit `evaluate`'s tap and on_result.
    """

    def __init__(self, writer: Writer, classes: Sequence[str], colours: Sequence[str] = ()) -> None:
        """classes: of the answers. colours: as a ModelCard has them."""
        self._writer = writer
        self._classes = classes
        self._colours = class_colours(len(classes), colours)
        self._types = get_typestore(Stores.ROS2_JAZZY)
        for kind, text in DEFINITIONS.items():
            self._types.register(get_types_from_msg(text, kind))
        self._connections: dict[tuple[str, str], Connection] = {}

    def copy(self, connection: Connection, recorded: int, data: bytes) -> None:
        """Write a message of the bag, as CDR; predictions of a former run are left out."""
        if connection.topic.startswith(_PREFIX):
            return
        self._writer.write(self._of(connection), recorded, data)

    def predict(self, result: Result, recorded: int) -> None:
        """Write what a model said. recorded: nanoseconds, of the cloud that it speaks of."""
        make = self._types.types
        if not any(topic == LABEL_INFO for topic, _ in self._connections):
            names = [make[_CLASS](class_id=number, class_name=name)
                     for number, name in enumerate(self._classes)]  # fmt: skip
            table = make[_LABEL_INFO](camera.header(result.stamp, ""), names, 0.0)
            self._write(LABEL_INFO, _LABEL_INFO, recorded, table)
        if isinstance(result, Segmentation):
            head = camera.header(result.stamp, result.frame.frame_id)
            cloud = camera.cloud_message(to_layout(result, self._colours), head)
            self._write(SEGMENTATION, camera.MESSAGE_TYPES[camera.POINTS], recorded, cloud)
            return
        for one in result.frames if isinstance(result, FrameActions) else (result,):
            self._write(ACTION, _CLASSIFICATION, recorded, self._classification(one))

    def _classification(self, said: Recognition) -> Any:
        make = self._types.types
        best = [make[_HYPOTHESIS](class_id=self._classes[index], score=score)
                for index, score in said.top(_TOP, 0.0)]  # fmt: skip
        return make[_CLASSIFICATION](camera.header(said.stamp, said.frame_id), best)

    def _write(self, topic: str, kind: str, recorded: int, message: Any) -> None:
        if (topic, kind) not in self._connections:
            self._connections[topic, kind] = self._writer.add_connection(
                topic, kind, typestore=self._types
            )
        data = self._types.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic, kind], recorded, data)

    def _of(self, connection: Connection) -> Connection:
        """The writer's connection for one of the bag that is copied."""
        key = (connection.topic, connection.msgtype)
        if key not in self._connections:
            qos = getattr(connection.ext, "offered_qos_profiles", ())
            known = connection.msgtype in self._types.fielddefs
            described = (
                {"typestore": self._types}
                if known
                else {
                    "msgdef": connection.msgdef.data,
                    "rihs01": connection.digest if connection.digest.startswith("RIHS01_")
                    else _UNKNOWN_HASH,
                }
            )  # fmt: skip
            self._connections[key] = self._writer.add_connection(
                *key, offered_qos_profiles=qos, **described
            )
        return self._connections[key]


@contextmanager
def prediction_bag(
    path: str | Path, classes: Sequence[str], colours: Sequence[str] = ()
) -> Iterator[PredictionBag]:
    """A new bag in the folder `path`: whole when the block ends, or as it was before.

    classes, colours: as PredictionBag has them.
    A bag that is there is replaced. Raises InputError where something else is, and where it cannot
    be written.
    """
    path = Path(path)
    if path.exists() and not (path / "metadata.yaml").is_file():
        raise InputError(f"{path}: is there and is not a bag; remove it yourself, or choose --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            unfinished = Path(scratch) / path.name
            with Writer(unfinished, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
                yield PredictionBag(writer, classes, colours)
            if path.exists():
                shutil.rmtree(path)
            unfinished.rename(path)
    except (OSError, WriterError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be written ({reason}); make room, and try again"
        ) from None
