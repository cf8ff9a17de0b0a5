"""evaluate_bag from its command line."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import small_model
import tiny_folders
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

import bag_cases as cases

from fourd_perception import checkpoint
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_source import first_message
from fourd_perception.evaluation.written_bag import LABEL_INFO
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import open_bag
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools import evaluate_bag


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs the tool in an empty folder; gives its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evaluate_bag", *map(str, arguments)])
        code = evaluate_bag.main()
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model.save(tmp_path / "model.safetensors")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def labels(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("bag,start,end,label", *lines)) + "\n")
    return path


def test_without_labels_there_are_predictions(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "kitchen")
    code, out, err = run("kitchen", "--model", model, "--out", "here")
    assert (code, err) == (0, "")
    assert "the report: here/report.html" in out and "windows" in out
    said = rows(tmp_path / "here" / "predictions.csv")
    assert list(said[0]) == ["bag", "stamp", "start", "label", "truth", *small_model.CLASSES]
    assert {one["bag"] for one in said} == {"kitchen"} and {one["truth"] for one in said} == {""}
    for one in said:
        scores = np.array([one[name] for name in small_model.CLASSES], np.float32)
        assert one["label"] == small_model.CLASSES[scores.argmax()]
        assert scores.sum() == pytest.approx(1, abs=1e-6)
    summary = json.loads((tmp_path / "here" / "report.json").read_text())
    assert summary["figures"]["window_accuracy"] is None
    assert summary["figures"]["windows_answered"] == len(said)
    assert summary["bags"]["kitchen"]["topics"]["points"] == "/camera/points"
    page = (tmp_path / "here" / "report.html").read_text()
    assert "evaluate_bag kitchen --model" in page and "no truth" in page


def test_the_segmenters_settings_are_options(run, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "room")
    model = small_model.save_segmenter(tmp_path / "model.safetensors")  # shown 32 of 60 points

    def unlabelled(*options: object) -> list[int]:
        code, _, err = run("room", "--model", model, *options)
        assert code == 0, err
        said = rows(tmp_path / "out/evaluate_bag/predictions.csv")
        return [int(one["no label"]) for one in said]

    assert set(unlabelled("--max-distance", 1000)) == {0}
    assert set(unlabelled("--max-distance", 0)) == {60 - 32}
    few = unlabelled("--max-distance", 0, "--sample-points", 60, "--stride", 2)
    assert set(few) == {0}  # all of them are shown
    assert len(few) < len(unlabelled())
    page = (tmp_path / "out/evaluate_bag/report.html").read_text()
    assert "max_distance" not in page
    unlabelled("--max-distance", 0.25)
    page = (tmp_path / "out/evaluate_bag/report.html").read_text()
    assert "max_distance 0.25" in page


def test_a_closer_look_is_an_option(run, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "room")
    plain = small_model.save_segmenter(tmp_path / "plain.safetensors")
    code, _, err = run("room", "--model", plain, "--closer-look")
    assert code == 2 and "closer_look: small does not say which of its classes" in err
    model = small_model.save_segmenter(tmp_path / "model.safetensors", background=("idle",))
    code, _, err = run("room", "--model", model, "--closer-look")
    assert code == 0, err
    assert "closer_look True" in (tmp_path / "out/evaluate_bag/report.html").read_text()


def test_a_setting_that_the_model_has_not_is_refused(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "room")
    code, _, err = run("room", "--model", model, "--max-distance", 0.3)
    assert code == 2
    assert err == (
        "evaluate_bag: --max-distance: small is a model for action_recognition, which has no such "
        "setting; leave it out\n"
    )
    for given in ("65537", "many"):
        with pytest.raises(SystemExit, match="2"):
            run("room", "--model", model, "--sample-points", given)


def test_with_labels_it_scores(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "kitchen")
    labels(tmp_path / "labels.csv", "kitchen,0,1,wave", "kitchen,1.25,2,kik", "hall,0,1,wave")
    code, out, _ = run("kitchen", "--model", model, "--labels", "labels.csv", "--json")
    summary = json.loads(out)
    said = rows(tmp_path / "out/evaluate_bag/predictions.csv")
    judged = [one for one in said if one["truth"]]
    assert code == 0 and judged and {one["truth"] for one in judged} == {"wave"}
    right = 100 * sum(one["label"] == "wave" for one in judged) / len(judged)
    assert summary["figures"]["windows_judged"] == len(judged)
    assert summary["figures"]["window_accuracy"] == pytest.approx(right, abs=0.01)
    assert summary == json.loads((tmp_path / "out/evaluate_bag/report.json").read_text())
    page = (tmp_path / "out/evaluate_bag/report.html").read_text()
    for text in (
        "line 4: labels for the bag &#39;hall&#39;, which is not evaluated here",
        "line 3: the model has no class &#39;kik&#39; (did you mean &#39;kick&#39;?)",
        "lines 2 and 3: nothing is labelled for 0.25 s",
    ):
        assert text in page


class Tags(HTMLParser):
    """Every tag; fails on one that is not closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not any(str(value).startswith("http:") or str(value).startswith("https:")
                       for name, value in attrs if name in ("src", "href"))  # fmt: skip
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(run, model: Path, tmp_path: Path) -> None:
    depth = [one for number in range(60) for one in cases.depth(number)]
    cases.write(tmp_path / "depth", depth)
    labels(tmp_path / "labels.csv", "depth,0,2,wave")
    assert run("depth", "--model", model, "--labels", "labels.csv")[0] == 0
    tags = Tags((tmp_path / "out/evaluate_bag/report.html").read_text())
    assert not tags.open and not {"script", "link", "iframe"} & set(tags.seen)
    assert tags.seen.count("svg") == 4, "timeline, confusion, calibration, latency"
    assert tags.seen.count("img") >= 2, "a hard moment's depth image and its cloud"


