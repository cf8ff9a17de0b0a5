"""The node that labels every point: clouds in, the same clouds with labels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import LabelInfo

from fourd_perception.messages import results
from fourd_perception.nodes import runner
from fourd_perception.nodes.inputs import InputParameters
from fourd_perception.nodes.loading import load_checkpoint
from fourd_perception.nodes.perception_node import PerceptionNode
from fourd_perception.nodes.ros_parameters import usage
from fourd_perception.pipeline import Segmentation, SegmentationConfig, SegmentationPipeline
from fourd_perception.stream.window import Clip

_NAME = "segmenter"
_TASK = "semantic_segmentation"
_OUTPUT_DEPTH = 5


@dataclass(frozen=True)
class SegmenterParameters(SegmentationConfig, InputParameters):
    """Everything that the segmenter can be told."""


class Segmenter(PerceptionNode[SegmenterParameters, SegmentationPipeline, Segmentation]):
    """Publishes ~/segmentation (the cloud's points with their labels) and ~/label_info."""

    def __init__(self, **node_options: Any) -> None:
        """node_options: what rclpy's Node takes. Raises ConfigError on a refused parameter."""
        self._segmentation: LifecyclePublisher | None = None
        super().__init__(_NAME, SegmenterParameters, **node_options)

    def _load(self, parameters: SegmenterParameters) -> SegmentationPipeline:
        return SegmentationPipeline(load_checkpoint(parameters, _TASK), parameters)

    def _labels(
        self, pipeline: SegmentationPipeline, parameters: SegmenterParameters, stamp: int
    ) -> LabelInfo:
        return results.label_info(pipeline.card.classes, stamp, threshold=0.0)

    def _create_outputs(self) -> None:
        self._segmentation = self.create_lifecycle_publisher(
            PointCloud2, "~/segmentation", _OUTPUT_DEPTH
        )

    def _destroy_outputs(self) -> None:
        if self._segmentation is not None:
            self.destroy_lifecycle_publisher(self._segmentation)
            self._segmentation = None

    def _wanted(self) -> bool:
        return self._segmentation is not None and self._segmentation.get_subscription_count() > 0

    def _infer(self, pipeline: SegmentationPipeline, clip: Clip) -> Segmentation:
        return pipeline.segment(clip)

    def _publish(self, pipeline: SegmentationPipeline, result: Segmentation) -> None:
        assert self._segmentation is not None
        self._segmentation.publish(results.segmentation(result, len(pipeline.card.classes)))


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point `segmenter`: runs until SIGINT or SIGTERM."""
    runner.run(Segmenter, args, usage(_NAME, SegmenterParameters))


if __name__ == "__main__":
    main()
