"""The models, by the names that checkpoints and configurations use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedConfig, AlignedModel
from fourd_perception.models.image_video import ImageVideoConfig, ImageVideoModel
from fourd_perception.models.p4_transformer import (
    P4Transformer,
    P4TransformerConfig,
    PSTTransformerConfig,
)
from fourd_perception.models.pptr import PPTr, PPTrConfig
from fourd_perception.models.pstnet import (
    ImPSTNetConfig,
    PSTNet,
    PSTNetConfig,
    PSTNetPlusPlusConfig,
)
from fourd_perception.models.segmenters import (
    P4Segmenter,
    P4SegmenterConfig,
    PPTrSegmenter,
    PPTrSegmenterConfig,
)
from fourd_perception.models.stream import EncoderStream
from fourd_perception.models.video_model import ClipModel, Features, VideoModel
from fourd_perception.models.xclip_video import XClipVideoConfig, XClipVideoModel
from fourd_perception.parameters import from_mapping


@dataclass(frozen=True)
class Architecture:
    """A model's configuration class, and what makes a model of it and a number of classes."""

    config: type
    build: Callable[[Any, int], ClipModel]


__all__ = [
    "ALIGNED_ARCHITECTURES",
    "ARCHITECTURES",
    "IMAGE_ARCHITECTURES",
    "Architecture",
    "ClipModel",
    "EncoderStream",
    "Features",
    "VideoModel",
    "architecture",
    "build",
]

ARCHITECTURES: Mapping[str, Architecture] = {
    "pstnet": Architecture(PSTNetConfig, PSTNet),
    "pstnetpp": Architecture(PSTNetPlusPlusConfig, PSTNet),
    "im_pstnet": Architecture(ImPSTNetConfig, PSTNet),
    "p4_transformer": Architecture(P4TransformerConfig, P4Transformer),
    "pst_transformer": Architecture(PSTTransformerConfig, P4Transformer),
    "p4_segmenter": Architecture(P4SegmenterConfig, P4Segmenter),
    "pptr": Architecture(PPTrConfig, PPTr),
    "pptr_segmenter": Architecture(PPTrSegmenterConfig, PPTrSegmenter),
}
"""Of point-cloud video."""

IMAGE_ARCHITECTURES: Mapping[str, Architecture] = {
    "image_video": Architecture(ImageVideoConfig, ImageVideoModel),
    "xclip_video": Architecture(XClipVideoConfig, XClipVideoModel),
}
"""Of image video: they are trained and measured as the others are; no node takes them alone."""


def _aligned(config: AlignedConfig, classes: int) -> AlignedModel:
    if config.encoder not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise InputError(f"encoder: unknown architecture '{config.encoder}'; known: {known}")
    try:
        return AlignedModel(config, build(config.encoder, config.encoder_sizes, classes), classes)
    except ValueError as error:
        raise InputError(f"aligned: {error}") from None


ALIGNED_ARCHITECTURES: Mapping[str, Architecture] = {
    "aligned": Architecture(AlignedConfig, _aligned),
}
"""Of point-cloud video, each of the above inside, and of texts: made by training/align.py."""


def architecture(name: str) -> Architecture:
    """Raises InputError if there is none of that name."""
    everything = {**ARCHITECTURES, **IMAGE_ARCHITECTURES, **ALIGNED_ARCHITECTURES}
    if name not in everything:
        known = ", ".join(sorted(everything))
        raise InputError(f"unknown architecture '{name}'; known: {known}")
    return everything[name]


def build(name: str, config: Mapping[str, Any], classes: int) -> VideoModel:
    """A model of point-cloud video with random weights, as `build_any`.

    Raises InputError on one of images, too.
    """
    model = build_any(name, config, classes)
    if not isinstance(model, VideoModel):
        raise InputError(
            f"architecture '{name}' sees {model.modality}, where points are wanted; "
            f"known: {', '.join(sorted(ARCHITECTURES))}"
        )
    return model


def build_any(name: str, config: Mapping[str, Any], classes: int) -> ClipModel:
    """A model with random weights, from plain data as a YAML file or a checkpoint holds it.

    Raises InputError if the architecture is unknown or the configuration does not fit it.
    """
    kind = architecture(name)
    return kind.build(from_mapping(kind.config, config, name), classes)
