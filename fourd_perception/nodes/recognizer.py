"""The node that says what is being done: clouds in, vision_msgs/Classification out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from rclpy.lifecycle import LifecyclePublisher
from vision_msgs.msg import Classification, LabelInfo

from fourd_perception.messages import results
from fourd_perception.nodes import runner
from fourd_perception.nodes.answers import AnswerParameters, has_subscribers
from fourd_perception.nodes.inputs import InputParameters
from fourd_perception.nodes.loading import load_checkpoint
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.nodes.ros_parameters import usage
from fourd_perception.pipeline import ActionPipeline, PipelineConfig, Recognition
from fourd_perception.stream.window import Clip

_NAME = "recognizer"
_TASK = "action_recognition"
_OUTPUT_DEPTH = 10


@dataclass(frozen=True)
class RecognizerParameters(AnswerParameters, PipelineConfig, InputParameters):
    """Everything that the recognizer can be told."""


class Recognizer(PerceptionNode[RecognizerParameters, ActionPipeline, Recognition]):
    """Publishes ~/action (the classes of every judged window, best first) and ~/label_info.

    Of a model that fuses several scores, each by itself on ~/scores/<its name>.
    """

    def __init__(self, **node_options: Any) -> None:
        """node_options: what rclpy's Node takes. Raises ConfigError on a refused parameter."""
        self._action: LifecyclePublisher | None = None
        self._scores: dict[str, LifecyclePublisher | None] = {}
        super().__init__(_NAME, RecognizerParameters, **node_options)

    def _load(self, parameters: RecognizerParameters) -> list[ActionPipeline]:
        pipeline = ActionPipeline(load_checkpoint(parameters, _TASK), parameters)
        self._scores = dict.fromkeys(pipeline.sources)
        return [pipeline]

    def _labels(
        self, pipeline: ActionPipeline, parameters: RecognizerParameters, stamp: int
    ) -> LabelInfo:
        return results.label_info(pipeline.card.classes, stamp, parameters.min_score)

    def _create_outputs(self) -> None:
        self._action = self.create_lifecycle_publisher(Classification, "~/action", _OUTPUT_DEPTH)
        for name in self._scores:
            self._scores[name] = self.create_lifecycle_publisher(
                Classification, f"~/scores/{name}", _OUTPUT_DEPTH
            )

    def _destroy_outputs(self) -> None:
        for publisher in (self._action, *self._scores.values()):
            if publisher is not None:
                self.destroy_lifecycle_publisher(publisher)
        self._action, self._scores = None, {}

    def _wanted(self, pipeline: ActionPipeline) -> bool:
        return any(map(has_subscribers, (self._action, *self._scores.values())))

    def _infer(self, pipeline: ActionPipeline, clip: Clip) -> Recognition:
        return pipeline.recognise(clip)

    def _publish(self, pipeline: ActionPipeline, result: Recognition) -> None:
        now = self.parameters.value
        assert self._action is not None
        said = {self._action: result.scores}
        for name, scores in result.by_source.items():
            publisher = self._scores[name]
            if has_subscribers(publisher):
                said[publisher] = scores
        for publisher, scores in said.items():
            message = results.classification(
                replace(result, scores=scores),
                pipeline.card.classes, now.top_k, now.min_score, now.class_id,
            )  # fmt: skip
            publisher.publish(message)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point `recognizer`: runs until SIGINT or SIGTERM."""
    runner.run(Recognizer, args, usage(_NAME, RecognizerParameters))


if __name__ == "__main__":
    main()
