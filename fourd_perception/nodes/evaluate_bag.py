"""The entry point `evaluate_bag`: the tool, and with --live the nodes. Without ROS it runs, too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fourd_perception.errors import InputError, command
from fourd_perception.evaluation.bag import BagResult
from fourd_perception.evaluation.live_difference import LiveDifference, Said, difference
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import open_bag
from fourd_perception.tools import evaluate_bag


def run_live(
    result: BagResult, model: Path, stride: int, rate: float, logs: Path, look: Mapping[str, Any]
) -> LiveDifference:
    """Play a result's bag over DDS, with its clock, to the node of its task, and compare.

    stride: as in `make_pipeline`. rate: of the playing, 1 is the recorded pace. logs: an existing
    folder, for what the processes print. look: parameters that say where to look. Raises InputError
    where the bag has no clouds, ROS is not installed, or nothing comes back.
    """
    if result.source.points is None:
        raise InputError(
            f"{result.path}: --live plays clouds, and this bag has depth images; leave --live out"
        )
    try:
        from fourd_perception.nodes.listener import HeardLabels
        from fourd_perception.nodes.replay import (
            Replay,
            ReplayFailed,
            private_ros,
            recognizer,
            segmenter,
        )
    except ImportError as error:
        raise InputError(f"--live needs ROS 2 ({error}): source its setup.bash") from None
    told: dict[str, object] = {"use_sim_time": True, **look}
    if result.task == "action_segmentation":
        told |= {"action_stride": stride} if stride else {}
        node = segmenter(None, model, **told)
    else:
        told |= {"stride": stride} if stride else {}
        points = result.task == "semantic_segmentation"
        node = segmenter(model, None, **told) if points else recognizer(model, **told)
    heard: list[Said] = []
    with open_bag(result.path) as bag:
        placed = [topic for topic in (camera.TF, camera.TF_STATIC) if topic in bag.topics]
    try:
        with (
            private_ros(shared_file("config/fastdds.xml")) as ros,
            Replay(ros, [node], logs, result.source.points, placed) as replay,
        ):
            replay.wait_until_ready()
            for one in replay.play(result.path, "--clock", "--rate", str(rate)):
                if isinstance(one, HeardLabels):
                    what, score = one.digest, 0.0
                else:
                    what, score = one.top[0] if one.top else ("", 0.0)
                heard.append(Said(one.stamp, what, score, one.latency_ms))
    except ReplayFailed as error:
        raise InputError(f"{result.path}: {error}") from None
    return difference(result.said, heard)


@command
def main() -> int:
    """The entry point `evaluate_bag`."""
    return evaluate_bag.run(run_live)


if __name__ == "__main__":
    sys.exit(main())
