"""evaluate_bag --live: the same bag through DDS into the node, and what is different."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import small_model
import tiny_folders

pytest.importorskip("rclpy")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

import bag_cases as cases

from fourd_perception.nodes import evaluate_bag
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.stream.window import ClipConfig
from fourd_perception.tools import evaluate_bag as tool

CLIP = ClipConfig(frames=4, frame_step=2, rate=30.0)


def depth_images(path: Path, count: int) -> Path:
    return cases.write(path, [one for number in range(count) for one in cases.depth(number)])


def packed_depth_images(path: Path, count: int) -> Path:
    return cases.write(path, [one for number in range(count) for one in cases.packed_depth(number)])


@pytest.mark.parametrize(
    ("kind", "options", "record"),
    [
        ("save", (), cases.clouds),
        ("save", ("--stride", "1"), depth_images),
        ("save", (), packed_depth_images),
        ("save_segmenter", ("--max-distance", "0.3", "--latency-frames", "1"), cases.clouds),
        ("save_frame_model", ("--stride", "3", "--latency-frames", "1"), cases.clouds),
    ],
)
def test_live_and_offline_say_the_same(kind, options, record, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = getattr(small_model, kind)(tmp_path / "model.safetensors", clip=CLIP)
    record(tmp_path / "bag", count=40)
    monkeypatch.setattr(
        "sys.argv",
        ["evaluate_bag", "bag", "--model", str(model), *options, "--live", "wait", "--json"],
    )
    assert evaluate_bag.main() == 0
    printed = capsys.readouterr()
    live = json.loads(printed.out)["bags"]["bag"]["live"]
    assert live["live"] == live["offline"] > 5
    assert [live[one] for one in ("lost", "changed", "rescored", "strange")] == [0, 0, 0, 0]
    assert live["score_difference"] < 1e-6
    assert f"the same {live['live']} answers" in printed.err
    assert "the same" in (tmp_path / "out/evaluate_bag/report.html").read_text()


def test_live_and_offline_look_at_the_same_place(tmp_path, monkeypatch, capsys):
    """A box in a frame that the camera rides through, by transforms that come with the clouds."""
    pytest.importorskip("tf2_msgs.msg", reason="ROS 2 without tf2_msgs")
    monkeypatch.chdir(tmp_path)
    model = small_model.save(tmp_path / "model.safetensors", clip=CLIP)
    messages = [cases.cloud(number) for number in range(40)]
    messages += [cases.ride(camera.TF, number, 0.01 * number) for number in range(40)]
    cases.write(tmp_path / "bag", sorted(messages, key=lambda one: one.time))
    box = ["--crop-box", "-0.5", "-0.6", "0.5", "0.8", "0.5", "3", "--crop-frame", "camera_link"]
    monkeypatch.setattr(
        "sys.argv",
        ["evaluate_bag", "bag", "--model", str(model), "--live", "0.3", "--json", *box],
    )
    assert evaluate_bag.main() == 0
    live = json.loads(capsys.readouterr().out)["bags"]["bag"]["live"]
    assert live["live"] == live["offline"] > 5
    assert (live["lost"], live["changed"], live["strange"]) == (0, 0, 0)
    assert live["score_difference"] < 1e-6


@pytest.mark.parametrize("make", [cases.picture, cases.packed_picture])
def test_images_and_prompts_go_to_the_node_too(make, tmp_path, monkeypatch, capsys):
    """Its images' scores come when they come, so that scores may differ, and nothing else."""
    monkeypatch.chdir(tmp_path)
    folder = tiny_folders.make(tmp_path)
    model = tiny_folders.save_aligned(tmp_path / "model.safetensors", folder, clip=CLIP)
    messages = [one(number) for number in range(40) for one in (make, cases.cloud)]
    cases.write(tmp_path / "bag", messages)
    prompts = ("push the box, to the left", "sit: down", "it's 'lifted'")
    monkeypatch.setattr(
        "sys.argv",
        ["evaluate_bag", "bag", "--model", str(model), "--video-text-model", str(folder),
         "--prompts", *prompts, "--live", "wait", "--json", "--write-bag"],
    )  # fmt: skip
    assert evaluate_bag.main() == 0
    live = json.loads(capsys.readouterr().out)["bags"]["bag"]["live"]
    assert live["live"] == live["offline"] > 5
    assert (live["lost"], live["strange"]) == (0, 0)
    log = (tmp_path / "out/evaluate_bag/recognizer.log").read_text()
    assert log.count("wants 4 frames") == 2, "of the clouds, and of the images"


def test_a_node_that_does_not_start_is_told_with_its_last_words(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = small_model.save(tmp_path / "model.safetensors", clip=CLIP)
    cases.clouds(tmp_path / "bag")
    monkeypatch.setattr("sys.argv", ["evaluate_bag", "bag", "--model", str(model), "--live"])
    monkeypatch.setenv("ROS_DOMAIN_ID", "333")
    assert evaluate_bag.main() == 2
    assert "ROS_DOMAIN_ID: expected 0 to 232, got '333'" in capsys.readouterr().err


def test_the_tool_alone_says_which_command_has_the_nodes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = small_model.save(tmp_path / "model.safetensors", clip=CLIP)
    cases.clouds(tmp_path / "bag")
    monkeypatch.setattr("sys.argv", ["evaluate_bag", "bag", "--model", str(model), "--live"])
    assert tool.main() == 2
    assert "--live: run the installed command evaluate_bag" in capsys.readouterr().err
