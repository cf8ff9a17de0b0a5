"""How the pipelines run a model: what it is, its checkpoint says."""

from __future__ import annotations

from dataclasses import dataclass

from fourd_perception.parameters import param


@dataclass(frozen=True)
class PipelineConfig:
    """Which windows of a stream a model is shown; what the model is, its checkpoint says."""

    clip_frames: int = param(0, "frames in a window; 0: the model's own", at_least=0, at_most=512)
    frame_step: int = param(
        0, "take every n-th frame, counted at the model's rate; 0: the model's own",
        at_least=0, at_most=64,
    )  # fmt: skip
    stride: int = param(
        2, "frames of the window from one answer to the next", at_least=1, at_most=512
    )


@dataclass(frozen=True)
class SegmentationConfig(PipelineConfig):
    """How a model that labels points is run."""

    stride: int = param(
        1, "frames of the window from one answer to the next", at_least=1, at_most=512
    )
    latency_frames: int = param(
        0, "frames of the window after the newest one that is labelled", at_least=0, at_most=511
    )
    sample_points: int = param(
        0, "points of a frame that the model is shown; 0: the model's own; more for whole rooms",
        at_least=0, at_most=65536,
    )  # fmt: skip
    max_distance: float = param(
        0.1, "a point farther than this from all that the model has seen has no label", unit="m",
        at_least=0.0, at_most=1e3,
    )  # fmt: skip
    closer_look: bool = param(
        False, "show the model what it takes for foreground once more, by itself: for whole rooms"
    )


@dataclass(frozen=True)
class FrameActionConfig(PipelineConfig):
    """How a model that labels frames is run."""

    latency_frames: int = param(
        0, "frames of the window after the newest one that is labelled", at_least=0, at_most=511
    )
