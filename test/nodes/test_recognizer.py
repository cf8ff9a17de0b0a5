from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import small_model
import torch
from node_bench import FRAMES, PERIOD, START, cloud, stream
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import Classification, LabelInfo

from fourd_perception import checkpoint
from fourd_perception.messages import clouds
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.nodes.outputs import has_subscribers
from fourd_perception.nodes.recognizer import RecognizerParameters
from fourd_perception.parameters import ConfigError, entries
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.stream.frame import Frame

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def test_answers_are_the_pipelines_own_with_the_stamp_of_the_newest_frame(make_bench, model):
    bench = make_bench(top_k=2)
    bench.activate()
    for number, message in enumerate(stream(6), start=1):
        bench.send(message)
        bench.answered(max(0, number - FRAMES + 1))

    pipeline = ActionPipeline(checkpoint.load(model), PipelineConfig(stride=1))
    frames = [
        Frame(from_stamp(one.header.stamp), "camera", clouds.from_message(one)) for one in stream(6)
    ]
    expected = [one for one in map(pipeline.push, frames) if one]
    assert [from_stamp(one.header.stamp) for one in bench.answers] == [
        START + index * PERIOD for index in (3, 4, 5)
    ]
    for answer, truth in zip(bench.answers, expected):
        assert answer.header.frame_id == "camera"
        got = [(one.class_id, one.score) for one in answer.results]
        best = [(small_model.CLASSES[index], score) for index, score in truth.top(2, 0.0)]
        assert [name for name, _ in got] == [name for name, _ in best]
        assert [score for _, score in got] == pytest.approx([score for _, score in best])


def test_lifecycle_walk(make_bench):
    node = make_bench().recognizer
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
    assert node.start()
    assert node.trigger_shutdown() == SUCCESS
    assert not list(node.subscriptions)


def test_a_deactivated_node_is_deaf_and_an_activated_one_starts_anew(make_bench):
    bench = make_bench()
    bench.activate()
    bench.send(*stream(FRAMES))
    bench.answered(1)
    bench.recognizer.trigger_deactivate()
    bench.points.publish(cloud(START + FRAMES * PERIOD))
    bench.report()
    assert len(bench.answers) == 1
    bench.recognizer.trigger_activate()
    # The first has the stamp of the last one before: it is no repetition any more.
    again = stream(FRAMES, START + (FRAMES - 1) * PERIOD)
    bench.send(*again[:-1])
    _, values = bench.report()
    assert (len(bench.answers), values["window"]) == (1, "3 of 4 frames")
    bench.send(again[-1])
    bench.answered(2)
    _, values = bench.report()
    assert (values["window resets"], values["messages rejected"]) == ("0", "0")


@pytest.mark.parametrize(
    "content, changes",
    [(b"no safetensors at all", None), (None, {"task": "segmentation"})],
)
def test_a_wrong_checkpoint_is_refused_and_a_right_one_taken_after_it(
    make_bench, model, tmp_path, content, changes
):
    wrong = tmp_path / "wrong.safetensors"
    if content is None:
        small_model.save(wrong, **changes)
    else:
        wrong.write_bytes(content)
    node = make_bench(model=str(wrong)).recognizer
    assert node.trigger_configure() == FAILURE
    assert node.set_parameters([Parameter("model", value=str(model))])[0].successful
    assert node.trigger_configure() == SUCCESS


def test_no_checkpoint_is_refused(make_bench):
    assert make_bench(model="").recognizer.trigger_configure() == FAILURE


@pytest.mark.parametrize(
    "name, value", [("modle", "a"), ("qos_overrides__/points.subscription.dept", 3)]
)
def test_an_unknown_parameter_is_refused(make_bench, name, value):
    assert make_bench(**{name: value}).recognizer.trigger_configure() == FAILURE


def test_the_name_nearest_to_an_unknown_parameter_is_given(make_bench):
    node = make_bench(modle="a").recognizer
    with pytest.raises(ConfigError, match="'modle'; did you mean 'model'"):
        node.parameters.refuse_unknown()


