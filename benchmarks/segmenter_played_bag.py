"""Body parts by the live node on a played bag, held against what evaluation says offline.

python benchmarks/segmenter_played_bag.py --root <MSR-Action3D>

Every n-th test video of MSR-Action3D goes into a bag, a second of nothing between two; it is played
over DDS to the segmenter, whose labels are judged point by point. The same videos are measured as
training/evaluate.py does it, and by the pipeline without ROS, frame by frame.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import checkpoint
from fourd_perception.errors import command
from fourd_perception.evaluation import metrics
from fourd_perception.messages import clouds
from fourd_perception.messages.point_labels import labels_of
from fourd_perception.nodes.listener import HeardLabels
from fourd_perception.nodes.replay import Replay, private_ros, segmenter
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.parameters import load_yaml
from fourd_perception.pipeline import SegmentationPipeline
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings import msr_action3d
from fourd_perception.recordings.bag_reader import read_messages
from fourd_perception.recordings.bag_writer import BagContent, start_stamp, write_bag
from fourd_perception.recordings.recording import RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND, UNLABELLED, Frame
from fourd_perception.tools.arguments import counting, positive
from training import datasets, scoring
from training.config import FinetuneConfig
from training.data import open_videos, split
from training.datasets.labelled_video import NO_POINT_LABEL
from training.datasets.prepared import Video

_RECIPE = "config/training/msr_body_parts_pptr.yaml"
_PAUSE = 1.0
"""Seconds between two videos: the window starts again, as it does for every video offline."""


def recording(
    root: str, names: list[str], parts: tuple[str, ...], config: FinetuneConfig
) -> Recording:
    """The videos one after another, with the labels of their points."""
    sources = {one.name: one for one in datasets.open_data_set(config.data).sources}
    depth_files = {str(one): file for one, file in msr_action3d.files(root).items()}

    def frames() -> Iterator[RecordedFrame]:
        stamp = 0.0
        for name in names:
            (video,) = sources[name].read()
            for depth, labelled in zip(msr_action3d.read_depth(depth_files[name]), video.frames):
                labels = np.full(depth.shape, UNLABELLED, np.uint16)
                assert labelled.point_labels is not None  # body parts have them
                known = labelled.point_labels.astype(np.uint16)
                labels[depth > 0] = np.where(known == NO_POINT_LABEL, UNLABELLED, known)
                yield RecordedFrame(round(stamp * SECOND), depth, depth > 0, labels=labels)
                stamp += 1 / msr_action3d.RATE
            stamp += _PAUSE

    count = sum(msr_action3d.count_frames(depth_files[name]) for name in names)
    return Recording(
        "msr_body_parts", msr_action3d.RATE, msr_action3d.INTRINSICS, (), (), count, frames, parts
    )


@dataclass(eq=False)
class Judged:
    """Counts of points, and the labels of every frame that was answered.

    thinned: as if of each frame so many points were judged as its prepared form has.
    """

    counts: NDArray[np.int64]
    thinned: NDArray[np.float64]
    labels: dict[int, NDArray[np.int64]]
    points_at_most: int

    def add(self, stamp: int, truth: NDArray[np.int64], answer: NDArray[np.int64]) -> None:
        """A frame's labels and their truth."""
        self.labels[stamp] = answer
        found = metrics.label_confusion(
            truth=truth, answers=answer, classes=len(self.counts), ignore=(UNLABELLED,)
        )
        self.counts += found
        self.thinned += found * min(1.0, self.points_at_most / max(len(truth), 1))


def by_pipeline(bag: Path, loaded: checkpoint.Checkpoint, points_at_most: int) -> Judged:
    """What the pipeline says of a bag's clouds, without ROS."""
    pipeline = SegmentationPipeline(loaded)
    judged = _nothing(loaded, points_at_most)
    for one in tqdm(read_messages(bag, camera.POINTS), desc="pipeline", unit="frame", disable=None):
        frame = Frame(one.stamp, "camera", clouds.from_message(one.message))
        answer, truth = pipeline.push(frame), labels_of(one.message)
        if answer is not None and truth is not None:
            judged.add(one.stamp, truth, answer.labels.astype(np.int64))
    return judged


