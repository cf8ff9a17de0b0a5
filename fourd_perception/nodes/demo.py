"""See the package at work: a bag is made, played over DDS to the nodes, and judged."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from fourd_perception.checkpoint import ModelCard, read_card
from fourd_perception.errors import InputError, command
from fourd_perception.evaluation import report
from fourd_perception.evaluation.live_view import LiveView
from fourd_perception.evaluation.pictures import read_pictures
from fourd_perception.evaluation.schedule import Schedule, read_schedule
from fourd_perception.evaluation.segmented import (
    LabelledPoints,
    judge_points,
    points_scenes,
    points_table,
    segmented_figures,
    segmented_tiles,
)
from fourd_perception.evaluation.session import Answer, Picture, Session, figures
from fourd_perception.nodes.shared_files import shared_file
from fourd_perception.pipeline import PipelineConfig
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.recordings import msr_action3d, studio_seeds
from fourd_perception.recordings.bag_writer import BagContent, start_stamp, write_bag
from fourd_perception.recordings.recording import Recording
from fourd_perception.stream.frame import SECOND
from fourd_perception.tools.arguments import positive, whole
from fourd_perception.tools.make_bag import msr_recording, studio_recording
from fourd_perception.whole_file import written

_PICTURES = 8
_SEGMENTER_PARAMETERS = {"stride": 2, "action_stride": 4, "torch_threads": 1}
"""So that two cores have time for the camera, two nodes and whoever watches."""


@dataclass(frozen=True)
class Show:
    """What is shown: a recording, the model for it, and how it is spoken of."""

    title: str
    source: str
    model: Path
    segmenter_model: Path | None
    segmenter_action_model: Path | None
    recording: Recording
    image_topic: str

    @property
    def segments(self) -> bool:
        """Whether the segmenter has a part in it."""
        return bool(self.segmenter_model or self.segmenter_action_model)


@dataclass(frozen=True, eq=False)
class Performance:
    """What came back. frames: what the segmenter said of frames. labels: of points, by stamp."""

    schedule: Schedule
    answers: list[Answer]
    frames: list[Answer]
    labels: dict[int, NDArray[np.int64]]


@command
def main() -> int:
    """The entry point `demo`."""
    arguments = _parser().parse_args()
    out: Path = arguments.out
    say = sys.stderr if arguments.json else sys.stdout  # stdout is for the script that listens
    show = _show(arguments)
    card = read_card(show.model)
    _check_classes(show, card)
    for other in (show.segmenter_model, show.segmenter_action_model):
        if other is not None:
            read_card(other)  # a mistake is told before anything starts
    out.mkdir(parents=True, exist_ok=True)

    from fourd_perception.nodes.replay import ReplayFailed  # ROS, after the mistakes are told

    try:
        done = _perform(show, card, arguments.seed, out, say)
    except ReplayFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    session = _session(show, card, done.schedule, done.answers, out / "bag")
    frames, points = _segmented(show, session, done, out / "bag")
    segmented = segmented_figures(points, frames)
    page = _page(session, frames, points, segmented_tiles(segmented))
    report.write_page(out / "report.html", page)
    text = json.dumps(_summary(session, segmented, arguments.seed), indent=2)
    with written(out / "summary.json") as part:
        part.write_text(text + "\n", encoding="utf-8")
    print(_last_screen(page, out / "report.html"), file=say)
    if arguments.json:
        print(text)
    return 0


def _show(arguments: argparse.Namespace) -> Show:
    if arguments.data is None:
        seed = studio_seeds.DEMO + arguments.seed
        return Show(
            title="A simulated person, recognised through ROS 2",
            source=f"simulated by the studio; seed {seed}, which no training uses",
            model=arguments.model or shared_file("models/studio.safetensors"),
            **_segmenter_models(arguments, "studio_points", "studio_actions"),
            recording=studio_recording(seed, arguments.seconds),
            image_topic=camera.COLOR,
        )
    subjects = msr_action3d.TEST_SUBJECTS
    return Show(
        title="Real Kinect depth, recognised through ROS 2",
        source=f"MSR-Action3D: real people; the protocol's test subjects, {subjects[0]} to "
        f"{subjects[-1]}; sequences drawn with seed {arguments.seed}",
        model=arguments.model or shared_file("models/msr_action3d.safetensors"),
        **_segmenter_models(arguments, "msr_body_parts", "msr_joined_actions"),
        recording=msr_recording(arguments.data, arguments.seed, arguments.seconds, subjects),
        image_topic=camera.DEPTH,
    )


def _segmenter_models(
    arguments: argparse.Namespace, points: str, frames: str
) -> dict[str, Path | None]:
    """The segmenter's models: those that are asked for, or else those for this data."""
    if arguments.recognition_only:
        return {"segmenter_model": None, "segmenter_action_model": None}
    return {
        "segmenter_model": arguments.segmenter_model or _shipped(points),
        "segmenter_action_model": arguments.segmenter_action_model or _shipped(frames),
    }


