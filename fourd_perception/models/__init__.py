"""The models, by the names that checkpoints and configurations use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fourd_perception.errors import InputError
from fourd_perception.models.im_pstnet import ImPSTNet, ImPSTNetConfig
from fourd_perception.models.video_model import VideoModel
from fourd_perception.parameters import from_mapping


@dataclass(frozen=True)
class Architecture:
    """A model's configuration class, and what makes a model of it and a number of classes."""

    config: type
    build: Callable[[Any, int], VideoModel]


__all__ = ["ARCHITECTURES", "Architecture", "VideoModel", "architecture", "build"]

ARCHITECTURES: Mapping[str, Architecture] = {
    "im_pstnet": Architecture(ImPSTNetConfig, ImPSTNet),
}


def architecture(name: str) -> Architecture:
    """Raises InputError if there is none of that name."""
    if name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise InputError(f"unknown architecture '{name}'; known: {known}")
    return ARCHITECTURES[name]


def build(name: str, config: Mapping[str, Any], classes: int) -> VideoModel:
    """A model with random weights, from plain data as a YAML file or a checkpoint holds it.

    Raises InputError if the architecture is unknown or the configuration does not fit it.
    """
    kind = architecture(name)
    return kind.build(from_mapping(kind.config, config, name), classes)
