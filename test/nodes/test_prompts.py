"""The images' branch and the prompts of a recognizer whose model was aligned with texts."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
import tiny_folders
from node_bench import FRAMES, PERIOD, START, Bench, cloud, stream
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, LabelInfo

from fourd_perception.messages.results import to_stamp
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.outputs import has_subscribers
from fourd_perception.pipeline import ActionPipeline
from fourd_perception.stream.frame import SECOND
from fourd_perception.vocabulary import OpenVocabulary

PROMPTS = ["push the box", "sit down", "lift the box"]
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the text model."""
    return tiny_folders.make(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def aligned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that was aligned with it."""
    return tiny_folders.save_aligned(
        tmp_path_factory.mktemp("aligned") / "a.safetensors",
        folder,
        clip=small_model.ClipConfig(frames=FRAMES, frame_step=1, rate=10.0),
    )


@pytest.fixture
def bench(make_bench: Callable[..., Bench], aligned: Path, folder: Path) -> Callable[..., Bench]:
    """A bench with the model and the folder."""

    def make(**parameters: Any) -> Bench:
        given = {"model": str(aligned), "video_text_model": str(folder), "top_k": 0, **parameters}
        return make_bench(**given)

    return make


def picture(stamp: int, **changed: Any) -> Image:
    pixels = np.random.default_rng(stamp).integers(0, 255, (4, 6, 3), np.uint8)
    given = {"height": 4, "width": 6, "encoding": "rgb8", "step": 18, "data": pixels.tobytes()}
    message = Image(**(given | changed))
    message.header.stamp = to_stamp(stamp)
    return message


def tables(bench: Bench) -> list[LabelInfo]:
    """Where the tables will be that the recognizer publishes."""
    heard: list[LabelInfo] = []
    bench.probe.create_subscription(LabelInfo, "/recognizer/label_info", heard.append, LATCHED)
    return heard


def names(table: LabelInfo) -> list[str]:
    return [one.class_name for one in table.class_map]


def ask(bench: Bench, prompts: Any) -> Any:
    return bench.recognizer.set_parameters([Parameter("prompts", value=prompts)])[0]


def test_the_images_scores_join_those_of_the_clouds(bench):
    bench = bench(use_image=True, image_rate=10.0, image_timeout=5.0)
    seen: list[Classification] = []
    bench.probe.create_subscription(Classification, "/recognizer/scores/rgb_text", seen.append, 100)
    images = bench.probe.create_publisher(Image, "image", 10)
    bench.activate()
    node = bench.recognizer
    bench.until(lambda: has_subscribers(node._scores["rgb_text"]))
    bench.until(lambda: images.get_subscription_count() == 1)
    for number, message in enumerate(stream(8)):
        images.publish(picture(from_stamp(message.header.stamp)))
        bench.send(message)
        if number >= FRAMES:  # the images' window is full by then: their score comes first
            bench.until(lambda: node._clouds.images is not None)
        bench.answered(max(0, number - FRAMES + 2))
    bench.until(lambda: len(seen) >= 3)
    fused = {from_stamp(one.header.stamp) for one in bench.answers}
    assert {from_stamp(one.header.stamp) for one in seen} <= fused
    report, values = bench.report()
    assert report.hardware_id == "small, small" and "small: window" in values


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("config.json", None, "config.json: cannot be read"),
        ("config.json", b'{"model_type": "clip"}', "a model of type 'clip', expected 'xclip'"),
        ("model.safetensors", None, "expected model.safetensors, got no weights"),
        ("model.safetensors", b"x" * 100, "model.safetensors: damaged"),
        ("vocab.json", None, "no tokenizer"),
        ("vocab.json", b'{"a": 0, "<|endoftext|>": 1}', "tokenizer"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(bench, folder, tmp_path, capfd, file, content, line):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / file).unlink()
    if content is not None:
        (tmp_path / "other" / file).write_bytes(content)
    refused = bench(video_text_model=str(tmp_path / "other"), use_image=True)
    assert not refused.recognizer.start()
    told = [one for one in capfd.readouterr().err.splitlines() if "configure: " in one]
    assert len(told) == 1 and line in told[0]


def test_a_folder_without_images_is_for_its_texts_alone(bench, capfd):
    alone = bench()
    alone.activate()
    assert "for its texts alone; to score images, set use_image to true" in capfd.readouterr().err
    alone.send(*stream(FRAMES))
    alone.answered(1)
    assert alone.report()[0].hardware_id == "small"


def test_prompts_that_are_given_at_the_start_are_the_classes(bench):
    asked = bench(prompts=PROMPTS)
    heard = tables(asked)
    apart: list[Classification] = []
    asked.probe.create_subscription(Classification, "/recognizer/scores/pc_text", apart.append, 10)
    asked.activate()
    asked.until(lambda: has_subscribers(asked.recognizer._scores["pc_text"]))
    asked.until(lambda: heard)
    assert names(heard[0]) == PROMPTS
    asked.send(*stream(FRAMES))
    asked.answered(1)
    asked.until(lambda: apart)
    scores = {one.class_id: one.score for one in asked.answers[0].results}
    assert scores.keys() == set(PROMPTS) and sum(scores.values()) == pytest.approx(1, abs=1e-5)
    # No classifier knows them, and there are no images: the text's score is all there is.
    assert {one.class_id: one.score for one in apart[0].results} == pytest.approx(scores)
    _, values = asked.report()
    assert values["prompts"] == "push the box, sit down, lift the box"
    assert values["zero-shot, unknown to the model"] == "push the box, lift the box"


def test_prompts_change_while_it_runs_and_no_answer_mixes_two_tables(bench, monkeypatch):
    learn, go_on = OpenVocabulary.learn, threading.Event()

    def slowly(self: OpenVocabulary, prompts: Any) -> Any:
        if tuple(prompts) == tuple(PROMPTS):
            assert go_on.wait(30)
        return learn(self, prompts)

    monkeypatch.setattr(OpenVocabulary, "learn", slowly)
    asked = bench(class_id="number")
    heard = tables(asked)
    asked.activate()
    asked.until(lambda: heard)
    own = list(tiny_folders.TEXTS)
    assert names(heard[-1]) == own
    asked.send(*stream(FRAMES))
    asked.answered(1)
    assert ask(asked, PROMPTS).successful
    # The encoder is at it; meanwhile the node goes on with the classes that it has.
    asked.send(cloud(START + FRAMES * PERIOD))
    asked.answered(2)
    assert names(heard[-1]) == own
    go_on.set()
    asked.until(lambda: names(heard[-1]) == PROMPTS)
    asked.send(cloud(START + (FRAMES + 1) * PERIOD))
    asked.answered(3)
    assert asked.recognizer._clouds.vocabulary.prompted
    assert ask(asked, [""]).successful
    asked.until(lambda: names(heard[-1]) == own)
    asked.send(cloud(START + (FRAMES + 2) * PERIOD))
    asked.answered(4)
    assert "prompts" not in asked.report()[1]


def test_an_answer_of_classes_that_are_gone_is_not_published(bench, monkeypatch):
    recognise, hold, held = ActionPipeline.recognise, threading.Event(), threading.Event()

    def late(self: ActionPipeline, clip: Any) -> Any:
        answer = recognise(self, clip)
        held.set()
        assert hold.wait(30)
        return answer

    asked = bench()
    heard = tables(asked)
    asked.activate()
    monkeypatch.setattr(ActionPipeline, "recognise", late)
    asked.send(*stream(FRAMES))
    asked.until(held.is_set)
    assert ask(asked, PROMPTS).successful
    asked.until(lambda: heard and names(heard[-1]) == PROMPTS)
    hold.set()
    asked.send(cloud(START + FRAMES * PERIOD))
    asked.answered(1)
    assert from_stamp(asked.answers[0].header.stamp) == START + FRAMES * PERIOD
    assert {one.class_id for one in asked.answers[0].results} == set(PROMPTS)


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        (["a", ""], "number 2 of 2 is empty"),
        (["a", "b", "a"], "'a' stands twice (numbers 1 and 3)"),
        (["a"], "'a' alone would always score 1"),
        (["a", "b" * 76], "has 78 tokens, the model reads 77"),
        ("walk", "expected a list of str, got 'walk'"),
    ],
)
def test_bad_prompts_are_refused_and_the_classes_stay(bench, prompts, line):
    asked = bench(use_image=True)
    asked.activate()
    before = asked.recognizer._clouds.vocabulary
    refused = ask(asked, prompts)
    assert not refused.successful and line in refused.reason and "\n" not in refused.reason
    assert asked.recognizer._clouds.vocabulary is before
    assert ask(asked, []).successful  # as the model's own, which they are


def test_bad_prompts_at_the_start_leave_it_unconfigured(bench, capfd):
    assert not bench(prompts=["a", "a"]).recognizer.start()
    assert "prompts: 'a' stands twice" in capfd.readouterr().err


def test_prompts_want_a_folder_and_a_model_with_text_scores(make_bench, aligned):
    for parameters, line in (
        ({"model": str(aligned)}, "set video_text_model to its folder"),
        ({}, "has no scores against texts: take a checkpoint of training/align.py"),
    ):
        asked = make_bench(**parameters)
        asked.activate()
        refused = ask(asked, PROMPTS)
        assert not refused.successful and line in refused.reason
        asked.close()


def test_several_people_have_no_images_of_their_own(make_bench, aligned, folder, capfd):
    several = {"model": str(aligned), "person": "nearest", "people": 2}
    for more, line in (
        ({"video_text_model": str(folder)}, "set people to 1, or video_text_model to nothing"),
        ({}, "was aligned with images, which are of all people at once: set people to 1"),
    ):
        assert not make_bench(**several, **more).recognizer.start()
        assert line in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"data": b"\x00" * 17}, "data"),
        ({"encoding": "bgra8"}, "step"),
        ({"encoding": "cmyk"}, "unknown encoding"),
        ({"encoding": "16UC1"}, "not a colour image"),
        ({"height": 0}, "no pixels"),
    ],
)
def test_images_that_are_not_what_they_say_are_told_and_the_clouds_go_on(
    bench, capfd, changed, reason
):
    given = bench(use_image=True, image_timeout=0.05)
    images = given.probe.create_publisher(Image, "image", 10)
    given.activate()
    given.until(lambda: images.get_subscription_count() == 1)
    for message in stream(FRAMES + 1):
        images.publish(picture(from_stamp(message.header.stamp), **changed))
        given.send(message)
    given.until(lambda: "messages rejected" in given.report()[1])
    given.until(lambda: given.report()[1]["messages rejected"] == str(FRAMES + 1))
    given.answered(1)
    lines = [
        line for line in capfd.readouterr().err.splitlines() if "rejected, and counted" in line
    ]
    assert len(lines) == 1 and reason in lines[0] and "Image" in lines[0]


@pytest.mark.parametrize(("seconds", "said"), [(3, "younger"), (-3, "older")])
def test_images_whose_stamps_are_off_are_told_and_the_clouds_go_on(bench, capfd, seconds, said):
    given = bench(use_image=True, image_timeout=0.05)
    images = given.probe.create_publisher(Image, "image", 10)
    given.activate()
    given.until(lambda: images.get_subscription_count() == 1)
    for message in stream(FRAMES + 1):
        images.publish(picture(from_stamp(message.header.stamp) + seconds * SECOND))
        given.send(message)
    given.answered(1)
    number = iter(range(FRAMES + 1, 1000))

    def goes_on() -> bool:
        stamp = START + next(number) * PERIOD
        images.publish(picture(stamp + seconds * SECOND))
        given.send(cloud(stamp))
        return "no cloud gets an image" in given.report()[0].message

    given.until(goes_on)
    line = given.reports[-1].message
    assert f" s {said} than the newest cloud: set the drivers' clocks" in line and "/image" in line
    assert capfd.readouterr().err.count("no cloud gets an image") == 1


def test_images_of_another_size_than_before_are_scored_all_the_same(bench):
    given = bench(use_image=True, image_rate=10.0, image_timeout=5.0)
    images = given.probe.create_publisher(Image, "image", 10)
    given.activate()
    given.until(lambda: images.get_subscription_count() == 1)
    node = given.recognizer
    for number, message in enumerate(stream(8)):
        size = {"height": 2, "width": 5, "step": 15, "data": bytes(30)} if number % 2 else {}
        images.publish(picture(from_stamp(message.header.stamp), **size))
        given.send(message)
    given.until(lambda: node._clouds.images is not None)
    assert given.report()[1]["messages rejected"] == "0"