def test_a_refused_value_at_the_start_says_the_range(make_bench):
    with pytest.raises(ConfigError, match="top_k: expected 0 to 10000, got -1"):
        make_bench(top_k=-1)


def test_qos_can_be_overridden(make_bench):
    bench = make_bench(**{"qos_overrides__/points.subscription.depth": 7})
    assert bench.recognizer.trigger_configure() == SUCCESS
    (points,) = [one for one in bench.recognizer.subscriptions if one.topic_name == "/points"]
    assert points.qos_profile.depth == 7


def test_qos_overrides_that_make_no_sense_are_refused(make_bench):
    bench = make_bench(**{"qos_overrides__/points.subscription.reliability": "sometimes"})
    assert bench.recognizer.trigger_configure() == FAILURE


def test_every_parameter_has_a_description_and_numbers_have_a_range(make_bench):
    node = make_bench().recognizer
    for name in node.parameters._entries:
        described = node.describe_parameter(name)
        assert described.description
        if isinstance(node.get_parameter(name).value, (int, float)) and not isinstance(
            node.get_parameter(name).value, bool
        ):
            assert described.integer_range or described.floating_point_range


def test_parameters_of_a_running_node(make_bench):
    bench = make_bench(top_k=0)
    bench.activate()

    def try_to_set(name, value):
        return bench.recognizer.set_parameters([Parameter(name, value=value)])[0]

    refused = try_to_set("stride", 3)
    assert not refused.successful and "clean it up first" in refused.reason
    refused = try_to_set("min_score", 1.5)
    assert not refused.successful and "range" in refused.reason
    bench.send(*stream(FRAMES))
    bench.answered(1)
    assert len(bench.answers[0].results) == len(small_model.CLASSES)
    assert try_to_set("top_k", 1).successful
    bench.send(cloud(START + FRAMES * PERIOD))
    bench.answered(2)
    assert len(bench.answers[1].results) == 1


def test_label_info_is_there_for_who_comes_late(make_bench):
    bench = make_bench(min_score=0.25)
    bench.activate()
    tables = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    bench.probe.create_subscription(LabelInfo, "/recognizer/label_info", tables.append, latched)
    bench.until(lambda: tables)
    assert [one.class_name for one in tables[0].class_map] == list(small_model.CLASSES)
    assert tables[0].threshold == pytest.approx(0.25)
    bench.recognizer.set_parameters([Parameter("min_score", value=0.5)])
    bench.until(lambda: len(tables) == 2)
    assert tables[1].threshold == pytest.approx(0.5)


def test_a_bad_cloud_is_counted_by_reason_and_survived(make_bench):
    bench = make_bench()
    bench.activate()
    without_x = cloud(START)
    without_x.fields = without_x.fields[1:]
    cut_off = cloud(START + 1)
    cut_off.data = cut_off.data[:-1]
    bench.send(without_x, cut_off, cloud(0), *stream(FRAMES, START + 2))
    bench.answered(1)
    _, values = bench.report()
    assert values["messages rejected"] == "3"
    rejected = {key: value for key, value in values.items() if key.startswith("rejected: ")}
    assert len(rejected) == 3 and set(rejected.values()) == {"1"}


def test_a_loop_of_time_resets_the_window_and_the_answers_come_again(make_bench):
    bench = make_bench()
    bench.activate()
    for loop in range(3):
        bench.send(*stream(FRAMES))
        bench.answered(loop + 1)
    assert {from_stamp(one.header.stamp) for one in bench.answers} == {START + 3 * PERIOD}
    first, *others = [[(one.class_id, one.score) for one in a.results] for a in bench.answers]
    assert all(one == first for one in others)
    _, values = bench.report()
    assert values["window resets"] == "2"
    assert "jumped back" in values["last reset"]


def test_nothing_is_computed_without_a_subscriber_but_the_window_stays_full(make_bench):
    bench = make_bench()
    bench.activate(subscribe=False)
    bench.send(*stream(FRAMES + 1))
    _, values = bench.report()
    assert values["windows answered"] == "0" and values["windows without subscriber"] == "2"
    bench.subscribe()
    bench.until(lambda: bench.recognizer._wanted(bench.recognizer._lanes[0].pipeline))
    bench.send(cloud(START + (FRAMES + 1) * PERIOD))
    bench.answered(1)


