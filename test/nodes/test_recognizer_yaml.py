from __future__ import annotations

from pathlib import Path

import rclpy
import yaml

from fourd_perception.nodes.recognizer import Recognizer, RecognizerParameters
from fourd_perception.parameters import entries

FILE = Path(__file__).parents[2] / "config" / "recognizer.yaml"
NODE = "/**/recognizer"


def test_the_file_has_every_parameter_with_its_default_and_description():
    text = FILE.read_text(encoding="utf-8")
    given = yaml.safe_load(text)[NODE]["ros__parameters"]
    known = list(entries(RecognizerParameters))
    assert given == {entry.name: entry.default for entry in known}
    for entry in known:
        assert f"    # {entry.parameter.description}" in text


def test_the_file_reaches_a_node_in_any_namespace(tmp_path):
    changed = tmp_path / "changed.yaml"
    changed.write_text(FILE.read_text(encoding="utf-8").replace("top_k: 5", "top_k: 3"))
    for namespace in ("", "robot/head"):
        context = rclpy.context.Context()
        rclpy.init(args=["--ros-args", "--params-file", str(changed)], context=context)
        node = Recognizer(namespace=namespace, context=context)
        try:
            assert node.parameters.value == RecognizerParameters(top_k=3)
        finally:
            node.destroy_node()
            context.try_shutdown()
