"""The demo from its command line: a recording through DDS and back, and every way to end early."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import small_model

pytest.importorskip("rclpy")

from fourd_perception import models
from fourd_perception.checkpoint import save
from fourd_perception.errors import InputError
from fourd_perception.nodes.demo import main
from fourd_perception.nodes.listener import header_stamp
from fourd_perception.nodes.replay import private_ros
from fourd_perception.recordings.msr_action3d import ACTIONS
from fourd_perception.stream.window import ClipConfig

FRAMES = 30
ALONE = ("--recognition-only",)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of two test subjects, two seconds each."""
    root = tmp_path_factory.mktemp("msr")
    for action, subject in ((1, 6), (2, 7)):
        depth = np.zeros((240, 320, FRAMES), np.uint16)
        depth[80:200, 140:180] = 500 + np.arange(FRAMES)
        scipy.io.savemat(
            str(root / f"a{action:02d}_s{subject:02d}_e01_sdepth.mat"), {"depth": depth}
        )
    return root


def model(
    path: Path,
    classes: tuple[str, ...] = ACTIONS,
    task: str = "action_recognition",
    frames: int = 8,
) -> Path:
    card = small_model.card(
        classes=classes, task=task, clip=ClipConfig(frames=frames, frame_step=1, rate=15.0)
    )
    save(path, models.build(card.architecture, card.model, len(classes)), card)
    return path


def demo(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fourd_perception.nodes.demo", *ALONE, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def test_a_recording_goes_to_the_recognizer_and_is_judged(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    arguments = ("--data", data, "--model", model(tmp_path / "m.safetensors"), "--out", out)
    code, text, err = finish(demo(*arguments, "--json"))
    assert code == 0, err
    summary: dict[str, Any] = json.loads(text)
    assert summary == json.loads((out / "summary.json").read_text())
    figures = summary["figures"]
    # 60 clouds, windows of 8, an answer to every second frame: 7, 9, ... 59.
    assert (figures["clouds_sent"], figures["windows_expected"]) == (60, 27)
    assert figures["windows_answered"] + figures["windows_dropped"] == 27
    assert figures["windows_answered"] >= 20, err
    assert figures["window_accuracy"] is not None and figures["actions_judged"] == 2
    assert 0 < figures["latency_p50_ms"] <= figures["latency_max_ms"] < 10_000
    lines = [line for line in err.splitlines() if "✓" in line or "✗" in line]
    assert lines, "answers are shown as they come"
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") >= 2 and "high arm wave" in page


def test_the_segmenter_has_its_part_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mujoco")
    from fourd_perception.studio import CLASSES, POINT_CLASSES

    out, clip = tmp_path / "demo", ClipConfig(frames=3, frame_step=4, rate=30.0)
    points = small_model.save_segmenter(tmp_path / "p", clip=clip, classes=POINT_CLASSES)
    clip = ClipConfig(frames=6, frame_step=4, rate=30.0)
    frames = small_model.save_frame_model(tmp_path / "f", clip=clip, classes=CLASSES)
    arguments = {
        "--model": model(tmp_path / "m.safetensors", classes=CLASSES), "--out": out,
        "--segmenter-model": points, "--segmenter-action-model": frames, "--seconds": 5,
    }  # fmt: skip
    told = [str(word) for pair in arguments.items() for word in pair]
    monkeypatch.setattr("sys.argv", ["demo", *told, "--json"])
    assert main() == 0
    summary = json.loads(capsys.readouterr().out)
    figures = summary["segmenter"]
    assert figures["clouds_labelled"] > 3 and figures["points_judged"] > 10_000
    assert 0 < figures["point_accuracy"] < 60  # weights are random
    assert figures["frames_answered"] > 10 and figures["frame_accuracy"] is not None
    page = (out / "report.html").read_text()
    assert "Every point has a class" in page and "Every frame has an action" in page
    assert "left arm" in page and "Mean IoU" in page
    # Nobody has labelled the points of another model's classes.
    small_model.save_segmenter(points, clip=clip)
    assert main() == 2
    assert "its classes are not those of small, which are idle, wave" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"--model": "missing.safetensors"}, "missing.safetensors: no such file"),
        ({"--model": "few.safetensors"}, "does not know high_arm_wave, horizontal_arm_wave"),
        ({"--data": "nowhere"}, "nowhere: no such folder"),
        ({"--model": "long.safetensors"}, "60 clouds are too few for one window of 99 frames"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, str],
    message: str,
) -> None:
    model(tmp_path / "few.safetensors", classes=("hop", "run"))
    model(tmp_path / "long.safetensors", frames=99)
    given = {"--data": data, "--model": tmp_path / "m.safetensors", "--out": tmp_path / "demo"}
    given |= {option: tmp_path / name for option, name in change.items()}
    monkeypatch.setattr(
        "sys.argv", ["demo", *ALONE, *(str(word) for pair in given.items() for word in pair)]
    )
    assert main() == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "demo" / "report.html").exists()


@pytest.mark.parametrize("arguments", [("--seed", "-1"), ("--seconds", "nan")])
def test_numbers_are_checked(tmp_path: Path, monkeypatch, capsys, arguments) -> None:
    monkeypatch.setattr("sys.argv", ["demo", "--out", str(tmp_path / "demo"), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"got {arguments[1]}")


def test_the_domain_of_the_environment_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = Path("config/fastdds.xml")
    monkeypatch.setenv("ROS_DOMAIN_ID", "43")
    with private_ros(profile) as ros:
        assert ros.get_domain_id() == 43
    monkeypatch.delenv("ROS_DOMAIN_ID")
    with private_ros(profile) as ros:
        assert 1 <= ros.get_domain_id() <= 100
        assert os.environ["ROS_DOMAIN_ID"] == str(ros.get_domain_id()), "for the processes"
    assert "ROS_DOMAIN_ID" not in os.environ
    monkeypatch.setenv("ROS_DOMAIN_ID", "233")
    with pytest.raises(InputError, match="expected 0 to 232, got '233'"), private_ros(profile):
        pass


def test_a_recognizer_that_ends_is_told_with_its_last_words(data: Path, tmp_path: Path) -> None:
    other = model(tmp_path / "m.safetensors", task="segmentation")
    code, _, err = finish(demo("--data", data, "--model", other, "--out", tmp_path / "demo"))
    assert code == 1
    assert "the recognizer did not start" in err and "segmentation" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number, expected", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_running(data: Path, tmp_path: Path, number, expected: int) -> None:
    out = tmp_path / "demo"
    path = model(tmp_path / "m.safetensors")
    process = demo("--data", data, "--model", path, "--out", out)
    until = time.monotonic() + 120
    while not (out / "recognizer.log").exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == expected, f"{out}\n{err}"
    commands = [one.read_bytes() for one in Path("/proc").glob("[0-9]*/cmdline") if one.exists()]
    assert not [one for one in commands if os.fsencode(path) in one]


def test_the_stamp_of_a_serialized_message() -> None:
    body = struct.pack("<iI", 1_764_000_000, 7)
    assert header_stamp(b"\x00\x01\x00\x00" + body) == 1_764_000_000_000_000_007
    body = struct.pack(">iI", 1_764_000_000, 7)
    assert header_stamp(b"\x00\x00\x00\x00" + body) == 1_764_000_000_000_000_007
