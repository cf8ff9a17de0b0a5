"""The launch file: by its syntax tree everywhere, by building it where launch is installed."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from fourd_perception.recordings import camera_messages as camera

ROOT = Path(__file__).parents[1]
FILE = ROOT / "launch" / "recognizer.launch.py"
ARGUMENTS = {
    "params_file", "model", "points", "image", "namespace", "use_sim_time", "log_level", "bag",
    "rviz", "autostart", "respawn", "depth", "camera_info", "video_text_model",
    "fastdds_profile", "recognition", "segmentation",
    "segmenter_params_file", "segmenter_model", "segmenter_action_model",
    "image_transport", "depth_image_transport",
}  # fmt: skip


@pytest.fixture(scope="module")
def tree():
    return ast.parse(FILE.read_text(encoding="utf-8"))


def calls(node, name):
    return [
        one
        for one in ast.walk(node)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == name
    ]


def test_every_argument_is_declared_at_top_level_with_a_description(tree):
    (generate,) = [
        one
        for one in tree.body
        if isinstance(one, ast.FunctionDef) and one.name == "generate_launch_description"
    ]
    declared = {}
    for call in calls(generate, "DeclareLaunchArgument"):
        declared[call.args[0].value] = {one.arg for one in call.keywords}
    assert declared.keys() == ARGUMENTS
    assert all({"description", "default_value"} <= given for given in declared.values())
    assert len(calls(tree, "DeclareLaunchArgument")) == len(declared)


def test_it_evaluates_nothing_and_runs_no_process_by_itself(tree):
    for name in ("eval", "exec", "open", "__import__"):
        assert not calls(tree, name)
    modules = {
        alias.name for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names
    }
    assert modules <= {"os"}
    assert not [
        one for one in ast.walk(tree) if isinstance(one, ast.Attribute) and one.attr == "system"
    ]


def test_only_arguments_that_are_declared_are_used(tree):
    used = {
        one.slice.value
        for one in ast.walk(tree)
        if isinstance(one, ast.Subscript)
        and isinstance(one.value, ast.Name)
        and one.value.id == "given"
    }
    assert used == ARGUMENTS


def test_the_profile_gives_shared_memory_room_for_large_clouds():
    root = ElementTree.parse(ROOT / "config" / "fastdds.xml").getroot()
    space = {"": "http://www.eprosima.com"}
    transports = {
        one.findtext("transport_id", namespaces=space): one
        for one in root.iterfind(".//transport_descriptor", space)
    }
    used = [one.text for one in root.iterfind(".//userTransports/transport_id", space)]
    assert sorted(used) == sorted(transports)
    kinds = {one.findtext("type", namespaces=space): one for one in transports.values()}
    assert kinds.keys() == {"SHM", "UDPv4"}
    assert int(kinds["SHM"].findtext("segment_size", namespaces=space)) == 64 << 20
    assert root.findtext(".//useBuiltinTransports", namespaces=space) == "false"


def test_rviz_shows_the_topics_that_the_launch_file_remaps():
    config = yaml.safe_load((ROOT / "config" / "recognizer.rviz").read_text(encoding="utf-8"))
    displays = config["Visualization Manager"]["Displays"]
    assert {one["Topic"]["Value"] for one in displays if "Topic" in one} == {
        "points", "image", "segmenter/segmentation", "segmenter/markers", "recognizer/markers",
    }  # fmt: skip


def test_the_foxglove_layout_shows_what_the_nodes_publish():
    text = (ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8")
    layout = json.loads(text)

    def panels(tree):
        return [tree] if isinstance(tree, str) else panels(tree["first"]) + panels(tree["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])
    assert set(re.findall(r'"(/[a-z_/]+)', text)) == {
        "/segmenter/segmentation", "/segmenter/markers", "/segmenter/frame_action",
        "/recognizer/action", "/recognizer/markers", "/diagnostics", camera.POINTS, camera.COLOR,
    }  # fmt: skip


@pytest.fixture
def build(monkeypatch):
    """The actions for some arguments, by the class's name."""
    launch = pytest.importorskip("launch.actions") and pytest.importorskip("launch")
    pytest.importorskip("launch_ros.actions")
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)
    spec = importlib.util.spec_from_file_location("recognizer_launch", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def build(**arguments):
        context = launch.LaunchContext()
        context.launch_configurations.update(arguments)
        actions = []
        for action in module.generate_launch_description().entities:
            actions += action.execute(context) or []
        return [(type(one).__name__, one) for one in actions]

    return build


def test_the_least_is_a_driven_node_and_a_profile(build):
    names = [name for name, _ in build(model="a.safetensors")]
    assert names.count("SetEnvironmentVariable") == 2
    assert names.count("RegisterEventHandler") == 2
    assert names.count("LifecycleNode") == 1
    assert len(names) == 5


def test_everything_at_once(build):
    names = [name for name, _ in build(bag="b", rviz="true", fastdds_profile="")]
    assert "SetEnvironmentVariable" not in names
    assert names.count("RegisterEventHandler") == 3  # the third plays the bag once it is active
    assert names.count("Node") == 1


def test_the_segmenter_comes_when_asked_for_and_may_come_alone(build):
    def nodes(**arguments):
        made = build(**arguments)
        found = [one for name, one in made if name == "LifecycleNode"]
        handlers = sum(name == "RegisterEventHandler" for name, _ in made)
        return [one.node_executable for one in found], handlers

    assert nodes(segmentation="true") == (["recognizer", "segmenter"], 4)
    assert nodes(segmentation="true", recognition="false") == (["segmenter"], 2)
    assert nodes(segmentation="true", bag="b") == (["recognizer", "segmenter"], 6)
    with pytest.raises(RuntimeError, match="nothing to start"):
        nodes(recognition="false")


def test_depth_images_are_taken_with_the_camera_info_beside_them(build):
    def remapped(**arguments):
        (node,) = [one for name, one in build(**arguments) if name == "LifecycleNode"]
        pairs = [tuple(part[0].text for part in pair) for pair in node._Node__remappings]
        return {old: new for old, new in pairs if old in ("depth", "camera_info")}

    assert remapped() == {}
    assert remapped(depth="/cam/depth/image") == {
        "depth": "/cam/depth/image", "camera_info": "/cam/depth/camera_info",
    }  # fmt: skip
    assert remapped(depth="/d", camera_info="/i") == {"depth": "/d", "camera_info": "/i"}


def test_both_nodes_are_told_a_transport_and_else_what_their_files_say(build):
    def told(**arguments):
        made = build(segmentation="true", **arguments)
        given = [
            {name[0].text: value for name, value in part.items()}
            for name, one in made
            if name == "LifecycleNode"
            for part in one._Node__parameters
            if isinstance(part, dict)
        ]
        return [
            {
                key: yaml.safe_load(value[0].text)
                for key, value in one.items()
                if key.endswith("transport")
            }
            for one in given
        ]

    assert told() == [{}, {}]
    assert (
        told(depth="/d", depth_image_transport="compressedDepth", image_transport="raw")
        == [{"depth_image_transport": "compressedDepth", "image_transport": "raw"}] * 2
    )


def test_left_to_a_manager_the_bag_plays_at_once(build):
    names = [name for name, _ in build(bag="b", autostart="false")]
    assert "RegisterEventHandler" not in names
    assert names.count("ExecuteProcess") == 1


def test_a_node_that_is_started_again_drives_itself(build):
    def node(**arguments):
        made = build(**arguments)
        (found,) = [one for name, one in made if name == "LifecycleNode"]
        parameters = {}
        for given in found._Node__parameters:
            if isinstance(given, dict):
                parameters |= {name[0].text: value for name, value in given.items()}
        driven = any(name == "RegisterEventHandler" for name, _ in made)
        return found._ExecuteLocal__respawn, parameters["autostart"], driven

    assert node() == (False, False, True)
    assert node(respawn="true") == (True, True, False)
    assert node(respawn="true", autostart="false") == (True, False, False)
    with pytest.raises(RuntimeError, match="respawn, bag"):
        build(respawn="true", bag="b")


def test_the_users_own_profile_is_left_alone(build, monkeypatch):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert "SetEnvironmentVariable" not in [name for name, _ in build()]
