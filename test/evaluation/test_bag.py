"""A bag through the pipelines: all of it, once, and the same every time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import bag_cases as cases
import numpy as np
import pytest
from bag_cases import PERIOD, START
from small_model import save, save_frame_model, save_segmenter

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag import evaluate, make_pipeline
from fourd_perception.evaluation.bag_labels import BagTruth
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.messages.depth_images import DepthReader
from fourd_perception.pipeline import FrameActions, Segmentation
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame

SAVED = {
    "action_recognition": save,
    "action_segmentation": save_frame_model,
    "semantic_segmentation": save_segmenter,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, checkpoint.Checkpoint]:
    folder = tmp_path_factory.mktemp("models")
    return {task: checkpoint.load(make(folder / f"{task}.safetensors"))
            for task, make in SAVED.items()}  # fmt: skip


def run(models, path: Path, task: str = "action_recognition", **more) -> BagResult:
    return evaluate(path, make_pipeline(models[task]), **more)


@pytest.mark.parametrize("task", SAVED)
def test_it_is_what_the_pipeline_says_of_the_same_frames(models, tmp_path: Path, task: str) -> None:
    path = cases.clouds(tmp_path / "bag")
    pipeline = make_pipeline(models[task])
    expected = []
    for number in range(60):
        frame = Frame(START + number * PERIOD, camera.OPTICAL_FRAME, cases.points(number))
        answer = pipeline.push(frame)
        if answer is not None:
            expected += answer.frames if isinstance(answer, FrameActions) else [answer]
    result = run(models, path, task)
    assert len(expected) > 10 and result.task == task
    stamps = [one.stamp for one in expected]
    if isinstance(expected[0], Segmentation):
        counts = [np.bincount(np.minimum(one.labels, 3), minlength=4).tolist() for one in expected]
        assert [list(one.counts) for one in result.frames] == counts
        assert [one.stamp for one in result.frames] == stamps
        assert not result.session.answers and result.points is None
    else:
        assert [one.stamp for one in result.session.answers] == stamps
        np.testing.assert_array_equal(result.scores, [one.scores for one in expected])
        assert result.session.windows_expected == len(stamps)
    assert result.recorded.tolist() == stamps, "recorded at the stamps, in these bags"
    assert result.session.clouds == tuple(START + number * PERIOD for number in range(60))
    assert result.notes == () and result.session.seconds == pytest.approx(59 / 30)


@pytest.mark.parametrize("task", SAVED)
def test_twice_is_bit_for_bit_the_same(models, tmp_path: Path, task: str) -> None:
    path = cases.clouds(tmp_path / "bag")
    one, other = run(models, path, task), run(models, path, task)
    assert one.scores.tobytes() == other.scores.tobytes()
    assert one.frames == other.frames
    assert [(a.stamp, a.top) for a in one.session.answers] == [
        (a.stamp, a.top) for a in other.session.answers
    ]


@pytest.mark.parametrize(
    ("record", "topic"),
    [(cases.depth, camera.DEPTH), (cases.packed_depth, f"{camera.DEPTH}/compressedDepth")],
)
def test_depth_images_make_the_same_frames(models, tmp_path: Path, record, topic: str) -> None:
    path = cases.write(tmp_path / "bag", [one for number in range(40) for one in record(number)])
    result = run(models, path)
    assert result.source == BagSource(depth=topic, camera_info=camera.DEPTH_INFO, image=topic)
    assert result.notes == ()
    pipeline, reader, expected = make_pipeline(models["action_recognition"]), DepthReader(), []
    for number in range(40):
        image, info = (one.message for one in cases.depth(number))
        answer = pipeline.push(Frame(START + number * PERIOD, "", reader.points(image, info)))
        expected += [] if answer is None else [answer.scores]
    np.testing.assert_array_equal(result.scores, expected)


def test_stamps_of_zero_are_replaced_and_it_is_said(models, tmp_path: Path) -> None:
    stamped = run(models, cases.clouds(tmp_path / "good"))
    messages = [cases.cloud(number, stamp=0) for number in range(60)]
    result = run(models, cases.write(tmp_path / "bag", messages))
    np.testing.assert_array_equal(result.scores, stamped.scores)
    (note,) = result.notes
    assert "60 of 60 messages have stamp 0: the time of their recording is taken" in note


def test_two_clouds_with_one_stamp_count_once(models, tmp_path: Path) -> None:
    good = run(models, cases.clouds(tmp_path / "good"))
    messages = [cases.cloud(number) for number in range(60)]
    again = cases.cloud(30, stamp=START + 29 * PERIOD)
    result = run(models, cases.write(tmp_path / "bag", [*messages[:30], again, *messages[30:]]))
    np.testing.assert_array_equal(result.scores, good.scores)
    (note,) = result.notes
    assert "1 of 61 messages left out: a cloud has the stamp of the one before" in note


def test_what_comes_out_of_order_is_left_out(models, tmp_path: Path) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    late = cases.cloud(31, stamp=START + 28 * PERIOD + PERIOD // 3)
    result = run(models, cases.write(tmp_path / "bag", [*messages[:31], late, *messages[31:]]))
    assert len(result.scores) == len(run(models, cases.clouds(tmp_path / "good")).scores)
    (note,) = result.notes
    assert "1 clouds came late, out of order, and were left out" in note


def test_a_jump_in_time_empties_the_window_and_is_said(models, tmp_path: Path) -> None:
    messages = [cases.cloud(n, stamp=START + (n % 30) * PERIOD) for n in range(60)]
    result = run(models, cases.write(tmp_path / "bag", messages))
    half = len(run(models, cases.clouds(tmp_path / "good", 30)).scores)
    assert len(result.scores) == 2 * half
    assert result.session.seconds == pytest.approx(2 * 29 / 30)
    assert "the window was emptied 1 times; last: time jumped back by 0.967 s" in result.notes[0]


def test_a_message_that_cannot_be_read_costs_itself_alone(models, tmp_path: Path) -> None:
    messages = [cases.cloud(number) for number in range(60)]
    messages[30].message.fields[0].name = "w"
    result = run(models, cases.write(tmp_path / "bag", messages))
    assert len(result.session.clouds) == 59
    assert "1 of 60 messages left out: PointCloud2: no field x" in result.notes[0]


def test_a_bag_that_is_cut_off_is_read_to_the_cut(models, tmp_path: Path) -> None:
    pytest.importorskip("mcap")
    messages = [cases.cloud(number, labels=np.zeros(60)) for number in range(2000)]
    file = cases.write(tmp_path / "bag", messages) / "bag.mcap"
    file.write_bytes(file.read_bytes()[: 2 << 20])
    result = run(models, file)
    read = len(result.session.clouds)
    assert 500 < read < 2000 and "cut off, as by a crash" in result.notes[-1]
    assert result.session.clouds == tuple(START + number * PERIOD for number in range(read))


def test_per_point_truth(models, tmp_path: Path) -> None:
    """60 points a cloud: 20 of class 0, 20 of class 2, 10 unlabelled, 10 of a class of others."""
    labels = [0] * 20 + [2] * 20 + [UNLABELLED] * 10 + [7] * 10
    said: list[Segmentation] = []
    path = cases.write(tmp_path / "bag", [cases.cloud(n, labels=labels) for n in range(12)])
    result = run(
        models, path, "semantic_segmentation", on_result=lambda one, recorded: said.append(one)
    )
    expected = np.zeros((3, 4), int)
    for one in said:
        for truth, answer in zip(labels, one.labels):
            if truth in (0, 2):
                expected[truth, min(answer, 3)] += 1
    assert result.points is not None
    np.testing.assert_array_equal(result.points, expected)
    assert result.points.sum() == 40 * len(said) and len(said) == len(result.frames)
    assert sum(one.right for one in result.frames) == np.trace(expected)
    assert (
        f"{10 * len(said)} points have a label that is none of the model's 3 classes"
        in (result.notes[0])
    )


def test_answers_are_judged_where_a_window_has_one_action(models, tmp_path: Path) -> None:
    path = cases.clouds(tmp_path / "bag")
    truth = BagTruth((Interval(START, START + SECOND, "wave"),), ("a problem",), "")
    windows = run(models, path).with_truth(truth)
    for one in windows.session.answers:
        inside = one.stamp < START + SECOND
        assert one.truth == ("wave" if inside and one.start >= START else None)
    assert windows.notes == ("a problem",)
    frames = run(models, path, "action_segmentation").with_truth(truth)
    assert [one.truth for one in frames.session.answers] == [
        "wave" if one.stamp < START + SECOND else None for one in frames.session.answers
    ], "a frame is judged for itself, whatever its window shows"


def test_bags_that_give_no_window_say_why(models, tmp_path: Path) -> None:
    few = cases.clouds(tmp_path / "few", 5)
    with pytest.raises(
        InputError, match="5 clouds at 30 Hz are too few for one window of 4 frames at 15 Hz"
    ):
        run(models, few)
    bad = [cases.cloud(number) for number in range(3)]
    for one in bad:
        one.message.fields[0].name = "w"
    with pytest.raises(InputError, match="no frame in its 3 messages of /camera/points; .*field x"):
        run(models, cases.write(tmp_path / "bad", bad))


def test_progress_is_in_bag_time(models, tmp_path: Path) -> None:
    seen: list[float] = []
    run(models, cases.clouds(tmp_path / "bag"), progress=seen.append)
    assert seen == pytest.approx([number / 30 for number in range(60)])


def test_memory_does_not_grow_with_the_clouds(models, tmp_path: Path) -> None:
    """400 clouds of 240 kB are 96 MB; what is kept of them is not."""
    big = [cases.cloud(number) for number in range(20)]
    for one in big:
        one.message.data = np.tile(one.message.data, 333)
        one.message.width, one.message.row_step = 60 * 333, 60 * 333 * 12
    messages = []
    for number in range(400):
        time = START + number * PERIOD
        head = camera.header(time)
        message = type(big[0].message)(**(vars(big[number % 20].message) | {"header": head}))
        messages.append(cases.Recorded(camera.POINTS, cases.CLOUD, time, message))
    path = cases.write(tmp_path / "bag", messages)
    del messages
    run(models, cases.clouds(tmp_path / "small"))  # what is made once is not to be counted
    tracemalloc.start()
    try:
        result = run(models, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(result.session.clouds) == 400
    assert peak < 30e6
