"""The node that says what is being done: clouds in, vision_msgs/Classification out."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from rclpy.lifecycle import LifecyclePublisher
from vision_msgs.msg import Classification, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from fourd_perception.answers import PeopleActions
from fourd_perception.errors import InputError
from fourd_perception.image_pipeline import ImagePipeline, ImageScores, VlmConfig, load_scorer
from fourd_perception.messages import results
from fourd_perception.nodes import runner
from fourd_perception.nodes.loading import load_checkpoint
from fourd_perception.nodes.mailbox import NewestWins
from fourd_perception.nodes.node_parameters import NodeParameters
from fourd_perception.nodes.outputs import AnswerParameters, has_subscribers
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.nodes.ros_parameters import usage
from fourd_perception.people_pipeline import PeoplePipeline
from fourd_perception.pipeline import ActionPipeline, PipelineConfig, Recognition
from fourd_perception.stream.window import Clip
from fourd_perception.vocabulary import OpenVocabulary, Vocabulary

_NAME = "recognizer"
_TASK = "action_recognition"
_OUTPUT_DEPTH = 10


Pipeline = ActionPipeline | PeoplePipeline | ImagePipeline
Result = Recognition | PeopleActions | ImageScores


@dataclass(frozen=True)
class RecognizerParameters(VlmConfig, AnswerParameters, PipelineConfig, NodeParameters):
    """Everything that the recognizer can be told."""


class Recognizer(PerceptionNode[RecognizerParameters, Pipeline, Result]):
    """Publishes ~/action (the classes of every judged window, best first) and ~/label_info.

    Where it follows several people, the classes of each on ~/people, and written over them on
    ~/markers; ~/action is then of who would be followed alone.

    Of a model that fuses several scores, each by itself on ~/scores/<its name>. The images' scores
    have a window, a rate and a worker of their own: however slow X-CLIP is, the clouds go on.
    Prompts are encoded in a worker too; when they are, they take the place of the classes at once.
    """

    def __init__(self, **node_options: Any) -> None:
        """node_options: what rclpy's Node takes. Raises ConfigError on a refused parameter."""
        self._action: LifecyclePublisher | None = None
        self._scores: dict[str, LifecyclePublisher | None] = {}
        self._people: LifecyclePublisher | None = None
        self._markers: LifecyclePublisher | None = None
        self._clouds: ActionPipeline | PeoplePipeline | None = None
        self._images: ImagePipeline | None = None
        self._words: OpenVocabulary | None = None
        self._learner: NewestWins[tuple[str, ...]] | None = None
        self._asked: tuple[str, ...] = ()
        self._table = threading.RLock()
        """Held while the classes change, and while anything goes out that speaks of them."""
        super().__init__(_NAME, RecognizerParameters, **node_options)

    def _load(self, parameters: RecognizerParameters) -> list[Pipeline]:
        loaded = load_checkpoint(parameters, _TASK)
        clouds: ActionPipeline | PeoplePipeline
        if parameters.people == 1:
            clouds = ActionPipeline(loaded, parameters, image_max_age=parameters.image_max_age)
        elif parameters.video_text_model:
            raise InputError(
                f"people: images are of all people at once, so {parameters.people} cannot be told "
                "apart in them: set people to 1, or video_text_model to nothing"
            )
        else:
            clouds = PeoplePipeline(loaded, parameters, people=parameters.people)
        self._clouds, self._scores = clouds, dict.fromkeys(clouds.sources)
        scorer = None
        if parameters.video_text_model:
            scorer = load_scorer(parameters.video_text_model, loaded)
        self._words = OpenVocabulary(loaded, scorer)
        pipelines: list[Pipeline] = [clouds]
        if scorer is not None and parameters.use_image:
            clip = clouds.window.clip
            self._images = ImagePipeline(loaded, scorer, clip, parameters.image_rate)
            pipelines.append(self._images)
        elif scorer is not None:
            self.get_logger().warning(
                "video_text_model: for its texts alone; to score images, set use_image to true"
            )
        self._asked = parameters.prompts
        self._speak(self._words.learn(parameters.prompts))
        self._learner = NewestWins(self._learn, "prompts")
        return pipelines

    # Prompts: asked for in the executor's thread, learnt in the learner's.

    def _refuse(self, parameters: RecognizerParameters) -> None:
        if self._words is not None and parameters.prompts != self.parameters.value.prompts:
            self._words.check(parameters.prompts)

    def _changed(self) -> None:
        super()._changed()
        asked = self.parameters.value.prompts
        if self._learner is not None and asked != self._asked:
            self._asked = asked
            self._learner.offer(asked)

    def _learn(self, prompts: tuple[str, ...]) -> None:
        assert self._words is not None
        try:
            vocabulary = self._words.learn(prompts)
            with self._table:
                self._speak(vocabulary)
                self._publish_label_info()
        except Exception as error:  # noqa: BLE001 - then the classes stay what they are
            self._faults.count("the prompts are not taken", error)

    def _speak(self, vocabulary: Vocabulary) -> None:
        for pipeline in (self._clouds, self._images):
            if pipeline is not None:
                pipeline.vocabulary = vocabulary

    def _publish_label_info(self) -> None:
        with self._table:
            super()._publish_label_info()

    def _values(self) -> dict[str, str]:
        if self._clouds is None or not self._clouds.vocabulary.prompted:
            return {}
        now = self._clouds.vocabulary
        return {
            "prompts": ", ".join(now.classes),
            "zero-shot, unknown to the model": ", ".join(now.unseen) or "none",
        }

    def _release(self) -> None:
        self._stop_learning()
        super()._release()

    def close(self, timeout: float) -> bool:
        """As of every node, and the learner stops too."""
        end = time.monotonic() + timeout
        learnt = self._stop_learning(timeout)
        return super().close(max(0.0, end - time.monotonic())) and learnt

    def _stop_learning(self, timeout: float | None = None) -> bool:
        learner, self._learner = self._learner, None
        return learner is None or learner.stop(timeout)

    def _label_topic(self, pipeline: Pipeline) -> str | None:
        return None if isinstance(pipeline, ImagePipeline) else "~/label_info"

    def _labels(
        self, pipeline: Pipeline, parameters: RecognizerParameters, stamp: int
    ) -> LabelInfo:
        return results.label_info(pipeline.vocabulary.classes, stamp, parameters.min_score)

    def _create_outputs(self) -> None:
        self._action = self.create_lifecycle_publisher(Classification, "~/action", _OUTPUT_DEPTH)
        if isinstance(self._clouds, PeoplePipeline):
            self._people = self.create_lifecycle_publisher(
                Detection3DArray, "~/people", _OUTPUT_DEPTH
            )
            self._markers = self.create_lifecycle_publisher(MarkerArray, "~/markers", _OUTPUT_DEPTH)
        for name in self._scores:
            self._scores[name] = self.create_lifecycle_publisher(
                Classification, f"~/scores/{name}", _OUTPUT_DEPTH
            )

    def _destroy_outputs(self) -> None:
        for publisher in (self._action, self._people, self._markers, *self._scores.values()):
            if publisher is not None:
                self.destroy_lifecycle_publisher(publisher)
        self._action = self._people = self._markers = None
        self._scores = {}
        self._clouds = self._images = self._words = None

    def _wanted(self, pipeline: Pipeline) -> bool:
        return self._tells_apart() or any(
            map(has_subscribers, (self._action, *self._scores.values()))
        )

    def _tells_apart(self) -> bool:
        """Whether anybody asks for more than who leads."""
        return has_subscribers(self._people) or has_subscribers(self._markers)

    def _infer(self, pipeline: Pipeline, clip: Clip) -> Result:
        if isinstance(pipeline, ImagePipeline):
            return pipeline.score(clip)
        if isinstance(pipeline, PeoplePipeline):
            return pipeline.recognise(clip, lead_alone=not self._tells_apart())
        return pipeline.recognise(clip)

    def _publish(self, pipeline: Pipeline, result: Result) -> bool:
        assert self._action is not None and self._clouds is not None
        if isinstance(result, PeopleActions):
            self._publish_people(result)
            return True
        if isinstance(result, ImageScores):
            assert isinstance(self._clouds, ActionPipeline)
            self._clouds.images = result  # for the windows to come
            return False
        with self._table:
            if result.classes != self._clouds.vocabulary.classes:
                return False  # the classes have changed meanwhile: their table is out already
            self._publish_scores(result)
        return True

    def _publish_people(self, result: PeopleActions) -> None:
        assert self._clouds is not None and self._people is not None and self._markers is not None
        classes, now = self._clouds.vocabulary.classes, self.parameters.value
        if has_subscribers(self._people):
            self._people.publish(
                results.people(result, classes, now.top_k, now.min_score, now.class_id)
            )
        if has_subscribers(self._markers):
            self._markers.publish(results.people_markers(result, classes, now.min_score))
        if result.lead is not None:
            self._publish_scores(result.lead)

    def _publish_scores(self, result: Recognition) -> None:
        assert self._action is not None
        now = self.parameters.value
        said = {self._action: result.scores}
        for name, scores in result.by_source.items():
            publisher = self._scores[name]
            if publisher is not None and has_subscribers(publisher):
                said[publisher] = scores
        for publisher, scores in said.items():
            message = results.classification(
                replace(result, scores=scores),
                result.classes, now.top_k, now.min_score, now.class_id,
            )  # fmt: skip
            publisher.publish(message)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point `recognizer`: runs until SIGINT or SIGTERM."""
    runner.run(Recognizer, args, usage(_NAME, RecognizerParameters))


if __name__ == "__main__":
    main()
