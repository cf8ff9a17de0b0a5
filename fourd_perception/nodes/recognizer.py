"""The node that says what is being done: clouds in, vision_msgs/Classification out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from rclpy.lifecycle import LifecyclePublisher
from vision_msgs.msg import Classification, LabelInfo

from fourd_perception.image_pipeline import ImagePipeline, ImageScores
from fourd_perception.messages import results
from fourd_perception.nodes import runner
from fourd_perception.nodes.loading import load_checkpoint, load_scorer
from fourd_perception.nodes.looking import NodeParameters
from fourd_perception.nodes.outputs import AnswerParameters, has_subscribers
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.nodes.ros_parameters import usage
from fourd_perception.parameters import ConfigError, param
from fourd_perception.pipeline import ActionPipeline, PipelineConfig, Recognition
from fourd_perception.stream.window import Clip

_NAME = "recognizer"
_TASK = "action_recognition"
_OUTPUT_DEPTH = 10


Pipeline = ActionPipeline | ImagePipeline


@dataclass(frozen=True)
class RecognizerParameters(AnswerParameters, PipelineConfig, NodeParameters):
    """Everything that the recognizer can be told."""

    video_text_model: str = param(
        "", "the folder of the X-CLIP that `model` was aligned with, to fuse the images' scores; "
        "needs use_image"
    )  # fmt: skip
    image_rate: float = param(
        2.0, "how often the images are scored, at most", unit="Hz", at_least=0.01, at_most=100.0
    )
    image_max_age: float = param(
        2.0, "the images' scores take part for so long; without newer ones the cloud's are left",
        unit="s", at_least=0.0, at_most=3600.0,
    )  # fmt: skip


class Recognizer(PerceptionNode[RecognizerParameters, Pipeline, Recognition | ImageScores]):
    """Publishes ~/action (the classes of every judged window, best first) and ~/label_info.

    Of a model that fuses several scores, each by itself on ~/scores/<its name>. The images' scores
    have a window, a rate and a worker of their own: however slow X-CLIP is, the clouds go on.
    """

    def __init__(self, **node_options: Any) -> None:
        """node_options: what rclpy's Node takes. Raises ConfigError on a refused parameter."""
        self._action: LifecyclePublisher | None = None
        self._scores: dict[str, LifecyclePublisher | None] = {}
        self._clouds: ActionPipeline | None = None
        super().__init__(_NAME, RecognizerParameters, **node_options)

    def _load(self, parameters: RecognizerParameters) -> list[Pipeline]:
        loaded = load_checkpoint(parameters, _TASK)
        clouds = ActionPipeline(loaded, parameters, image_max_age=parameters.image_max_age)
        self._clouds, self._scores = clouds, dict.fromkeys(clouds.sources)
        if not parameters.video_text_model:
            return [clouds]
        if not parameters.use_image:
            raise ConfigError("video_text_model: it scores images: set use_image to true")
        scorer = load_scorer(parameters.video_text_model, loaded)
        images = ImagePipeline(loaded, scorer, clouds.window.clip, parameters.image_rate)
        return [clouds, images]

    def _label_topic(self, pipeline: Pipeline) -> str | None:
        return "~/label_info" if isinstance(pipeline, ActionPipeline) else None

    def _labels(
        self, pipeline: Pipeline, parameters: RecognizerParameters, stamp: int
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
        self._action, self._scores, self._clouds = None, {}, None

    def _wanted(self, pipeline: Pipeline) -> bool:
        return any(map(has_subscribers, (self._action, *self._scores.values())))

    def _infer(self, pipeline: Pipeline, clip: Clip) -> Recognition | ImageScores:
        if isinstance(pipeline, ImagePipeline):
            return pipeline.score(clip)
        return pipeline.recognise(clip)

    def _publish(self, pipeline: Pipeline, result: Recognition | ImageScores) -> bool:
        assert self._action is not None and self._clouds is not None
        if isinstance(result, ImageScores):
            self._clouds.images = result  # for the windows to come
            return False
        now = self.parameters.value
        said = {self._action: result.scores}
        for name, scores in result.by_source.items():
            publisher = self._scores[name]
            if publisher is not None and has_subscribers(publisher):
                said[publisher] = scores
        for publisher, scores in said.items():
            message = results.classification(
                replace(result, scores=scores),
                pipeline.card.classes, now.top_k, now.min_score, now.class_id,
            )  # fmt: skip
            publisher.publish(message)
        return True


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point `recognizer`: runs until SIGINT or SIGTERM."""
    runner.run(Recognizer, args, usage(_NAME, RecognizerParameters))


if __name__ == "__main__":
    main()
