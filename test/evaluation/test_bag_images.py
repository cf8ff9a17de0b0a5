"""Bags with colour images, and a model that was aligned with an X-CLIP: what the core says of them,
frame by frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
import small_model
import tiny_folders
from bag_cases import PERIOD, START

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_figures import source_figures
from fourd_perception.evaluation.bag_images import BagImages
from fourd_perception.evaluation.bag_labels import BagTruth
from fourd_perception.evaluation.bag_report import bag_page
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.image_pipeline import ImagePipeline, VlmConfig, load_scorer
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.synchronizer import PairConfig

PROMPTS = ("push the box", "sit down", "lift the box")
COUNT = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> VlmConfig:
    folder = tiny_folders.make(tmp_path_factory.mktemp("folder"))
    return VlmConfig(video_text_model=str(folder), image_rate=5.0)


@pytest.fixture(scope="module")
def model(config, tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    path = tmp_path_factory.mktemp("models") / "aligned.safetensors"
    return checkpoint.load(tiny_folders.save_aligned(path, Path(config.video_text_model)))


def record(path: Path, pictures, count: int = COUNT) -> Path:
    """Clouds, and those pictures."""
    messages = [*(cases.cloud(number) for number in range(count)), *pictures]
    return cases.write(path, sorted(messages, key=lambda one: one.time))


def judge(path: Path, model, config, pairing=None, asked=None, **others):
    pipeline = make_pipeline(model, {"stride": 1}, config)
    images = BagImages(model, pipeline, config, pairing)
    return evaluate(path, pipeline, asked, images=images, **others)


def by_hand(model, config, image_of=lambda number: number):
    """The core's answers, each frame with the picture of the number that is told, or none."""
    clouds = make_pipeline(model, {"stride": 1}, config)
    scorer = load_scorer(config.video_text_model, model)
    branch, found = ImagePipeline(model, scorer, clouds.window.clip, config.image_rate), []
    for number in range(COUNT):
        shown, image = image_of(number), None
        if shown is not None:
            image = np.frombuffer(cases.picture(shown).message.data, np.uint8).reshape(4, 6, 3)
        frame = Frame(
            START + number * PERIOD, camera.OPTICAL_FRAME, cases.points(number), image=image
        )
        answer, clip = clouds.push(frame), branch.offer(frame)
        found += [] if answer is None else [answer.scores]
        if clip is not None:
            clouds.images = branch.score(clip)
    return np.array(found)


def test_images_are_fused_as_the_core_does(model, config, tmp_path):
    path = record(tmp_path / "bag", map(cases.picture, range(COUNT)))
    result = judge(path, model, config)
    assert result.source.image == camera.COLOR and result.source.colour
    np.testing.assert_array_equal(result.scores, by_hand(model, config))
    alone = evaluate(path, make_pipeline(model, {"stride": 1}))
    assert alone.session.answers[0].stamp == result.session.answers[0].stamp
    assert len(alone.scores) == len(result.scores)
    assert not np.array_equal(alone.scores, result.scores)
    assert (
        result.notes == () and judge(path, model, config).scores.tolist() == result.scores.tolist()
    )


def test_each_score_is_judged_by_itself(model, config, tmp_path):
    path = record(tmp_path / "bag", map(cases.picture, range(COUNT)))
    result = judge(path, model, config)
    assert list(result.by_source) == ["pc", "pc_text", "rgb", "rgb_text"]
    seen = np.isfinite(result.by_source["rgb"]).all(axis=1)
    assert not seen[0] and seen[-1] and not np.isnan(result.by_source["pc"]).any()
    does = Interval(START, START + 3 * SECOND, tiny_folders.TEXTS[0])
    judged = result.with_truth(BagTruth((does,), (), ""))
    found = {one.name: one for one in source_figures([judged])}
    for name, one in found.items():
        rows = result.by_source[name][seen if name.startswith("rgb") else slice(None)]
        assert one.judged == len(rows)
        assert one.accuracy == pytest.approx(100 * np.mean(rows.argmax(axis=1) == 0), abs=0.01)
    assert found["rgb"].fused == pytest.approx(
        100 * np.mean(result.scores[seen].argmax(axis=1) == 0), abs=0.01
    )
    (table,) = [one for one in bag_page("", "", [judged], {}).tables if one.title == "Sources"]
    assert [row[0] for row in table.rows] == ["source", *found]
    assert list(evaluate(path, make_pipeline(model)).by_source) == ["pc", "pc_text"]
    both = source_figures(
        [judged, evaluate(path, make_pipeline(model)).with_truth(BagTruth((), (), ""))]
    )
    assert both == list(found.values())


