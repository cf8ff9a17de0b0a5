"""The node that labels points and frames: clouds in, the same with labels out, and actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Classification, LabelInfo
from visualization_msgs.msg import MarkerArray

from fourd_perception.messages import results
from fourd_perception.messages.colours import class_colours
from fourd_perception.nodes import runner
from fourd_perception.nodes.loading import load_checkpoint
from fourd_perception.nodes.node_parameters import NodeParameters
from fourd_perception.nodes.outputs import AnswerParameters, has_subscribers
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.nodes.ros_parameters import usage
from fourd_perception.parameters import ConfigError, param
from fourd_perception.pipeline import (
    FrameActionConfig,
    FrameActionPipeline,
    FrameActions,
    Segmentation,
    SegmentationConfig,
    SegmentationPipeline,
)
from fourd_perception.stream.window import Clip

_NAME = "segmenter"
_OUTPUT_DEPTH = 5
_FRAMES_DEPTH = 200
"""The first window of a stream speaks of all its frames at once."""

Pipeline = SegmentationPipeline | FrameActionPipeline


@dataclass(frozen=True)
class SegmenterParameters(AnswerParameters, SegmentationConfig, NodeParameters):
    """Everything that the segmenter can be told."""

    action_model: str = param(
        "", "the checkpoint that labels frames; without it none is labelled, and without `model` "
        "no point is"
    )  # fmt: skip
    action_stride: int = param(
        2, "frames of its window from one look at the frames to the next", at_least=1, at_most=512
    )
    action_latency_frames: int = param(
        0, "frames of its window after the newest one that is labelled", at_least=0, at_most=511
    )
    markers: bool = param(
        False, "publish ~/markers: a box and a name for each class, and what is being done",
        changeable=True,
    )  # fmt: skip


class Segmenter(PerceptionNode[SegmenterParameters, Pipeline, Segmentation | FrameActions]):
    """Publishes ~/segmentation (the cloud's points with their labels), ~/frame_action (the classes
    of every frame), the class tables of both, and ~/markers for both.
    """

    def __init__(self, **node_options: Any) -> None:
        """node_options: what rclpy's Node takes. Raises ConfigError on a refused parameter."""
        self._segmentation: LifecyclePublisher | None = None
        self._frame_action: LifecyclePublisher | None = None
        self._markers: LifecyclePublisher | None = None
        super().__init__(_NAME, SegmenterParameters, **node_options)

    def _load(self, parameters: SegmenterParameters) -> list[Pipeline]:
        if not parameters.model and not parameters.action_model:
            raise ConfigError(
                "model, action_model: no checkpoint is given; set one of them, or both, to a "
                ".safetensors file"
            )
        if parameters.people > 1:
            raise ConfigError(
                f"people: the segmenter labels one cloud for all; got {parameters.people}: set "
                "people to 1, or give it to the recognizer"
            )
        pipelines: list[Pipeline] = []
        if parameters.model:
            points = load_checkpoint(parameters, "semantic_segmentation")
            pipelines.append(SegmentationPipeline(points, parameters))
        if parameters.action_model:
            frames = load_checkpoint(parameters, "action_segmentation", "action_model")
            config = FrameActionConfig(
                stride=parameters.action_stride, latency_frames=parameters.action_latency_frames
            )
            pipelines.append(FrameActionPipeline(frames, config))
        return pipelines

    def _label_topic(self, pipeline: Pipeline) -> str:
        labels_points = isinstance(pipeline, SegmentationPipeline)
        return "~/label_info" if labels_points else "~/frame_action/label_info"

    def _labels(self, pipeline: Pipeline, parameters: SegmenterParameters, stamp: int) -> LabelInfo:
        labels_points = isinstance(pipeline, SegmentationPipeline)
        threshold = 0.0 if labels_points else parameters.min_score
        return results.label_info(pipeline.card.classes, stamp, threshold)

    def _create_outputs(self) -> None:
        self._segmentation = self.create_lifecycle_publisher(
            PointCloud2, "~/segmentation", _OUTPUT_DEPTH
        )
        self._frame_action = self.create_lifecycle_publisher(
            Classification, "~/frame_action", _FRAMES_DEPTH
        )
        self._markers = self.create_lifecycle_publisher(MarkerArray, "~/markers", _OUTPUT_DEPTH)

    def _destroy_outputs(self) -> None:
        for publisher in (self._segmentation, self._frame_action, self._markers):
            if publisher is not None:
                self.destroy_lifecycle_publisher(publisher)
        self._segmentation = self._frame_action = self._markers = None

    def _wanted(self, pipeline: Pipeline) -> bool:
        labels_points = isinstance(pipeline, SegmentationPipeline)
        publisher = self._segmentation if labels_points else self._frame_action
        return has_subscribers(publisher) or self._draws()

    def _draws(self) -> bool:
        return self.parameters.value.markers and has_subscribers(self._markers)

    def _infer(self, pipeline: Pipeline, clip: Clip) -> Segmentation | FrameActions | None:
        if isinstance(pipeline, SegmentationPipeline):
            return pipeline.segment(clip)
        return pipeline.recognise(clip)

    def _publish(self, pipeline: Pipeline, result: Segmentation | FrameActions) -> bool:
        assert self._segmentation is not None and self._frame_action is not None
        assert self._markers is not None
        classes, now = pipeline.card.classes, self.parameters.value
        if isinstance(result, Segmentation):
            colours = class_colours(len(classes), pipeline.card.colours)
            if has_subscribers(self._segmentation):
                self._segmentation.publish(results.segmentation(result, colours))
            if self._draws():
                self._markers.publish(results.class_markers(result, classes, colours))
            return True
        for one in result.frames if has_subscribers(self._frame_action) else ():
            self._frame_action.publish(
                results.classification(one, classes, now.top_k, now.min_score, now.class_id)
            )
        if self._draws():
            self._markers.publish(results.action_marker(result, classes, now.min_score))
        return True


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point `segmenter`: runs until SIGINT or SIGTERM."""
    runner.run(Segmenter, args, usage(_NAME, SegmenterParameters))


if __name__ == "__main__":
    main()