def by_node(
    bag: Path, model: Path, rate: float, loaded: checkpoint.Checkpoint, points_at_most: int
) -> Judged:
    """What the live node says of a bag that is played to it."""
    truth = {one.stamp: labels_of(one.message) for one in read_messages(bag, camera.POINTS)}
    judged = _nothing(loaded, points_at_most)
    with (
        private_ros(shared_file("config/fastdds.xml")) as ros,
        tqdm(total=len(truth), desc="played", unit="frame", disable=None) as bar,
        Replay(ros, [segmenter(model)], logs=bag.parent) as replay,
    ):
        replay.wait_until_ready()
        for heard in replay.play(bag, "--rate", str(rate)):
            here = truth[heard.stamp]
            assert isinstance(heard, HeardLabels) and here is not None
            judged.add(heard.stamp, here, heard.labels)
            bar.update()
    return judged


def _nothing(loaded: checkpoint.Checkpoint, points_at_most: int) -> Judged:
    classes = len(loaded.card.classes)
    counts = np.zeros((classes, classes + 1), np.int64)
    return Judged(counts, counts.astype(np.float64), {}, points_at_most)


def offline(loaded: checkpoint.Checkpoint, chosen: list[Video], config: FinetuneConfig) -> float:
    """Mean IoU, percent, as training/evaluate.py has it."""
    card = loaded.card
    videos = open_videos(config.data)
    counts = scoring.point_confusion(
        loaded.model, videos, chosen, card.clip, card.preprocess, progress=True
    )
    return metrics.mean_iou(counts)


def _figures(
    loaded: checkpoint.Checkpoint, node: Judged, alone: Judged, miou: float
) -> dict[str, float]:
    both = node.labels.keys() & alone.labels.keys()
    changed = sum(int((node.labels[one] != alone.labels[one]).sum()) for one in both)
    points = sum(len(node.labels[one]) for one in both)
    return {
        "miou_played": round(metrics.mean_iou(node.counts), 2),
        "miou_offline": round(miou, 2),
        "miou_played_thinned": round(metrics.mean_iou(node.thinned), 2),
        "miou_pipeline": round(metrics.mean_iou(alone.counts), 2),
        "frames_answered": len(node.labels),
        "frames_lost": len(alone.labels.keys() - node.labels.keys()),
        "labels_changed_percent": round(100 * changed / max(points, 1), 4),
    }


@command
def main() -> int:
    """The command line."""
    arguments = _parser().parse_args()
    config = load_yaml(FinetuneConfig, _RECIPE, (f"data.root={arguments.root}",))
    videos = open_videos(config.data)
    chosen = split(videos, config.data)["test"][:: arguments.every]
    loaded = checkpoint.load(arguments.model)
    with tempfile.TemporaryDirectory() as scratch:
        bag = Path(scratch) / "bag"
        names = [video.file.removesuffix(".safetensors") for video in chosen]
        whole = recording(arguments.root, names, videos.point_classes, config)
        write_bag(bag, whole, start=start_stamp(0), content=BagContent(("points",), labels=True))
        most = config.data.points_at_most
        node = by_node(bag, arguments.model, arguments.rate, loaded, most)
        alone = by_pipeline(bag, loaded, most)
    figures = _figures(loaded, node, alone, offline(loaded, chosen, config))
    for name, value in figures.items():
        print(f"{name:24} {value:10}")
    if arguments.results:
        write_result(
            arguments.results,
            name=loaded.card.name,
            command=shlex.join(["python", *sys.argv]),
            data=f"msr_body_parts, {len(chosen)} of the test videos, every {arguments.every}th",
            protocol="played: a bag of the videos through DDS into the segmenter, causal, judged "
            "on all points of a cloud; thinned: each cloud weighs as much as its prepared form, "
            f"which has at most {config.data.points_at_most} points; offline: of the prepared "
            "form, as training/evaluate.py has it, on the same videos; pipeline: the clouds of the "
            "bag without ROS; frames_lost: answered by the pipeline, not by the node; played at "
            f"{arguments.rate:g} times the recorded pace",
            seeds=[],
            figures=figures,
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    add = parser.add_argument
    add("--root", required=True, help="MSR-Action3D, depth and skeletons")
    add("--model", type=Path, default=Path("models/msr_body_parts.safetensors"),
        help="(default: %(default)s)")  # fmt: skip
    add("--every", type=counting, default=6, metavar="N", help="every n-th test video (default 6)")
    add("--rate", type=positive, default=1.0, help="pace of the playing (default 1)")
    add("--results", help="write the figures to this file, see results/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