def test_an_exception_while_inferring_costs_one_window(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()

    def fail(pipeline, clip):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(bench.recognizer, "_infer", fail)
        bench.send(*stream(FRAMES))
        report, values = bench.report()
    assert report.level == b"\x02"
    assert values["exception: RuntimeError"] == "1"
    bench.send(cloud(START + FRAMES * PERIOD))
    bench.answered(1)


def test_scores_that_are_not_finite_cost_the_window_and_are_told(make_bench, monkeypatch, capfd):
    bench = make_bench()
    bench.activate()

    def recognise(clip):
        raise ValueError("scores are not finite")

    with monkeypatch.context() as patch:
        patch.setattr(bench.recognizer._lanes[0].pipeline, "recognise", recognise)
        bench.send(*stream(FRAMES))
        bench.until(lambda: any(one.level == b"\x02" for one in bench.reports))
    assert bench.report()[1]["exception: ValueError"] == "1"
    assert "a window is lost: ValueError: scores are not finite" in capfd.readouterr().err
    assert bench.answers == []
    bench.send(cloud(START + FRAMES * PERIOD))
    bench.answered(1)


def test_a_slow_model_skips_to_the_newest_window(make_bench, monkeypatch):
    bench = make_bench()
    bench.activate()
    infer, started, go_on = bench.recognizer._infer, threading.Event(), threading.Event()

    def wait_and_infer(pipeline, clip):
        started.set()
        go_on.wait(15)
        return infer(pipeline, clip)

    monkeypatch.setattr(bench.recognizer, "_infer", wait_and_infer)
    bench.send(*stream(FRAMES))
    assert started.wait(15)
    bench.send(*stream(3, START + FRAMES * PERIOD))  # three windows while one is in work
    go_on.set()
    bench.answered(2)
    assert [from_stamp(one.header.stamp) for one in bench.answers] == [
        START + (FRAMES - 1) * PERIOD, START + (FRAMES + 2) * PERIOD,
    ]  # fmt: skip
    assert bench.report()[1]["windows skipped"] == "2"


def test_help_names_every_parameter():
    done = subprocess.run(
        [sys.executable, "-m", "fourd_perception.nodes.recognizer", "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert all(f"  {entry.name}: " in done.stdout for entry in entries(RecognizerParameters))


def test_a_checkpoint_may_lie_in_the_home_folder(make_bench, model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert make_bench(model=f"~/{model.name}").recognizer.trigger_configure() == SUCCESS


def test_each_score_of_an_aligned_model_is_published_by_itself(make_bench, tmp_path):
    torch.manual_seed(0)
    sizes = {
        "encoder": "im_pstnet", "encoder_sizes": small_model.card().model, "embed_dim": 6,
        "prompts": list(small_model.CLASSES),
    }  # fmt: skip
    clip = small_model.ClipConfig(frames=FRAMES, frame_step=1, rate=10.0)
    path = small_model.save(tmp_path / "a", architecture="aligned", model=sizes, clip=clip)
    bench = make_bench(model=str(path), top_k=0)
    apart: list[Classification] = []
    bench.probe.create_subscription(Classification, "/recognizer/scores/pc_text", apart.append, 100)
    bench.activate()
    bench.until(lambda: has_subscribers(bench.recognizer._scores["pc_text"]))
    for number, message in enumerate(stream(5)):
        bench.send(message)
        bench.answered(max(0, number - FRAMES + 2))
    bench.until(lambda: len(apart) == 2)
    assert [one.header for one in apart] == [one.header for one in bench.answers]
    for fused, alone in zip(bench.answers, apart, strict=True):
        scores = [{one.class_id: one.score for one in said.results} for said in (fused, alone)]
        assert scores[0].keys() == scores[1].keys() == set(small_model.CLASSES)
        assert scores[0] != scores[1]
