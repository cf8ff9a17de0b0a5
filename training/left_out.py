"""Classes that a run is not to see, so that another may tell them apart by their texts alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from fourd_perception.errors import InputError
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos


def without(videos: PreparedVideos, left_out: Sequence[str]) -> PreparedVideos:
    """The videos of the other classes, which are numbered anew, and those without a label.

    Raises InputError if one of `left_out` is no class of the videos.
    """
    unknown = sorted(set(left_out) - set(videos.classes))
    if unknown:
        raise InputError(
            f"left_out: {', '.join(unknown)} not among the classes, which are "
            f"{', '.join(videos.classes)}"
        )
    found = copy.copy(videos)
    found.classes = tuple(name for name in videos.classes if name not in left_out)
    places = {NO_LABEL: NO_LABEL} | {
        videos.classes.index(name): place for place, name in enumerate(found.classes)
    }
    found.videos = [
        replace(video, label=places[video.label])
        for video in videos.videos
        if video.label in places
    ]
    return found
