"""make_bag from its command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from rosbags.rosbag2 import Reader

from fourd_perception.checkpoint import read_card
from fourd_perception.errors import InputError
from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.messages import clouds
from fourd_perception.messages.transforms import put_message
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings import studio_seeds
from fourd_perception.recordings.bag_reader import read_messages
from fourd_perception.recordings.truth import FILE_NAME, read_truth
from fourd_perception.tools import make_bag


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the tool; gives its exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["make_bag", *map(str, arguments)])
        code = make_bag.main()
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def msr(tmp_path: Path) -> Path:
    for subject in (1, 6, 7):
        path = tmp_path / "msr" / "depth" / f"a0{subject}_s0{subject}_e01_sdepth.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        depth = np.zeros((240, 320, 3), np.uint16)
        depth[100:110, 150:160] = 500
        scipy.io.savemat(str(path), {"depth": depth})
    return tmp_path / "msr"


def test_msr_of_the_test_subjects(run, msr: Path, tmp_path: Path) -> None:
    code, out, _ = run(tmp_path / "bag", "--msr", msr, "--json")
    assert code == 0
    summary = json.loads(out)
    assert (summary["frames"], summary["actions"]) == (6, 2)
    labels = {one.label for one in read_truth(tmp_path / "bag" / FILE_NAME)}
    assert labels == {"high_throw", "draw_x"}, "actions 6 and 7, of subjects 6 and 7"
    clouds = list(read_messages(tmp_path / "bag", camera.POINTS))
    assert [one.message.width for one in clouds] == [100] * 6


def test_msr_can_be_cut_short_and_repeated(run, msr: Path, tmp_path: Path) -> None:
    orders = set()
    for number, seed in enumerate((0, 0, 1, 2, 3, 4, 5)):
        path = tmp_path / f"bag{number}"
        code, _, _ = run(path, "--msr", msr, "--seconds", "0.3", "--seed", seed)
        assert code == 0
        orders.add((seed, tuple(one.label for one in read_truth(path / FILE_NAME))))
    assert len(orders) == 6, "the same seed draws the same"
    assert {len(labels) for _, labels in orders} == {2}, "3 frames are 0.2 s: two sequences"
    assert len({labels for _, labels in orders}) == 2, "both orders are drawn by some seed"


def test_the_studio(run, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    arguments = ("--studio", "--seed", 3, "--actions", "squat", "--topics", "points")
    code, out, _ = run(tmp_path / "bag", *arguments)
    assert code == 0 and "1 actions" in out
    (truth,) = read_truth(tmp_path / "bag" / FILE_NAME)
    assert truth.label == "squat" and 3 <= (truth.end - truth.start) / 1e9 <= 5
    with Reader(tmp_path / "bag") as bag:
        assert set(bag.topics) == {camera.POINTS, camera.TF_STATIC}


def test_the_studio_shows_nobody_whom_the_shipped_model_knows(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = []

    def note(seed: int, *_: object, **__: object) -> None:
        seeds.append(seed)
        raise InputError("that is all")

    monkeypatch.setattr(make_bag, "studio_recording", note)
    for arguments in ((), ("--seed", 0), ("--seed", 7)):
        assert run(tmp_path / "bag", "--studio", *arguments)[0] == 2
    assert seeds == [studio_seeds.DEMO, 0, 7]
    with pytest.raises(SystemExit):
        run(tmp_path / "bag", "--help")
    assert "0 to 95 the shipped model" in " ".join(capsys.readouterr().out.split())


def test_the_ranges_of_the_studios_seeds() -> None:
    card = read_card(Path(__file__).parents[2] / "models" / "studio.safetensors")
    assert {int(one) for one in card.trained_on["groups"]} == set(studio_seeds.SHIPPED_MODEL)
    assert studio_seeds.SHIPPED_MODEL[-1] < studio_seeds.TEST < studio_seeds.DEMO


def test_seconds_give_every_action_its_turn() -> None:
    studio = pytest.importorskip("fourd_perception.studio")
    recording = make_bag.studio_recording(seed=1, seconds=112.0)
    assert recording.frame_count / recording.rate == pytest.approx(112, rel=0.15)
    labels = [one.label for one in recording.truth]
    assert len(labels) == 28 and all(labels.count(name) == 2 for name in studio.CLASSES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--msr", "nowhere"), "make_bag: nowhere: no such folder"),
        (("--msr", "{msr}", "--subjects", "9"), "no sequence of subjects 9"),
        (("--msr", "{msr}", "--subjects", "six"), "--subjects: expected such as 6-10"),
        (("--msr", "{msr}", "--subjects", "1,9-7"), "--subjects: nobody is in '9-7'"),
        (("--msr", "{msr}", "--topics", "color"), "msr_action3d has no colour"),
        (("--msr", "{msr}", "--whole-room"), "--whole-room needs --studio"),
        (("--msr", "{msr}", "--topics", "points,lidar"), "expected some of points, depth, color"),
        (("--studio", "--actions", "levitate"), "unknown action 'levitate'"),
    ],
)
def test_mistakes_are_one_line(run, msr: Path, tmp_path: Path, arguments, message: str) -> None:
    if "--studio" in arguments:
        pytest.importorskip("mujoco")
    code, out, err = run(tmp_path / "bag", *(one.format(msr=msr) for one in arguments))
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--seed", "-1"), ("--seed", "x"), *(("--seconds", bad) for bad in ("inf", "nan", "-5", "0"))],
)
def test_numbers_are_checked(run, msr: Path, tmp_path: Path, capsys, arguments) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "bag", "--msr", msr, *arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"got {arguments[1]}")
    assert not (tmp_path / "bag").exists()


def test_a_bag_that_is_there_is_kept(run, msr: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "bag", "--msr", msr)[0] == 0
    code, _, err = run(tmp_path / "bag", "--msr", msr)
    assert code == 2 and "is there already" in err
    assert run(tmp_path / "bag", "--msr", msr, "--force")[0] == 0


def test_a_studio_bag_can_begin_empty_and_says_where_its_camera_stands(run, tmp_path: Path) -> None:
    """The person stands at the room's origin, before the camera, on the floor."""
    pytest.importorskip("mujoco")
    code, _, err = run(
        tmp_path / "bag", "--studio", "--seed", "900001", "--actions", "idle", "--topics", "points",
        "--empty-seconds", "0.5", "--passer-by", "--json",
    )  # fmt: skip
    assert code == 0, err
    [idle] = read_truth(tmp_path / "bag" / FILE_NAME)
    stamps = [one.stamp for one in read_messages(tmp_path / "bag", camera.POINTS)]
    assert idle.start - stamps[0] == 500_000_000
    buffer = TransformBuffer()
    for one in read_messages(tmp_path / "bag", camera.TF_STATIC):
        put_message(one.message, buffer, static=True)
    to_room = buffer.lookup(camera.ROOM_FRAME, camera.OPTICAL_FRAME, stamps[0])
    messages = [one.message for one in read_messages(tmp_path / "bag", camera.POINTS)]
    assert messages[0].width == 0  # nobody there
    person = clouds.from_message(messages[-1]) @ to_room.rotation.T + to_room.translation
    assert np.abs(np.median(person[:, :2], axis=0)).max() < 0.2
    assert -0.05 < person[:, 2].min() < 0.1 and 1.4 < person[:, 2].max() < 2.1


