"""Run a model over recorded bags, exactly as its node would, and report how well it does."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from fourd_perception.checkpoint import ModelCard, read_card
from fourd_perception.errors import InputError, command
from fourd_perception.evaluation.bag import settings_of
from fourd_perception.evaluation.bag_cluster import run_on_cluster
from fourd_perception.evaluation.bag_figures import bag_figures
from fourd_perception.evaluation.bag_jobs import BagJob, FailedJob, run_jobs
from fourd_perception.evaluation.bag_labels import read_labels
from fourd_perception.evaluation.bag_report import bag_page, bag_summary, bag_tiles
from fourd_perception.evaluation.bag_result import BagResult
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.evaluation.comparison import compare
from fourd_perception.evaluation.live_difference import LiveDifference
from fourd_perception.evaluation.predictions import write_predictions
from fourd_perception.evaluation.report import write_page
from fourd_perception.image_pipeline import VlmConfig
from fourd_perception.looking.config import LookConfig
from fourd_perception.parameters import ConfigError, Entry, check, entries, range_text
from fourd_perception.pipeline import SegmentationConfig
from fourd_perception.stream.frame import SECOND
from fourd_perception.stream.synchronizer import PairConfig
from fourd_perception.tools.arguments import counting, positive
from fourd_perception.tools.parameter_options import ParameterOptions
from fourd_perception.whole_file import written

_SETTINGS = {entry.name: entry for entry in entries(SegmentationConfig)
             if entry.name not in ("clip_frames", "frame_step")}  # fmt: skip
"""Parameters of the nodes that are options here."""
_LOOK = ParameterOptions(
    LookConfig, "where to look",
    "which points the model is shown; as the nodes' parameters of these names",
)  # fmt: skip
_VLM = ParameterOptions(
    VlmConfig, "images and texts",
    "what X-CLIP says besides, of the colour images; as the recognizer's parameters of these names",
)  # fmt: skip
_PAIR = ParameterOptions(PairConfig, "pairs", "which image belongs to a cloud; likewise")
_GROUPS: tuple[ParameterOptions[Any], ...] = (_LOOK, _VLM, _PAIR)
_PACKAGES = ("fourd_perception", "torch", "numpy", "rosbags")
_PICTURES = 8
_SHOWN_NOTES = 12

_EPILOG = """\
A bag is a rosbag2 (a folder, a .mcap or a .db3 file) or a ROS 1 .bag. Its clouds, or its depth
images, are found by their type. The truth is a CSV with the columns bag,start,end,label (seconds on
the clock of the stamps, or from the bag's first cloud on), or a truth.csv in the bag's folder, or a
topic of the bag (--labels-topic); of points, the field `label` of the clouds. Without a truth there
are predictions and no scores.
The same bags and model give the same predictions, bit for bit."""


@dataclass(frozen=True)
class Pace:
    """How a bag is played. rate: 1 is as it was recorded. waits: it does not go on before what is
    due so far has been answered, so that a node which is too slow for the pace skips nothing."""

    rate: float = 1.0
    waits: bool = False


Live = Callable[[BagResult, BagJob, Pace, Path], LiveDifference]
"""Of a result, what it is of, the pace and a folder for logs: what is different live."""


@command
def main() -> int:
    """The tool without --live, which needs the nodes."""
    return run(None)


def run(live: Live | None) -> int:
    """The command line. live: what --live calls. Raises InputError."""
    arguments = _parser().parse_args()
    say = sys.stderr if arguments.json else sys.stdout  # stdout is for the script that listens
    card = read_card(arguments.model)
    models = [arguments.model, *([arguments.against] if arguments.against else [])]
    _check_comparable(models)
    bags = _different(arguments.bags)
    notes = read_labels(arguments.labels).strangers(bags) if arguments.labels else []
    source = BagSource(arguments.points, arguments.depth, arguments.camera_info, arguments.image)
    out: Path = arguments.out
    settings = _settings(arguments, card)
    vlm = _VLM.config(arguments)
    _check_vlm(vlm, models, arguments)
    jobs = [
        BagJob(
            bag,
            model,
            source,
            arguments.labels,
            arguments.labels_topic,
            settings,
            _copy_of(bag, out) if arguments.write_bag and model is models[0] else None,
            max(1, _PICTURES // len(bags)) if model is models[0] else 0,
            _LOOK.config(arguments),
            vlm if vlm.video_text_model else None,
            _PAIR.config(arguments),
        )
        for model in models
        for bag in bags
    ]
    if arguments.cluster:
        outcomes = run_on_cluster(jobs, arguments.cluster)
    else:
        outcomes = run_jobs(jobs, arguments.jobs)
    failed = {one.bag: one for one in outcomes if isinstance(one, FailedJob)}
    done = [one for one in outcomes if isinstance(one, BagResult) and one.path not in failed]
    results, against = done[: len(bags) - len(failed)], done[len(bags) - len(failed) :]
    if arguments.live:
        of_bag = {job.bag: job for job in reversed(jobs)}
        results = [_with_live(one, of_bag[one.path], live, arguments) for one in results]
    if results:
        notes = [*notes, *(f"not evaluated: {one.reason}" for one in failed.values())]
        facts = _facts(models, card, settings, arguments, results)
        summary = _write(out, card, facts, results, against, notes)
        print(_last_screen(results, notes, out / "report.html"), file=say)
        if arguments.json:
            print(json.dumps(summary))
        if against:
            print(f"  {compare(results, against).text()}", file=say)
    if failed:
        first = next(iter(failed.values()))
        raise InputError(first.reason + _others(len(failed) - 1, len(results)))
    return 0


def _with_live(
    result: BagResult, job: BagJob, live: Live | None, arguments: argparse.Namespace
) -> BagResult:
    if live is None:
        raise InputError("--live: run the installed command evaluate_bag, which has the nodes")
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = live(result, job, arguments.live, arguments.out)
    return replace(result, live=found)


def _write(
    out: Path,
    card: ModelCard,
    facts: Mapping[str, str],
    results: Sequence[BagResult],
    against: Sequence[BagResult],
    notes: Sequence[str],
) -> dict[str, object]:
    """Report, figures and predictions; what report.json says."""
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    title = f"{card.name} on {results[0].name}"
    if len(results) > 1:
        title = f"{card.name} on {len(results)} bags"
    write_page(out / "report.html", bag_page(title, typed, results, facts, notes, against))
    summary = bag_summary(typed, results, facts, notes, against)
    with written(out / "report.json") as part:
        part.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    write_predictions(out / "predictions.csv", results)
    if against:
        write_predictions(out / "predictions_against.csv", against)
    return summary


def _facts(
    models: Sequence[Path],
    card: ModelCard,
    settings: Mapping[str, float],
    arguments: argparse.Namespace,
    results: Sequence[BagResult],
) -> dict[str, str]:
    period = SECOND / card.clip.period
    facts = {
        "bags": ", ".join(str(one.path) for one in results),
        "topics": "; ".join(sorted({one.source.text() for one in results})),
        "model": f"{models[0]}: {card.name} ({card.architecture}, {card.task}), "
        f"{len(card.classes)} classes; windows of {card.clip.frames} frames at {period:g} Hz, "
        f"{card.preprocess.points} points a frame",
        "how": "offline, in bag time: every cloud goes through the pipeline that the node runs",
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), Python "
        f"{platform.python_version()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }
    if settings:
        facts["settings"] = ", ".join(
            f"{name} {value if isinstance(value, bool) else format(value, 'g')}"
            for name, value in settings.items()
        )
    for group in _GROUPS:
        if told := group.given(arguments):
            facts[group.title] = ", ".join(f"{name} {value}" for name, value in told.items())
    if len(models) > 1:
        facts["against"] = str(models[1])
    return facts


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of the ROS distribution"


def _last_screen(results: Sequence[BagResult], notes: Sequence[str], page: Path) -> str:
    everything = [*notes, *(note for one in results for note in one.notes)]
    lines = [f"  {note}" for note in everything[:_SHOWN_NOTES]]
    if len(everything) > _SHOWN_NOTES:
        lines.append(f"  and {len(everything) - _SHOWN_NOTES} more such lines, in the report")
    lines += [f"  {one.name}: {one.live.text()}" for one in results if one.live]
    tiles = bag_tiles(bag_figures(results), results[0].task)
    lines += ["", *(f"  {meaning:<26}{figure:>10}   {over}" for figure, meaning, over in tiles)]
    return "\n".join([*lines, "", f"  the report: {page}"])


def _others(failed: int, evaluated: int) -> str:
    """What else there is to say after the first bag that failed."""
    more = f"; {failed} other bags failed too" if failed else ""
    return more + (f" ({evaluated} bags were evaluated)" if evaluated else "")


def _check_vlm(config: VlmConfig, models: Sequence[Path], arguments: argparse.Namespace) -> None:
    """Raises InputError where something is asked of an X-CLIP that is not given, or of models that
    were not aligned with any."""
    told = {**_VLM.given(arguments), **_PAIR.given(arguments)}
    if told and not config.video_text_model:
        raise InputError(
            f"{_option(next(iter(told)))}: X-CLIP is asked for with --video-text-model, the folder "
            "that the model was aligned with; give it, too"
        )
    for model in models if config.video_text_model else ():
        if read_card(model).architecture != "aligned":
            raise InputError(
                f"--video-text-model: {model} was not aligned with images and texts; take "
                "checkpoints of training/align.py"
            )
    for text in config.prompts:
        if os.path.isfile(text) or os.path.isfile(os.path.join(text, "metadata.yaml")):
            raise InputError(f"--prompts: '{text}' is a bag: give the bags before the prompts")


def _check_comparable(models: Sequence[Path]) -> None:
    cards = [read_card(model) for model in models]
    tasks = [card.task for card in cards]
    if len(set(tasks)) > 1:
        raise InputError(
            f"--against {models[1]}: expected two models of one task; got {tasks[0]} and {tasks[1]}"
        )
    if tasks[0] == "semantic_segmentation" and cards[0].classes != cards[-1].classes:
        raise InputError(
            f"--against {models[1]}: labels points as {', '.join(cards[1].classes)}; {models[0]} "
            f"as {', '.join(cards[0].classes)}: expected the same classes"
        )


def _copy_of(bag: Path, out: Path) -> Path:
    return out / f"{bag.stem}_with_predictions"


def _different(bags: Sequence[Path]) -> list[Path]:
    """Nothing is counted twice. Raises InputError where a bag is given twice."""
    seen: dict[Path, Path] = {}
    for bag in bags:
        if bag.resolve() in seen:
            raise InputError(f"{bag}: the same bag as {seen[bag.resolve()]}; give it once")
        seen[bag.resolve()] = bag
    return list(bags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate_bag",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bags", nargs="+", type=Path, metavar="BAG", help="bags to run it on")
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="a .safetensors checkpoint"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="another checkpoint, to compare with"
    )
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument("--labels", type=Path, metavar="CSV", help="the truth: what is done when")
    truth.add_argument(
        "--labels-topic", metavar="TOPIC",
        help="the truth as a topic of the bag: a std_msgs/String, or a vision_msgs/Classification, "
        "whose label holds until another one comes; an empty one ends it",
    )  # fmt: skip
    parser.add_argument("--points", metavar="TOPIC", help="the clouds, where there are several")
    parser.add_argument("--depth", metavar="TOPIC", help="depth images in place of clouds")
    parser.add_argument(
        "--camera-info", metavar="TOPIC", help="of the depth images (default: beside them)"
    )
    parser.add_argument(
        "--image",
        metavar="TOPIC",
        help="the colour images: for the report's pictures, and for X-CLIP",
    )
    for name, entry in _SETTINGS.items():
        if entry.type is bool:
            parser.add_argument(
                _option(name), action="store_const", const=True, help=entry.parameter.description
            )
            continue
        kind, unit = ("N", "") if entry.type is int else ("X", f", {entry.parameter.unit}")
        parser.add_argument(
            _option(name), type=partial(_setting, entry), metavar=kind,
            help=f"{entry.parameter.description}{unit} (default: the node's)",
        )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("out/evaluate_bag"), metavar="DIR",
        help="folder for report.html, report.json, predictions.csv (default out/evaluate_bag)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=counting, default=1, metavar="N", help="bags at once (default 1)"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS",
        help="bags on the workers of a Dask cluster, by its scheduler's address",
    )  # fmt: skip
    parser.add_argument(
        "--write-bag", action="store_true",
        help="write each bag again, with the predictions as topics, into DIR",
    )  # fmt: skip
    parser.add_argument(
        "--live", type=_pace, nargs="?", const=Pace(), metavar="RATE",
        help="play each bag over DDS to the live node as well, and state the difference; RATE: the "
        "pace, 0.5 is half (default 1), or 'wait': no faster than the node answers",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print report.json at the end")
    for group in _GROUPS:
        group.add(parser)
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _setting(entry: Entry, text: str) -> Any:
    try:
        return check(entry.type(text), entry.type, entry.parameter, entry.name)
    except (ValueError, ConfigError):
        allowed = range_text(entry.parameter)
        kind = "a whole number" if entry.type is int else "a number"
        raise argparse.ArgumentTypeError(f"expected {kind}, {allowed}; got {text}") from None


def _settings(arguments: argparse.Namespace, card: ModelCard) -> dict[str, Any]:
    """What the command line says otherwise than the node. Raises InputError where the model's
    pipeline has no such setting."""
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    known = {entry.name for entry in entries(settings_of(card))}
    for name, value in given.items():
        if value is not None and name not in known:
            raise InputError(
                f"{_option(name)}: {card.name} is a model for {card.task}, which has no such "
                "setting; leave it out"
            )
    return {name: value for name, value in given.items() if value is not None}


def _pace(text: str) -> Pace:
    return Pace(waits=True) if text == "wait" else Pace(positive(text))


if __name__ == "__main__":
    sys.exit(main())
