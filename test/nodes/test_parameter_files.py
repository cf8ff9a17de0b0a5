from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
import yaml

from fourd_perception.nodes.recognizer import Recognizer, RecognizerParameters
from fourd_perception.nodes.segmenter import Segmenter, SegmenterParameters
from fourd_perception.parameters import entries

CONFIG = Path(__file__).parents[2] / "config"
each = pytest.mark.parametrize(
    ("name", "kind", "parameters", "changed"),
    [
        ("recognizer", Recognizer, RecognizerParameters, "top_k: 5"),
        ("segmenter", Segmenter, SegmenterParameters, "    latency_frames: 0"),
    ],
)


@each
def test_the_file_has_every_parameter_with_its_default_and_description(
    name, kind, parameters, changed
):
    text = (CONFIG / f"{name}.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(text)[f"/**/{name}"]["ros__parameters"]
    known = list(entries(parameters))
    listed = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
    assert listed == {entry.name: entry.default for entry in known}
    for entry in known:
        assert f"    # {entry.parameter.description}" in text


@each
def test_the_file_reaches_a_node_in_any_namespace(tmp_path, name, kind, parameters, changed):
    text, other = (CONFIG / f"{name}.yaml").read_text(encoding="utf-8"), changed[:-1] + "2"
    assert changed in text
    (tmp_path / "changed.yaml").write_text(text.replace(changed, other))
    key, value = other.strip().split(": ")
    for namespace in ("", "robot/head"):
        context = rclpy.context.Context()
        arguments = ["--ros-args", "--params-file", str(tmp_path / "changed.yaml")]
        rclpy.init(args=arguments, context=context)
        node = kind(namespace=namespace, context=context)
        try:
            assert node.parameters.value == parameters(**{key: int(value)})
        finally:
            node.destroy_node()
            context.try_shutdown()