def test_a_studio_bag_has_companions_and_what_they_do(run, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    command = ["--studio", "--seed", "900001", "--actions", "idle", "--topics", "points",
               "--whole-room", "--companions"]  # fmt: skip
    for count in (0, 2):
        code, _, err = run(tmp_path / str(count), *command, str(count))
        assert code == 0, err
    [alone], [person] = (read_truth(tmp_path / name / FILE_NAME) for name in ("0", "2"))
    assert (alone.start, alone.label) == (person.start, person.label)
    assert not list((tmp_path / "0").glob("truth_other_*"))
    others = sorted(one.name for one in (tmp_path / "2").glob("truth_other_*"))
    assert others == ["truth_other_1.csv", "truth_other_2.csv"]
    for name in others:
        truth = read_truth(tmp_path / "2" / name)
        assert truth and truth[0].start >= person.start
    first = [
        clouds.from_message(next(iter(read_messages(tmp_path / name, camera.POINTS))).message)
        for name in ("0", "2")
    ]
    there = np.isfinite(first[0]).all(1) & np.isfinite(first[1]).all(1)
    nearer = first[0][there, 2] - first[1][there, 2] > 0.2
    assert nearer.sum() > 200, "bodies stand before what the room shows without them"


@pytest.mark.parametrize(
    "option", ["--passer-by", "--empty-seconds=2", "--whole-room", "--companions=1"]
)
def test_what_only_the_studio_has_is_refused_of_msr(run, msr: Path, tmp_path: Path, option) -> None:
    code, _, err = run(tmp_path / "bag", "--msr", msr, option)
    name = option.partition("=")[0]
    assert code == 2 and err == f"make_bag: {name} needs --studio: MSR-Action3D has no room\n"