def test_in_processes_as_one_after_the_other(run, model: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        cases.clouds(tmp_path / name, 40)
    assert run("a", "b", "--model", model, "--out", "one")[0] == 0
    assert run("a", "b", "--model", model, "--out", "two", "--jobs", 2)[0] == 0
    one, two = (tmp_path / name / "predictions.csv" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert [row["bag"] for row in rows(one)] == sorted(row["bag"] for row in rows(one))
    assert "a, 0." in (tmp_path / "one/report.html").read_text(), "each picture names its bag"


def test_points_are_scored_by_the_clouds_own_labels(run, tmp_path: Path) -> None:
    model = small_model.save_segmenter(tmp_path / "points.safetensors")
    truth = [0] * 30 + [1] * 30
    cases.write(tmp_path / "bag", [cases.cloud(n, labels=truth) for n in range(12)])
    code, out, _ = run("bag", "--model", model, "--json")
    summary = json.loads(out)
    frames = rows(tmp_path / "out/evaluate_bag/predictions.csv")
    assert code == 0 and summary["figures"]["points_judged"] == 60 * len(frames)
    assert [one["name"] for one in summary["classes"]] == list(small_model.CLASSES[:2])
    assert all(
        sum(int(one[name]) for name in (*small_model.CLASSES, "no label")) == 60 for one in frames
    )
    page = (tmp_path / "out/evaluate_bag/report.html").read_text()
    assert "% of its points right" in page and "Percent of the truth&#39;s points" in page
    labels(tmp_path / "labels.csv", "bag,0,2,wave")
    code, _, err = run("bag", "--model", model, "--labels", "labels.csv")
    assert code == 2 and "labels points: their truth is the field `label`" in err
    (tmp_path / "bag" / "point_classes.csv").write_text("number,name\n0,head\n1,torso\n")
    code, _, err = run("bag", "--model", model)
    assert code == 2 and "its classes are not those of small, which are idle, wave, kick" in err


def test_a_copy_with_the_predictions(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "kitchen")
    assert run("kitchen", "--model", model, "--write-bag")[0] == 0
    with open_bag(tmp_path / "out/evaluate_bag/kitchen_with_predictions") as bag:
        assert "/prediction/action" in bag.topics


def test_two_models(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "kitchen")
    labels(tmp_path / "labels.csv", "kitchen,0,1,wave", "kitchen,1,2,kick")
    other = tmp_path / "other.safetensors"
    other.write_bytes(model.read_bytes())
    code, out, _ = run(
        "kitchen", "--model", model, "--against", other, "--labels", "labels.csv", "--json"
    )
    summary = json.loads(out)
    assert code == 0 and summary["comparison"]["difference"] == 0.0
    assert summary["against"]["window_accuracy"] == summary["figures"]["window_accuracy"]
    folder = tmp_path / "out/evaluate_bag"
    assert (folder / "predictions.csv").read_bytes() == (
        folder / "predictions_against.csv"
    ).read_bytes()
    assert "No difference is shown on these bags" in (folder / "report.html").read_text()
    frames = small_model.save_frame_model(tmp_path / "frames.safetensors")
    code, _, err = run("kitchen", "--model", model, "--against", frames)
    assert code == 2 and "expected two models of one task" in err


def test_two_models_of_points_are_compared_over_stretches(run, tmp_path: Path) -> None:
    """320 frames at 30 Hz, ten seconds: the truth is what the first says, so its IoU is 100."""
    first = small_model.save_segmenter(tmp_path / "first.safetensors")
    plain = cases.clouds(tmp_path / "plain", 320)
    pipeline, said = make_pipeline(checkpoint.load(first), {"max_distance": 1000.0}), {}
    evaluate(plain, pipeline, on_result=lambda one, _: said.setdefault(one.stamp, one.labels))
    cases.write(
        tmp_path / "room",
        [cases.cloud(number, labels=said.get(cases.cloud(number).time)) for number in range(320)],
    )
    card = small_model.card().classes
    second = tmp_path / "second.safetensors"
    loaded = checkpoint.load(first)
    with torch.no_grad():
        for one in loaded.model.parameters():
            one += 0.5 * torch.randn_like(one)
    checkpoint.save(second, loaded.model, replace(loaded.card, name="second"))
    code, out, err = run(
        "room", "--model", first, "--against", second, "--max-distance", 1000, "--json"
    )
    assert code == 0, err
    summary = json.loads(out)
    found, gap = summary["comparison"], 100 - summary["against"]["mean_iou"]
    assert summary["figures"]["mean_iou"] == 100 and gap > 0.5
    assert found["difference"] == pytest.approx(gap, abs=0.02)
    assert found["frames"] == len(said) and found["stretches"] == 6
    assert 0 < found["low"] <= found["difference"] <= found["high"]
    page = (tmp_path / "out/evaluate_bag/report.html").read_text()
    assert "The first is better on these bags: mean IoU differs by" in page
    assert "over 6 stretches of two seconds" in page
    short = cases.write(
        tmp_path / "short",
        [cases.cloud(number, labels=said.get(cases.cloud(number).time)) for number in range(100)],
    )
    _, _, err = run(short, "--model", first, "--against", second, "--json")
    assert "stretches of two seconds that is too little to say which is better" in err
    other = small_model.save_segmenter(tmp_path / "other.safetensors", classes=("a", "b", "c"))
    code, _, err = run("room", "--model", first, "--against", other)
    assert code == 2 and f"labels points as a, b, c; {first} as {', '.join(card)}" in err


def test_a_bag_that_fails_does_not_stop_the_others(run, model: Path, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "good")
    cases.clouds(tmp_path / "short", 3)
    code, out, err = run("nowhere", "good", "short", "--model", model)
    assert code == 2 and "good" in (tmp_path / "out/evaluate_bag/predictions.csv").read_text()
    assert err == (
        "evaluate_bag: nowhere: no such bag; expected a rosbag2 folder, or a .mcap, .db3 or .bag "
        "file; 1 other bags failed too (1 bags were evaluated)\n"
    )
    assert "not evaluated: short: 3 clouds" in out


def test_the_truth_may_be_a_topic(run, model: Path, tmp_path: Path) -> None:
    """120 clouds, four seconds. What is said with cloud 30 holds until cloud 75, and so on; clouds
    are recorded a tenth of a second after their stamps, and so are the texts, which have none."""
    late = SECOND // 10

    def recorded(one: cases.Recorded) -> cases.Recorded:
        return replace(one, time=one.time + late)

    def said(number: int, text: str) -> cases.Recorded:
        message = camera.make("std_msgs/msg/String", data=text)
        time = cases.START + number * cases.PERIOD
        return recorded(cases.Recorded("/annotation", "std_msgs/msg/String", time, message))

    texts = [said(-20, "idle"), said(-10, " wave "), said(15, "1"), said(30, ""), said(45, "kick"),
             said(60, "jump"), said(75, "kick"), said(90, "wave"), said(90, "idle")]  # fmt: skip
    clouds = [recorded(cases.cloud(number)) for number in range(120)]
    cases.write(tmp_path / "kitchen", sorted([*clouds, *texts], key=lambda one: one.time))
    code, out, err = run(
        "kitchen", "--model", model, "--labels-topic", "/annotation", "--stride", 1, "--json"
    )
    assert code == 0, err
    truth = {}
    for one in rows(tmp_path / "out/evaluate_bag/predictions.csv"):
        start, end = (
            round((float(one[name]) - cases.START / SECOND) * 30) for name in ("start", "stamp")
        )
        truth[start, end] = one["truth"]
    spans = {"wave": (0, 30), "kick": (45, 60), "kick again": (75, 90), "idle": (90, 120)}
    expected = {
        span: next(
            (name.split()[0] for name, (start, end) in spans.items()
             if start <= span[0] and span[1] < end), ""
        )
        for span in truth
    }  # fmt: skip
    assert truth == expected and set(truth.values()) == {"", "wave", "kick", "idle"}
    notes = json.loads(out)["bags"]["kitchen"]["notes"]
    assert notes == [
        "kitchen: /annotation, message 8: 'wave' at the same time as message 9: 'idle', which is "
        "taken",
        "kitchen: /annotation, messages 2 and 5: nothing is labelled for 0.5 s between them; not "
        "judged",
        "kitchen: /annotation, message 6: the model has no class 'jump' (it knows idle, wave, "
        "kick); not judged",
    ]


def test_the_truth_may_be_what_another_model_said(run, model: Path, tmp_path: Path) -> None:
    """A Classification has a stamp: that of the cloud that it speaks of."""
    cases.clouds(tmp_path / "kitchen")
    run("kitchen", "--model", model, "--write-bag", "--stride", 1)
    said = rows(tmp_path / "out/evaluate_bag/predictions.csv")
    copy = tmp_path / "out/evaluate_bag/kitchen_with_predictions"
    code, _, err = run(
        copy, "--model", model, "--labels-topic", "/prediction/action", "--out", "again"
    )
    assert code == 0, err
    stamps, labels_said = ([one[name] for one in said] for name in ("stamp", "label"))
    for one in rows(tmp_path / "again/predictions.csv"):
        inside = {label for stamp, label in zip(stamps, labels_said)
                  if one["start"] <= stamp <= one["stamp"]}  # fmt: skip
        known = one["start"] >= stamps[0] and len(inside) == 1
        assert one["truth"] == (inside.pop() if known else "")


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("/labels", "there is no such topic with messages; of std_msgs/msg/String and "
         "vision_msgs/msg/Classification there is none"),
        ("/camera/points", "it is a sensor_msgs/msg/PointCloud2; of"),
    ],
)  # fmt: skip
def test_a_topic_that_is_no_truth(run, model: Path, tmp_path: Path, topic, message) -> None:
    cases.clouds(tmp_path / "bag")
    code, out, err = run("bag", "--model", model, "--labels-topic", topic)
    assert (code, out) == (2, "") and f"bag: --labels-topic {topic}: {message}" in err
    points = small_model.save_segmenter(tmp_path / "points.safetensors")
    code, out, err = run("bag", "--model", points, "--labels-topic", topic)
    assert code == 2 and f"{topic}: says what is done when" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["bag", "bag/"], "bag: the same bag as bag; give it once"),
        (["bag", "--labels", "none.csv"], "none.csv: cannot be read"),
        (["bag", "--points", "/lidar"], "--points /lidar: there is no such topic"),
        (["bag", "--out", "model.safetensors/x"], "cannot be written"),
    ],
)
def test_mistakes_are_a_line(run, model: Path, tmp_path: Path, arguments, message: str) -> None:
    cases.clouds(tmp_path / "bag")
    code, out, err = run(*arguments, "--model", "model.safetensors")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_a_model_that_is_not_there(run, tmp_path: Path) -> None:
    cases.clouds(tmp_path / "bag")
    code, _, err = run("bag", "--model", "none.safetensors")
    assert code == 2 and "none.safetensors" in err and not (tmp_path / "out").exists()


