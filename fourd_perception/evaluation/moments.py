"""The moments of a bag that a model found hardest, and pictures of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.evaluation import charts
from fourd_perception.evaluation.bag_frames import BagFrames
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import (
    COMPRESSED,
    DEPTHS,
    BagSource,
    is_packed_depth,
)
from fourd_perception.evaluation.session import Picture
from fourd_perception.messages import compressed_depth, images
from fourd_perception.recordings.bag_reader import Bag, open_bag
from fourd_perception.stream.frame import SECOND

_APART = 1.5
"""Seconds from one moment to the next, so that eight pictures do not show one."""
_IMAGE_WITHIN = SECOND // 4
_WIDEST = 320


def hardest(result: BagResult, count: int) -> list[tuple[int, int]]:
    """(stamp, when recorded) of the frames that were hardest, in order of time; nanoseconds.

    Of judged answers those with the lowest score of the true class; where nothing is judged, those
    with the lowest best score. Of labelled points the frames with the fewest right.
    """
    stamps, doubt = _doubts(result)
    chosen: list[int] = []
    for index in np.argsort(doubt, kind="stable"):
        if not np.isfinite(doubt[index]) or len(chosen) == count:
            break
        if all(abs(stamps[index] - stamps[other]) >= _APART * SECOND for other in chosen):
            chosen.append(int(index))
    return sorted((stamps[index], int(result.recorded[index])) for index in chosen)


def picture_moments(result: BagResult, count: int = 8) -> list[Picture]:
    """Pictures of the hardest moments: the cloud, and the colour (or depth) image nearest to it."""
    found = []
    with open_bag(result.path) as bag:
        for stamp, recorded in hardest(result, count):
            frames = BagFrames(bag, result.source, start=recorded, stop=recorded + 1)
            for one in frames:
                if one.frame.stamp == stamp:
                    image = _image_near(bag, result.source, recorded)
                    found.append(Picture(stamp, image, one.frame.points))
                    break
    return found


def _doubts(result: BagResult) -> tuple[list[int], NDArray[np.float64]]:
    """Stamps, and how far each is from being hard: infinite where it is not to be shown."""
    if result.frames:
        shares = [one.right / one.judged if one.judged else np.inf for one in result.frames]
        return [one.stamp for one in result.frames], np.array(shares)
    answers, classes = result.session.answers, result.session.classes
    number = {name: index for index, name in enumerate(classes)}
    judged = any(one.truth is not None for one in answers)
    doubt = [
        (scores[number[one.truth]] if one.truth is not None else np.inf) if judged else one.score
        for one, scores in zip(answers, result.scores)
    ]
    return [one.stamp for one in answers], np.array(doubt, np.float64)


def _image_near(bag: Bag, source: BagSource, recorded: int) -> NDArray[np.uint8] | None:
    """The image recorded nearest to this time, made small; None where there is none."""
    topic = source.image or source.depth
    if topic is None:
        return None
    nearest: tuple[int, Any, str] | None = None
    start, stop = max(0, recorded - _IMAGE_WITHIN), recorded + _IMAGE_WITHIN
    for connection, time, data in bag.messages(bag.of_topics([topic]), start, stop):
        away = abs(time - recorded)
        if nearest is None or away < nearest[0]:
            nearest = (away, (connection, data), connection.msgtype)
    if nearest is None:
        return None
    try:
        message = bag.deserialize(*nearest[1])
        if nearest[2] == COMPRESSED and is_packed_depth(topic):
            picture = charts.shade_depth(compressed_depth.from_message(message))
        elif nearest[2] == COMPRESSED:
            picture = images.compressed_from_message(message)
        elif message.encoding in DEPTHS:
            picture = charts.shade_depth(images.depth_from_message(message))
        else:
            picture = images.from_message(message)
    except InputError:
        return None  # a picture less; the frames are what is evaluated
    step = max(1, -(-picture.shape[1] // _WIDEST))
    return np.ascontiguousarray(picture[::step, ::step])