def _shipped(name: str) -> Path | None:
    """A model that comes with the package, if this one does."""
    path = shared_file(f"models/{name}.safetensors")
    return path if path.is_file() else None


def _check_classes(show: Show, card: ModelCard) -> None:
    unknown = sorted({one.label for one in show.recording.truth} - set(card.classes))
    if unknown:
        raise InputError(
            f"{show.model}: does not know {', '.join(unknown)}, which the recording shows; "
            "take a model that was trained on these actions"
        )


def _perform(show: Show, card: ModelCard, seed: int, out: Path, say: TextIO) -> Performance:
    """Make the bag and play it to the nodes, showing what comes back. Raises ReplayFailed."""
    from fourd_perception.nodes.listener import HeardLabels
    from fourd_perception.nodes.replay import Replay, private_ros, recognizer, segmenter

    answers: dict[int, Answer] = {}
    frames: dict[int, Answer] = {}
    labels: dict[int, NDArray[np.int64]] = {}
    nodes = [recognizer(show.model)]
    if show.segments:
        nodes.append(
            segmenter(show.segmenter_model, show.segmenter_action_model, **_SEGMENTER_PARAMETERS)
        )
    with private_ros(shared_file("config/fastdds.xml")) as ros:
        domain = ros.get_domain_id()
        names = " and the ".join(node.name for node in nodes)
        print(f"starting the {names} (this machine only, ROS_DOMAIN_ID={domain})", file=say)
        with Replay(ros, nodes, logs=out) as replay:
            schedule = _make_bag(show, card, seed, out / "bag")  # while the nodes warm up
            replay.wait_until_ready()
            with LiveView(schedule.clouds[0], say) as live:
                for heard in replay.play(out / "bag"):
                    if isinstance(heard, HeardLabels):
                        labels[heard.stamp] = heard.labels.astype(np.int64)
                        continue
                    said = heard.stamp, heard.top, heard.latency_ms
                    if heard.topic == "/recognizer/action":
                        answers[heard.stamp] = schedule.answer(*said)
                        live.show(answers[heard.stamp])
                    else:
                        frames[heard.stamp] = schedule.frame_answer(*said)
    return Performance(schedule, _in_order(answers), _in_order(frames), labels)


def _in_order(answers: dict[int, Answer]) -> list[Answer]:
    return [answers[stamp] for stamp in sorted(answers)]


def _make_bag(show: Show, card: ModelCard, seed: int, bag: Path) -> Schedule:
    image = "depth" if show.image_topic == camera.DEPTH else "color"
    image_step = max(1, round(card.clip.period * show.recording.rate / SECOND))
    labels = bool(show.recording.point_classes and show.segmenter_model)
    content = BagContent(("points", image), image_step=image_step, labels=labels)
    write_bag(bag, show.recording, start=start_stamp(seed), content=content, force=True)
    schedule = read_schedule(bag, card.clip, PipelineConfig().stride)
    if not schedule.windows:
        raise InputError(
            f"{len(schedule.clouds)} clouds are too few for one window of "
            f"{card.clip.frames} frames at {SECOND / card.clip.period:g} Hz: give more --seconds"
        )
    return schedule


def _session(
    show: Show, card: ModelCard, schedule: Schedule, answers: list[Answer], bag: Path
) -> Session:
    pinhole, packages = show.recording.intrinsics, ("fourd_perception", "rclpy", "torch", "numpy")
    return Session(
        title=show.title,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        classes=card.classes,
        truth=schedule.truth,
        clouds=schedule.clouds,
        windows_expected=schedule.windows,
        answers=tuple(answers),
        pictures=_pictures(bag, show.image_topic, answers),
        facts={
            "recording": show.source,
            "camera": f"{pinhole.width} x {pinhole.height} at {show.recording.rate:g} Hz; the "
            "cloud holds the person and what they handle",
            "model": f"{show.model.name}: {card.name} ({card.architecture}), {len(card.classes)} "
            f"classes; windows of {card.clip.frames} frames at {SECOND / card.clip.period:g} Hz, "
            f"{card.preprocess.points} points a frame",
            **_segmenter_facts(show),
            "transport": "sensor_msgs/PointCloud2 there, vision_msgs/Classification back, over DDS "
            "between processes of one machine",
            "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), Python "
            f"{platform.python_version()}",
            "versions": ", ".join(f"{name} {_version(name)}" for name in packages),
        },
    )


