"""A recognizer that follows several people, over DDS."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import small_model
from node_bench import FRAMES, PERIOD, START, Bench, cloud
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Classification, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from fourd_perception import checkpoint
from fourd_perception.looking.config import LookConfig
from fourd_perception.looking.look import Look
from fourd_perception.messages import clouds
from fourd_perception.messages.stamps import from_stamp
from fourd_perception.people_pipeline import PeoplePipeline
from fourd_perception.pipeline import PipelineConfig
from fourd_perception.stream.frame import SECOND, Frame

PEOPLE = {"person": "nearest", "people": 2}
FIRST = 5
"""Somebody is known with the third frame, and their window full three frames later."""


def body(x: float, z: float, number: int) -> np.ndarray:
    """(84, 3) float32: a board 0.6 m wide and 1.2 m high, before a camera that looks along z."""
    across, down = np.meshgrid(np.arange(7) * 0.09 - 0.27, np.arange(12) * 0.1 - 0.55)
    wave = 0.03 * np.sin(number + 5 * down)
    return np.stack((across + x + wave, down, np.full(across.shape, z)), -1).reshape(-1, 3)


def room(number: int, *spots: tuple[float, float]) -> PointCloud2:
    """A cloud of people at (x, z)."""
    message = cloud(START + number * PERIOD, points=84 * len(spots))
    points = np.concatenate([body(x, z, number) for x, z in spots] or [np.empty((0, 3))])
    message.data = points.astype(np.float32).tobytes()
    return message


LEFT, RIGHT = (-0.6, 2.0), (0.7, 2.6)


class PeopleBench(Bench):
    """It also hears ~/people and ~/markers. Its own answers are those on ~/action."""

    def __init__(self, recognizer: Any) -> None:
        super().__init__(recognizer)
        self.people: list[Detection3DArray] = []
        self.drawn: list[MarkerArray] = []

    def hear_people(self) -> None:
        """As of activate; and wait until the node knows."""
        name = "/recognizer"
        probe = self.probe
        probe.create_subscription(Detection3DArray, f"{name}/people", self.people.append, 100)
        probe.create_subscription(MarkerArray, f"{name}/markers", self.drawn.append, 100)
        node = self.recognizer
        self.until(
            lambda: node._people.get_subscription_count() and node._markers.get_subscription_count()
        )

    def feed(self, *messages: PointCloud2) -> None:
        """Each, and what is said of it: so no window is skipped."""
        for message in messages:
            self.send(message)
            if from_stamp(message.header.stamp) >= START + (FRAMES - 1) * PERIOD:
                self.until(
                    lambda now=message.header.stamp: (
                        self.people
                        and self.people[-1].header.stamp == now
                        and len(self.drawn) == len(self.people)
                    )
                )

    def numbers(self) -> list[list[str]]:
        return [[one.id for one in message.detections] for message in self.people]


def told_last(bench: PeopleBench) -> str:
    """What the last report says of people."""
    values = bench.reports[-1].values if bench.reports else []
    return next((one.value for one in values if one.key == "look: people"), "")


@pytest.fixture
def make_people(model, ros):
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.recognizer import Recognizer

    made: list[PeopleBench] = []

    def make(**parameters: Any) -> PeopleBench:
        given = {"model": str(model), "stride": 1, **PEOPLE, **parameters}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        made.append(PeopleBench(Recognizer(parameter_overrides=overrides)))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def expected(model: Any, messages: list[PointCloud2]) -> list[Any]:
    """What the core says of the same clouds."""
    look = Look(LookConfig(person="nearest", people=2))
    pipeline = PeoplePipeline(checkpoint.load(model), PipelineConfig(stride=1))
    found = []
    for one in messages:
        frame = Frame(from_stamp(one.header.stamp), "camera", clouds.from_message(one))
        for sight in look.push(frame):
            answer = pipeline.push(sight.frame)
            found += [] if answer is None else [answer]
    return found


def test_each_person_has_a_result_of_their_own_and_the_nearest_is_the_action(make_people, model):
    bench = make_people(top_k=2)
    bench.activate()
    bench.hear_people()
    messages = [room(number, RIGHT, LEFT) for number in range(9)]
    bench.feed(*messages)
    wanted = expected(model, messages)
    assert len(bench.people) == len(wanted) == 6
    assert bench.numbers() == [[], [], ["1", "2"], ["1", "2"], ["1", "2"], ["1", "2"]]
    for said, answer in zip(bench.people, wanted):
        assert from_stamp(said.header.stamp) == answer.stamp and said.header.frame_id == "camera"
        for one, mine in zip(said.detections, answer.people):
            assert one.header == said.header
            middle = (mine.person.low + mine.person.high) / 2
            position, size = one.bbox.center.position, one.bbox.size
            assert np.allclose([position.x, position.y, position.z], middle)
            assert np.allclose([size.x, size.y, size.z], mine.person.high - mine.person.low)
            best = mine.recognition.top(2, 0.0)
            assert [result.hypothesis.class_id for result in one.results] == [
                small_model.CLASSES[index] for index, _ in best
            ]
            scores = [result.hypothesis.score for result in one.results]
            assert np.allclose(scores, [score for _, score in best], atol=1e-5)
            assert one.results[0].pose.pose == one.bbox.center
    where = [one.bbox.center.position.x for one in bench.people[-1].detections]
    assert np.allclose(where, [-0.6, 0.7], atol=0.05)
    # ~/action: of nobody at first, then of who is nearest, whose window fills meanwhile.
    leading = [one.lead for one in wanted if one.lead is not None]
    bench.answered(len(leading))
    assert all(isinstance(one, Classification) for one in bench.answers)
    assert [from_stamp(one.header.stamp) for one in bench.answers] == [one.stamp for one in leading]
    for one, answer in zip(bench.answers, leading):
        wanted_scores = [score for _, score in answer.top(2, 0.0)]
        assert np.allclose([result.score for result in one.results], wanted_scores, atol=1e-5)
    nearest = bench.people[-1].detections[0].results
    assert [one.class_id for one in bench.answers[-1].results] == [
        one.hypothesis.class_id for one in nearest
    ]


def test_over_each_person_stands_what_they_do(make_people):
    bench = make_people()
    bench.activate()
    bench.hear_people()
    bench.feed(*(room(number, LEFT, RIGHT) for number in range(8)))
    texts = bench.drawn[-1].markers
    assert [one.id for one in texts] == [1, 2]
    assert {one.type for one in texts} == {Marker.TEXT_VIEW_FACING}
    for one, found in zip(texts, bench.people[-1].detections):
        best = found.results[0].hypothesis
        assert one.text == f"{found.id} {best.class_id} {100 * best.score:.0f} %"
        assert one.header == found.header
        top = found.bbox.center.position.y - found.bbox.size.y / 2  # y points down
        assert one.pose.position.y == pytest.approx(top - 0.1)
        assert one.pose.position.x == pytest.approx(found.bbox.center.position.x)


def test_who_leaves_and_comes_back_has_a_new_number_and_the_other_is_answered_for_throughout(
    make_people,
):
    bench = make_people()
    bench.activate()
    bench.hear_people()
    for number in range(40):
        away = 10 <= number < 25
        bench.feed(room(number, LEFT, *([] if away else [RIGHT])))
    found = bench.numbers()
    assert found[FIRST - 3] == ["1", "2"] and found[-1] == ["1", "3"]
    assert all("1" in one for one in found[FIRST - 3 :])
    assert ["1"] in found and not any("2" in one for one in found[20:])
    bench.until(lambda: "2 followed (1: 2.0" in told_last(bench))
    report, values = bench.report()
    assert values["window resets"] == "0" and report.level == b"\0"


def test_a_slow_model_skips_windows_of_all_people_alike_and_counts_them(make_people, monkeypatch):
    go_on = threading.Semaphore(0)
    recognise = PeoplePipeline.recognise

    def slow(self, clip, **others):
        if clip.newest.stamp >= START:  # not those that warm it up
            go_on.acquire()
        return recognise(self, clip, **others)

    monkeypatch.setattr(PeoplePipeline, "recognise", slow)
    bench = make_people()
    bench.activate()
    bench.hear_people()
    try:
        bench.send(*(room(number, LEFT, RIGHT) for number in range(12)))
        go_on.release()  # the first, of nobody yet
        bench.until(lambda: len(bench.people) == 1)
        go_on.release()  # the newest, and none between
        bench.until(lambda: len(bench.people) == 2)
        assert bench.numbers()[1] == ["1", "2"]
        assert from_stamp(bench.people[1].header.stamp) == START + 11 * PERIOD
        assert bench.recognizer._health.values()["windows skipped"] == "7"
    finally:
        go_on.release(100)


def test_only_who_leads_is_computed_where_only_the_action_is_heard(make_people, monkeypatch):
    asked = []
    recognise = PeoplePipeline.recognise

    def listen(self, clip, *, lead_alone=False):
        asked.append(lead_alone)
        return recognise(self, clip, lead_alone=lead_alone)

    bench = make_people()
    bench.activate()
    monkeypatch.setattr(PeoplePipeline, "recognise", listen)
    bench.send(*(room(number, LEFT, RIGHT) for number in range(8)))
    bench.until(lambda: bench.answers and bench.answers[-1].results)
    assert asked and all(asked)


def test_times_are_as_those_of_one_person(make_people):
    from rclpy.time import Time

    bench = make_people()
    bench.activate()
    bench.hear_people()
    begin = bench.probe.get_clock().now().nanoseconds
    for number in range(8):
        message = room(number, LEFT, RIGHT)
        message.header.stamp = Time(nanoseconds=begin + number * PERIOD).to_msg()
        bench.until(
            lambda due=begin + number * PERIOD: bench.probe.get_clock().now().nanoseconds >= due
        )
        bench.send(message)
    health = bench.recognizer._health
    bench.until(lambda: bench.people and health.answered >= len(bench.people))
    values = health.values()
    assert 0 <= float(values["latency median [ms]"]) < 30 * SECOND / 1e6
    assert float(values["processing median [ms]"]) > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"video_text_model": "x-clip"}, "people: images are of all people at once, so 2 cannot"),
        ({"model": "none.safetensors"}, "none.safetensors"),
    ],
)
def test_what_several_people_cannot_have_is_one_line(make_people, capfd, given, said):
    assert not make_people(**given).recognizer.start()
    lines = [line for line in capfd.readouterr().err.splitlines() if "configure:" in line]
    assert len(lines) == 1 and said in lines[0]


def test_people_who_are_not_told_apart_are_refused(ros):
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.recognizer import Recognizer
    from fourd_perception.parameters import ConfigError

    with pytest.raises(ConfigError, match="people: to follow 2 .* set person to nearest"):
        Recognizer(parameter_overrides=[Parameter("people", value=2)])


def test_the_segmenter_labels_one_cloud_for_all(tmp_path, ros, capfd):
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.segmenter import Segmenter

    given = {"model": str(small_model.save_segmenter(tmp_path / "a.safetensors")), **PEOPLE}
    node = Segmenter(
        parameter_overrides=[Parameter(name, value=one) for name, one in given.items()]
    )
    try:
        assert not node.start()
        assert "people: the segmenter labels one cloud for all; got 2" in capfd.readouterr().err
    finally:
        node.destroy_node()


def test_one_person_has_no_topics_of_several(make_people):
    bench = make_people(people=1)
    bench.activate()
    assert bench.probe.count_publishers("/recognizer/people") == 0
    assert bench.probe.count_publishers("/recognizer/markers") == 0
