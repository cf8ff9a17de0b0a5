"""Somebody who performs in a room that is made up: recordings whose truth is known by seed."""

from fourd_perception.studio.actions import TRANSITION
from fourd_perception.studio.config import StudioConfig
from fourd_perception.studio.shapes import POINT_CLASSES
from fourd_perception.studio.studio import (
    BOX_CLASSES,
    CLASSES,
    Scene,
    clip,
    perform,
)

__all__ = [
    "BOX_CLASSES",
    "CLASSES",
    "POINT_CLASSES",
    "TRANSITION",
    "Scene",
    "StudioConfig",
    "clip",
    "perform",
]