def _segmenter_facts(show: Show) -> dict[str, str]:
    files = [one for one in (show.segmenter_model, show.segmenter_action_model) if one]
    told = [
        f"{file.name}: {card.name} ({card.architecture}), windows of {card.clip.frames} frames at "
        f"{SECOND / card.clip.period:g} Hz, {card.preprocess.points} points a frame"
        for file in files
        for card in (read_card(file),)
    ]
    return {"segmenter": "; ".join(told)} if told else {}


def _segmented(
    show: Show, session: Session, done: Performance, bag: Path
) -> tuple[Session | None, LabelledPoints | None]:
    """What the segmenter said of frames and of points, judged."""
    frames = points = None
    if show.segmenter_action_model:
        card = read_card(show.segmenter_action_model)
        frames = dataclasses.replace(session, classes=card.classes, answers=tuple(done.frames))
    if show.segmenter_model and done.labels:
        points = judge_points(bag, read_card(show.segmenter_model), done.labels)
    return frames, points


def _page(
    session: Session,
    frames: Session | None,
    points: LabelledPoints | None,
    more_tiles: Sequence[tuple[str, str, str]],
) -> report.Page:
    """The recognizer's page, with the segmenter's part in it."""
    page = report.session_page(session)
    scenes, tables, strips = [*page.scenes], [*page.tables], [*page.charts]
    if points is not None:
        scenes.append(points_scenes(points, session.clouds[0]))
        tables += points_table(points)
    if frames is not None:
        strips[1:1] = report.timeline_charts(
            frames, "Every frame has an action", "Every dot is one frame, judged by itself."
        )
    tiles = [*page.tiles, *more_tiles]
    return dataclasses.replace(page, scenes=scenes, tables=tables, charts=strips, tiles=tiles)


def _pictures(bag: Path, topic: str, answers: list[Answer]) -> tuple[Picture, ...]:
    """The newest frames of some windows, evenly over those that lie inside one action."""
    judged = [one.stamp for one in answers if one.truth is not None] or [answers[-1].stamp]
    chosen = {judged[round(place)] for place in np.linspace(0, len(judged) - 1, _PICTURES)}
    return tuple(read_pictures(bag, topic, chosen))


def _version(package: str) -> str:
    for name in (package, f"ros-{package}"):  # the second: ROS 2 from wheels
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return "of the ROS distribution"


def _summary(
    session: Session, segmented: dict[str, float | int | None], seed: int
) -> dict[str, object]:
    return {
        "title": session.title,
        "command": session.command,
        "seed": seed,
        "figures": dataclasses.asdict(figures(session)),
        "segmenter": segmented,
        "facts": session.facts,
    }


def _last_screen(page: report.Page, path: Path) -> str:
    lines = [f"  {meaning:<22}{figure:>10}   {over}" for figure, meaning, over in page.tiles]
    return "\n".join(["", *lines, "", f"  the report: {path}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Make a bag, play it over DDS to the nodes, and judge what they answer. "
        "Without --data, the bag is simulated, with a person and a room that no training uses.",
    )
    parser.add_argument(
        "--data", type=Path, metavar="ROOT",
        help="MSR-Action3D in this folder: real people, the test subjects",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=Path, metavar="FILE",
        help="a .safetensors checkpoint (default: the one in models/ for this data)",
    )  # fmt: skip
    parser.add_argument(
        "--segmenter-model", type=Path, metavar="FILE",
        help="the checkpoint that labels points (default: the one in models/ for this data)",
    )  # fmt: skip
    parser.add_argument(
        "--segmenter-action-model", type=Path, metavar="FILE",
        help="the checkpoint that labels frames (default: the one in models/ for this data)",
    )  # fmt: skip
    parser.add_argument("--recognition-only", action="store_true", help="without the segmenter")
    parser.add_argument(
        "--seed", type=whole, default=0, metavar="N", help="another number, another recording"
    )
    parser.add_argument(
        "--seconds", type=positive, default=60.0, metavar="S", help="about how long (default 60)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"),
        help="folder for bag, report.html, summary.json and logs (default out/demo)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as JSON at the end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