def test_compressed_images_are_the_same_and_so_are_late_ones(model, config, tmp_path):
    expected = by_hand(model, config)
    packed = record(tmp_path / "packed", map(cases.packed_picture, range(COUNT)))
    np.testing.assert_array_equal(judge(packed, model, config).scores, expected)
    late = [
        replace(one, time=one.time + 3 * PERIOD // 2) for one in map(cases.picture, range(COUNT))
    ]
    result = judge(record(tmp_path / "late", late), model, config)
    np.testing.assert_array_equal(result.scores, expected)
    assert result.notes == ()


def test_a_cloud_takes_the_nearest_image_within_the_slop_or_none(model, config, tmp_path):
    path = record(tmp_path / "bag", map(cases.picture, range(0, COUNT, 2)))
    near = judge(path, model, config, PairConfig(sync_slop=0.034))
    np.testing.assert_array_equal(
        near.scores, by_hand(model, config, lambda number: number - number % 2)
    )
    own = judge(path, model, config)
    np.testing.assert_array_equal(
        own.scores, by_hand(model, config, lambda number: None if number % 2 else number)
    )
    assert own.notes[-1].endswith(
        f"30 of 60 frames have no image of {camera.COLOR} that came in time: see sync_slop and "
        "image_timeout"
    )


def test_a_late_cloud_is_left_out_and_told(model, config, tmp_path):
    messages = [make(n) for n in range(COUNT) for make in (cases.cloud, cases.picture)]
    messages[40] = replace(messages[40], time=messages[40].time + 5 * PERIOD // 2)  # cloud 20
    path = cases.write(tmp_path / "bag", sorted(messages, key=lambda one: one.time))
    result = judge(path, model, config)
    assert len(result.session.clouds) == COUNT - 1
    assert result.notes[-1].endswith("1 clouds came late, out of order, and were left out")


def test_images_without_stamps_take_the_time_of_their_recording(model, config, tmp_path):
    path = record(tmp_path / "bag", [cases.picture(number, stamp=0) for number in range(COUNT)])
    result = judge(path, model, config)
    np.testing.assert_array_equal(result.scores, by_hand(model, config))


def test_scores_that_are_too_old_take_no_part(model, config, tmp_path):
    path = record(tmp_path / "bag", map(cases.picture, range(COUNT // 2)))
    seen = judge(path, model, replace(config, image_max_age=0.3))
    alone = evaluate(path, make_pipeline(model, {"stride": 1}))
    same = [np.array_equal(*pair) for pair in zip(seen.scores, alone.scores)]
    last = max(index for index, one in enumerate(same) if not one)
    age = seen.session.answers[last].stamp - (START + (COUNT // 2 - 1) * PERIOD)
    assert 0 < age <= 0.3 * SECOND and len(same) - last > 10


def test_prompts_are_the_classes(model, config, tmp_path):
    path = record(tmp_path / "bag", map(cases.picture, range(COUNT)))
    told = replace(config, prompts=PROMPTS)
    result = judge(path, model, told)
    assert result.session.classes == PROMPTS
    assert {one.label for one in result.session.answers} <= set(PROMPTS)
    np.testing.assert_allclose(result.scores.sum(axis=1), 1, atol=1e-5)
    clouds = record(tmp_path / "clouds", [])
    without = judge(clouds, model, told)
    assert "no colour images: the prompts are compared with the clouds alone" in without.notes[0]
    assert not np.array_equal(without.scores, result.scores)


def test_images_that_cannot_be_read_are_counted(model, config, tmp_path):
    pictures = list(map(cases.picture, range(COUNT)))
    pictures[7].message.encoding = "yuv_of_nobody"
    result = judge(record(tmp_path / "bag", pictures), model, config)
    assert f"{camera.COLOR}: 1 of 60 images left out: " in result.notes[0]
    assert "yuv_of_nobody" in result.notes[0]
    assert "1 of 60 frames have no image" in result.notes[1]
    np.testing.assert_array_equal(
        result.scores, by_hand(model, config, lambda n: None if n == 7 else n)
    )


def test_a_bag_that_is_cut_off_is_judged_up_to_the_cut(model, config, tmp_path):
    pytest.importorskip("mcap")
    large = camera.color_image(np.zeros((300, 300, 3), np.uint8), START)  # chunks are a megabyte
    besides = [replace(cases.picture(n, topic="/other"), message=large) for n in range(COUNT)]
    path = record(tmp_path / "bag", [*map(cases.picture, range(COUNT)), *besides])
    asked = BagSource(image=camera.COLOR)
    whole = judge(path, model, config, asked=asked)
    (path / "metadata.yaml").unlink()
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    part = judge(path, model, config, asked=asked)
    assert 10 < len(part.scores) < len(whole.scores)
    np.testing.assert_array_equal(part.scores, whole.scores[: len(part.scores)])


@pytest.mark.parametrize(
    ("pictures", "asked"),
    [
        ([], None),
        ([cases.depth(number)[0] for number in range(COUNT)], None),
        (
            [cases.picture(n, topic=one) for n in range(COUNT) for one in ("/left", "/right")],
            None,
        ),
        ([cases.depth(number)[0] for number in range(COUNT)], BagSource(image=camera.DEPTH)),
    ],
)
def test_without_one_topic_of_colour_there_is_nothing_to_fuse(
    model, config, tmp_path, pictures, asked
):
    path = record(tmp_path / "bag", pictures)
    with pytest.raises(InputError, match="no colour images for video_text_model, or several"):
        judge(path, model, config, asked=asked)


def test_which_of_two_cameras_is_said(model, config, tmp_path):
    both = [cases.picture(n, topic=one) for n in range(COUNT) for one in ("/left", "/right")]
    result = judge(record(tmp_path / "bag", both), model, config, asked=BagSource(image="/right"))
    np.testing.assert_array_equal(result.scores, by_hand(model, config))


def test_only_an_aligned_model_of_actions_hears_images(config, tmp_path):
    plain = checkpoint.load(small_model.save(tmp_path / "plain.safetensors"))
    with pytest.raises(InputError, match="small was not aligned with images and texts"):
        BagImages(plain, make_pipeline(plain, {}, config), config)
    frames = checkpoint.load(small_model.save_frame_model(tmp_path / "frames.safetensors"))
    with pytest.raises(InputError, match="a model for action_segmentation, in which images"):
        make_pipeline(frames, {}, config)
