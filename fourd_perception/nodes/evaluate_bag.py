"""The entry point `evaluate_bag`: the tool, and with --live the nodes. Without ROS it runs, too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fourd_perception.errors import InputError, command
from fourd_perception.evaluation.bag_jobs import BagJob
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import COMPRESSED
from fourd_perception.evaluation.live_difference import LiveDifference, Said, difference
from fourd_perception.looking.config import LookConfig
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.parameters import to_mapping
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings.bag_reader import open_bag, raw_messages
from fourd_perception.tools import evaluate_bag
from fourd_perception.tools.evaluate_bag import Pace

if TYPE_CHECKING:
    from fourd_perception.nodes.replay import Played, Started


def run_live(result: BagResult, job: BagJob, pace: Pace, logs: Path) -> LiveDifference:
    """Play a result's bag over DDS, with its clock, to the node of its task, and compare.

    job: what the result is of. logs: an existing folder, for what the processes print.
    Raises InputError where ROS is not installed, or nothing comes back.
    """
    try:
        from fourd_perception.nodes.listener import HeardLabels
        from fourd_perception.nodes.replay import Replay, ReplayFailed, private_ros
    except ImportError as error:
        raise InputError(f"--live needs ROS 2 ({error}): source its setup.bash") from None
    node = _node(result.task, job)
    heard: list[Said] = []
    due = result.due.tolist() if pace.waits else None
    try:
        with (
            private_ros(shared_file("config/fastdds.xml")) as ros,
            Replay(ros, [node], logs, _played(result, job)) as replay,
        ):
            replay.wait_until_ready()
            for one in replay.play(result.path, "--clock", "--rate", str(pace.rate), due=due):
                if isinstance(one, HeardLabels):
                    what, score = one.digest, 0.0
                else:
                    what, score = one.top[0] if one.top else ("", 0.0)
                heard.append(Said(one.stamp, what, score, one.latency_ms))
    except ReplayFailed as error:
        raise InputError(f"{result.path}: {error}") from None
    return difference(result.said, heard)


def _node(task: str, job: BagJob) -> Started:
    """The node of a task, told what the pipeline was told."""
    from fourd_perception.nodes.replay import recognizer, segmenter

    told: dict[str, object] = {"use_sim_time": True}
    if job.look is not None:
        told |= {name: value for name, value in to_mapping(job.look).items()
                 if value != to_mapping(LookConfig())[name]}  # fmt: skip
    if job.vlm is not None:
        told |= {**to_mapping(job.vlm), **to_mapping(job.pairing)}
    if task == "action_segmentation":
        return segmenter(
            None, job.model, **told, **{f"action_{name}": one for name, one in job.settings.items()}
        )
    told |= job.settings
    points = task == "semantic_segmentation"
    return segmenter(job.model, None, **told) if points else recognizer(job.model, **told)


def _played(result: BagResult, job: BagJob) -> Played:
    """The topics that were evaluated, transforms where they are needed, and the first camera_info,
    as the offline run knows it from the beginning."""
    from fourd_perception.nodes.replay import COMPRESSED as SUFFIX
    from fourd_perception.nodes.replay import Played

    source = result.source
    image = source.image if source.colour and job.vlm is not None else None
    with open_bag(result.path) as bag:
        if image and bag.topics[image] == COMPRESSED and not image.endswith(SUFFIX):
            raise InputError(
                f"--live: {result.path}: nodes take compressed images of <name>{SUFFIX}, and "
                f"these are of {image}; leave --live out"
            )
        known = bag.topics if job.look is not None and job.look.crop_frame else {}
        placed = tuple(topic for topic in (camera.TF, camera.TF_STATIC) if topic in known)
        if source.camera_info is None:
            return Played(source.frames, transforms=placed, image=image)
        first = next(raw_messages(bag, bag.of_topics([source.camera_info])))
        return Played(
            source.frames, source.camera_info, first[2], placed, source.depth_name,
            source.depth_transport, image=image,
        )  # fmt: skip


@command
def main() -> int:
    """The entry point `evaluate_bag`."""
    return evaluate_bag.run(run_live)


if __name__ == "__main__":
    sys.exit(main())
