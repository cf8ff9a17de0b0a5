"""Somebody who performs in a room that is made up: recordings whose truth is known by seed."""

from fourd_perception.studio.shapes import POINT_CLASSES
from fourd_perception.studio.studio import CLASSES, Scene, StudioConfig, clip, perform

__all__ = ["CLASSES", "POINT_CLASSES", "Scene", "StudioConfig", "clip", "perform"]
