"""The entry point `evaluate_bag`: the tool, and with --live the nodes. Without ROS it runs, too."""

from __future__ import annotations

import sys
from pathlib import Path

from fourd_perception.errors import InputError, command
from fourd_perception.evaluation.bag import BagResult
from fourd_perception.evaluation.live_difference import LiveDifference, Said, difference
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.tools import evaluate_bag
from fourd_perception.tools.evaluate_bag import Pace


def run_live(result: BagResult, model: Path, stride: int, pace: Pace, logs: Path) -> LiveDifference:
    """Play a result's bag over DDS, with its clock, to the node of its task, and compare.

    stride: as in `make_pipeline`. logs: an existing folder, for what the processes print.
    Raises InputError where the bag has no clouds, ROS is not installed, or nothing comes back.
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
    told: dict[str, object] = {"use_sim_time": True}
    if result.task == "action_segmentation":
        told |= {"action_stride": stride} if stride else {}
        node = segmenter(None, model, **told)
    else:
        told |= {"stride": stride} if stride else {}
        points = result.task == "semantic_segmentation"
        node = segmenter(model, None, **told) if points else recognizer(model, **told)
    heard: list[Said] = []
    try:
        with (
            private_ros(shared_file("config/fastdds.xml")) as ros,
            Replay(ros, [node], logs, result.source.points) as replay,
        ):
            replay.wait_until_ready()
            due = result.due.tolist() if pace.waits else None
            for one in replay.play(result.path, "--clock", "--rate", str(pace.rate), due=due):
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
