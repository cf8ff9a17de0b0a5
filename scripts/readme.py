"""Write the generated parts of README.md and docs/: parameters from code, figures from results/.

python scripts/readme.py          bring them up to date
python scripts/readme.py --check  only say whether they are; exit code 1 if not

A block stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`, in one of the files.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fourd_perception.checkpoint import read_card  # noqa: E402
from fourd_perception.models import ARCHITECTURES, architecture, build  # noqa: E402
from fourd_perception.nodes.recognizer import RecognizerParameters  # noqa: E402
from fourd_perception.nodes.segmenter import SegmenterParameters  # noqa: E402
from fourd_perception.parameters import load_yaml, markdown_table, to_mapping  # noqa: E402
from fourd_perception.stream.frame import SECOND  # noqa: E402
from fourd_perception.whole_file import written  # noqa: E402
from scripts import training_tables  # noqa: E402

_CLASSES = 20  # those that a model is counted with


def figures() -> str:
    """Every file in results/, a row each: what was measured, on what, and how to do it again."""
    rows = ["| result | figures | measured on | command |", "| --- | --- | --- | --- |"]
    for path in sorted((ROOT / "results").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        numbers = [
            f"`{name}` {_number(value)}"
            for name, value in result["figures"].items()
            if isinstance(value, (int, float))
        ]
        if path.stem in ("bench", "bench_gpu"):
            numbers = ["see *How it is fast*"]
        data = result["data"].replace("|", "/")
        rows.append(
            f"| [{path.stem}](results/{path.name}) | {', '.join(numbers)} | {data} "
            f"| `{result['command']}` |"
        )
    return "\n".join(rows)


def speed() -> str:
    """What `make bench` measured on a CPU."""
    return _speed("bench")


def speed_gpu() -> str:
    """What it measured on a GPU."""
    return _speed("bench_gpu")


def _speed(stem: str) -> str:
    """Ours, what it is held against, and how many times as long."""
    result = json.loads((ROOT / "results" / f"{stem}.json").read_text(encoding="utf-8"))
    rows = ["| measured | ours | held against | ratio |", "| --- | --- | --- | --- |"]
    for name, item in result["figures"]["items"].items():
        ours = f"{_time(item['ours_ms']['median'])}"
        if "theirs" not in item:
            rows.append(f"| `{name}` | {ours} | | |")
            continue
        theirs = f"{item['theirs']}: {_time(item['theirs_ms']['median'])}"
        rows.append(f"| `{name}` | {ours} | {theirs} | {item['ratio']:.3g} |")
    for name, sides in result["figures"].get("memory_mb", {}).items():
        ratio = sides["theirs"] / sides["ours"]
        rows.append(
            f"| `{name}` | {sides['ours']:.0f} MB | textbook: {sides['theirs']:.0f} MB "
            f"| {ratio:.3g} |"
        )
    machine = result["machine"]
    where = machine["gpu"] or f"{machine['cores']} cores of an {machine['cpu']}"
    return "\n".join(rows) + (
        f"\n\nMedians on {where}, float32, PyTorch {machine['torch']}; {result['protocol']}."
    )


def models() -> str:
    """Every checkpoint in models/, from its own card."""
    rows = [
        "| model | classes | clip | points | trained on | measured (%) | size |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in sorted((ROOT / "models").glob("*.safetensors")):
        card = read_card(path)
        measured = ", ".join(
            f"{name.replace('_', ' ')} {value:g}" for name, value in card.accuracy.items()
        )
        trained = card.trained_on
        rows.append(
            f"| [`{path.name}`](models/{path.name}) | {len(card.classes)} | {card.clip.frames} "
            f"frames at {SECOND / card.clip.period:g} Hz | "
            f"{card.preprocess.points} | {trained.get('dataset')}, {trained.get('videos')} videos "
            f"| {measured} | {path.stat().st_size / 1e6:.1f} MB |"
        )
    return "\n".join(rows)


def encoders() -> str:
    """Every table of sizes in config/models/, as its own comment describes it."""
    rows = [
        f"| sizes | name | what it is | parameters, {_CLASSES} classes |",
        "| --- | --- | --- | --- |",
    ]
    for path in sorted((ROOT / "config" / "models").glob("*.yaml")):
        if path.stem.startswith(("image_video", "xclip_video")):  # they see images
            continue
        fitting = [name for name in ARCHITECTURES if path.stem.startswith(name)]
        name = max(fitting, key=len)
        comment = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.removeprefix("#").strip())
        described = " ".join(comment).partition(". ")[0].rstrip(".")
        config = to_mapping(load_yaml(architecture(name).config, path))
        with torch.device("meta"):
            model = build(name, config, _CLASSES)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        rows.append(
            f"| [`{path.name}`](config/models/{path.name}) | `{name}` | {described} "
            f"| {millions:.2f} M |"
        )
    return "\n".join(rows)


_LOOKS = {
    "cut_out": "the person cut out, by the truth",
    "nothing": "the whole room",
    "box": "`crop_box` around the person's place, in the room's frame",
    "background": "`background_seconds: 3`",
    "background_nearest": "`background_seconds: 3`, `person: nearest`",
}


def where_to_look() -> str:
    """What the studio's models say of whole rooms, by what they are shown of them."""
    result = json.loads((ROOT / "results" / "where_to_look.json").read_text(encoding="utf-8"))
    found = result["figures"]
    rows = [
        "| what is shown | windows | frames | windows, somebody walks behind | frames, likewise "
        "| ms a frame of 640x480 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, text in _LOOKS.items():
        columns = [
            found.get(f"{kind}_{name}{end}") for end in ("", "_passer_by")
            for kind in ("windows", "frames")
        ] + [found.get(f"{name}_frame_p50_ms")]  # fmt: skip
        cells = ("" if value is None else _number(value) for value in columns)
        rows.append(f"| {text} | {' | '.join(cells)} |")
    absorbed = [found[f"{kind}_background_nearest_never_empty"] for kind in ("windows", "frames")]
    return "\n".join(rows) + (
        f"\n\n{len(result['seeds'])} people and rooms; `studio.safetensors` on windows, "
        "`studio_actions.safetensors` on frames. With the person in view while the background is "
        f"learnt, the last row falls to {_number(absorbed[0])} and {_number(absorbed[1])}."
    )


def several_people() -> str:
    """What is said of several people at once, and what it costs."""
    result = json.loads((ROOT / "results" / "where_to_look.json").read_text(encoding="utf-8"))
    found = result["figures"]
    rows = [
        "| in the room | right windows | windows answered | times somebody got a new number "
        "| ms a frame of 640x480 | ms a window of all |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, text, people in (
        ("crossing", "one, `people: 2`, and somebody walks behind", None),
        ("two_people", "two, `people: 2`", 2),
        ("three_people", "three, `people: 3`", 3),
    ):
        columns = [found[f"{name}_{what}"] for what in ("right", "answered", "switches")]
        if people:
            columns += [found[f"people_{people}_{what}_p50_ms"] for what in ("frame", "window")]
        cells = [*map(_number, columns), "", ""][:5]
        rows.append(f"| {text} | {' | '.join(cells)} |")
    alone = [_number(found[f"people_1_{what}_p50_ms"]) for what in ("frame", "window")]
    rooms = len(result["beside"]["several people"]["seeds"])
    return "\n".join(rows) + (
        f"\n\n{rooms} rooms each; one of three people, followed alone, takes {alone[0]} and "
        f"{alone[1]} ms. Who walks to and fro behind, hidden at every pass, had "
        f"{_number(found['crossing_strangers'])} numbers in the {rooms} rooms, where {rooms} would "
        "be right."
    )


def closer_look() -> str:
    """Mean IoU by one look and by two, and what the second costs."""
    one, two, live = (
        json.loads((ROOT / "results" / f"{stem}.json").read_text(encoding="utf-8"))["figures"]
        for stem in ("segmenter_studio", "segmenter_closer_look", "closer_look")
    )
    rows = [
        "| `studio_points`, mean IoU (%) | the person cut out | rooms, 8192 points of a cloud "
        "| rooms, 640x480 points, live | time of a frame |",
        "| --- | --- | --- | --- | --- |",
    ]
    for text, *columns in (
        ("one look", one["miou_person"], one["miou_room"], live["one_look_miou"], 1),
        ("one look, `sample_points: 8192`", None, one["miou_room_8192_points"], None, None),
        (
            "`closer_look: true`",
            two["miou_person"], two["miou_room"], live["two_looks_miou"], live["ratio"],
        ),
    ):  # fmt: skip
        cells = ("" if value is None else _number(value) for value in columns)
        rows.append(f"| {text} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n\nSimulated people and rooms of seeds that no training uses."


def parameters() -> str:
    """The recognizer's parameters."""
    return markdown_table(RecognizerParameters)


def segmenter_parameters() -> str:
    """The segmenter's."""
    return markdown_table(SegmenterParameters)


def soak() -> str:
    """Every fault of the soak: how often, what the node did, how soon its answers were right."""
    result = json.loads((ROOT / "results" / "soak.json").read_text(encoding="utf-8"))
    figures = result["figures"]
    rows = [
        "| fault | times | the node | answers are right again after |",
        "| --- | --- | --- | --- |",
    ]
    for name, fault in figures["faults"].items():
        median, worst = fault["recovered_median_s"], fault["recovered_worst_s"]
        after = f"{median:g} s (at worst {worst:g} s)" if worst else "none was other"
        rows.append(f"| {name} | {fault['injected']} | {fault['node']} | {after} |")
    rows.append(
        f"| kill -9, and started again | | is configured and active by itself | "
        f"{figures['restart_after_kill_median_s']:.1f} s of real time (at worst "
        f"{figures['restart_after_kill_worst_s']:.1f} s) to be active |"
    )
    return "\n".join(rows) + (
        f"\n\n{figures['bag_minutes']:g} minutes of bag time at "
        f"{figures['times_real_time']:g} times real time; "
        f"{figures['answers_as_in_the_clean_run']:,} answers whose window saw no fault, of which "
        f"{figures['other_answers']} differ by a bit from those of a run without faults and "
        f"{figures['answers_missing']} are missing; memory grew by "
        f"{figures['rss_largest_growth_percent']:g} % at most after the first minute."
    )


def launch_arguments() -> str:
    """What the launch file declares, from its syntax tree: launch need not be installed."""
    rows = ["| argument | default | meaning |", "| --- | --- | --- |"]
    path = ROOT / "launch" / "recognizer.launch.py"
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "DeclareLaunchArgument":
            given = {one.arg: one.value for one in call.keywords}
            name, meaning = ast.literal_eval(call.args[0]), ast.literal_eval(given["description"])
            default = given["default_value"]
            if isinstance(default, ast.Constant):
                shown = f"`{default.value}`" if default.value else ""
            else:  # str(CONFIG / "name")
                files = [one.value for one in ast.walk(default) if isinstance(one, ast.Constant)]
                shown = f"`config/{files[0]}`"
            rows.append(f"| `{name}` | {shown} | {meaning} |")
    return "\n".join(rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "ablation": partial(training_tables.ablation, ROOT / "results"),
    "closer_look": closer_look,
    "data_efficiency": partial(training_tables.data_efficiency, ROOT / "results"),
    "data_efficiency_otherwise": partial(
        training_tables.data_efficiency_otherwise, ROOT / "results"
    ),
    "encoders": encoders,
    "speed": speed,
    "speed_gpu": speed_gpu,
    "figures": figures,
    "holdout": partial(training_tables.holdout, ROOT / "results"),
    "labelled_people": partial(training_tables.labelled_people, ROOT / "results"),
    "ladder": partial(training_tables.ladder, ROOT / "results"),
    "launch_arguments": launch_arguments,
    "models": models,
    "msr_action3d": partial(training_tables.msr_action3d, ROOT / "results"),
    "parameters": parameters,
    "soak": soak,
    "segmenter_parameters": segmenter_parameters,
    "several_people": several_people,
    "warm_up": partial(training_tables.warm_up, ROOT / "results"),
    "where_to_look": where_to_look,
}


def render(texts: Mapping[Path, str]) -> dict[Path, str]:
    """The files with every block between its markers made anew. texts: by their paths.

    Raises SystemExit where a block is in none of them.
    """
    made = dict(texts)
    for name, make in BLOCKS.items():
        pattern = rf"<!-- generated: {name} -->\n.*?<!-- end: {name} -->"
        homes = [path for path, text in texts.items() if re.search(pattern, text, re.DOTALL)]
        if not homes:
            raise SystemExit(f"README.md, docs/: the markers of the block '{name}' are missing")
        block = make() + "\n"
        for path in homes:
            up = "../" * (len(path.relative_to(ROOT).parts) - 1)
            own = re.sub(r"\]\((?!https?:|#)", "](" + up, block)
            before, after = re.split(pattern, made[path], flags=re.DOTALL)
            made[path] = f"{before}<!-- generated: {name} -->\n{own}<!-- end: {name} -->{after}"
    return made


def _time(milliseconds: float) -> str:
    """Three digits that matter."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write the generated parts of README.md and docs/")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    arguments = parser.parse_args()
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    old = {path: path.read_text(encoding="utf-8") for path in paths}
    new = render(old)
    changed = [path for path in paths if new[path] != old[path]]
    if arguments.check:
        for path in changed:
            name = path.relative_to(ROOT)
            print(f"{name} is not up to date: run python scripts/readme.py", file=sys.stderr)
        return int(bool(changed))
    for path in changed:
        with written(path) as part:
            part.write_text(new[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