def test_where_to_look_is_said_by_options_of_the_nodes_names(run, model: Path) -> None:
    cases.clouds(Path("kitchen"))
    code, out, err = run(
        "kitchen", "--model", model, "--background-seconds", "0.5", "--person", "nearest",
        "--crop-box", -2, -2, 0, 2, 2, 9,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "17 frames left out: while the background is learnt: the first 0.5 s" in out
    summary = json.loads(Path("out/evaluate_bag/report.json").read_text())
    assert summary["facts"]["where to look"] == (
        "crop_box [-2.0, -2.0, 0.0, 2.0, 2.0, 9.0], background_seconds 0.5, person nearest"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--crop-box 0 0 0 1 1 -1", "where to look: crop_box: the smallest corner [0.0, 0.0, 0.0]"),
        ("--crop-box 0 0 0 1 1 nan", "crop_box[5]: expected a finite number, got nan"),
        ("--person next", "person: expected one of all, nearest, largest; got 'next'; did you"),
        ("--people 2", "people: to follow 2 needs bodies to be told apart"),
        ("--people 2 --person nearest", "people: a bag's answers are of one person; got 2"),
        ("--crop-frame base --crop-box 0 0 0 1 1 1", "kitchen: 60 frames left out: no transform"),
    ],
)
def test_where_nobody_can_look_is_one_clear_line(run, model: Path, options: str, said: str) -> None:
    cases.clouds(Path("kitchen"))
    code, _, err = run("kitchen", "--model", model, *options.split())
    assert code == 2 and said in err and err.count("\n") == 1


def test_images_and_texts_are_options_of_the_recognizers_names(run, tmp_path: Path) -> None:
    folder = tiny_folders.make(tmp_path)
    aligned = tiny_folders.save_aligned(tmp_path / "aligned.safetensors", folder)
    messages = [make(n) for n in range(60) for make in (cases.cloud, cases.picture)]
    cases.write(tmp_path / "kitchen", messages)
    prompts = ("push the box, to the left", "sit down", "lift: the box")
    code, _, err = run(
        "kitchen", "--model", aligned, "--video-text-model", folder, "--image-rate", 5,
        "--sync-slop", 0.01, "--prompts", *prompts, "--write-bag",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert {row["label"] for row in rows(Path("out/evaluate_bag/predictions.csv"))} <= set(prompts)
    facts = json.loads(Path("out/evaluate_bag/report.json").read_text())["facts"]
    assert facts["images and texts"].startswith("video_text_model ") and prompts[0] in str(facts)
    assert facts["pairs"] == "sync_slop 0.01"
    with open_bag(Path("out/evaluate_bag/kitchen_with_predictions")) as bag:
        table = first_message(bag, LABEL_INFO)
    assert tuple(one.class_name for one in table.class_map) == prompts
    small_model.save(Path("plain.safetensors"))
    for options, said in (
        ("--prompts sit wave", "--prompts: X-CLIP is asked for with --video-text-model"),
        (f"--video-text-model {folder} --prompts sit kitchen", "'kitchen' is a bag: give the bags"),
        (f"--video-text-model {folder} --against plain.safetensors", "plain.safetensors was not"),
        ("--image-rate 5", "--image-rate: X-CLIP is asked for with --video-text-model"),
        (f"--video-text-model {folder} --prompts sit", "prompts: 'sit' alone would always score 1"),
        (f"--video-text-model {folder} --image-rate 0", "image_rate: expected 0.01 to 100, got 0"),
        ("--video-text-model nowhere", "nowhere"),
    ):
        code, _, err = run("kitchen", "--model", aligned, *options.split())
        assert code == 2 and said in err and err.count("\n") == 1, err
