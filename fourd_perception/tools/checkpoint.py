"""Look into a checkpoint, or make one of the weights of a public repository."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError, command
from fourd_perception.models import upstream
from fourd_perception.parameters import from_mapping, load_yaml, to_mapping
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from fourd_perception.tools.arguments import counting, positive

_MOST_CLASSES = 100_000
_EXAMPLES = """\
examples:
  checkpoint show models/studio.safetensors
  checkpoint convert ntu60.pth out/pstnet_ntu60.safetensors --architecture pstnet \\
      --config config/models/pstnet_ntu.yaml --classes 60 \\
      --frames 23 --frame-step 2 --points 2048 --unit-scale 1.526

The units are the model's: PSTNet's NTU clouds are in 0.65535 m (--unit-scale 1.526), the
MSR-Action3D clouds of all of them in 1.56 m (--unit-scale 0.641), HOI4D's in metres. A radius in
the wrong unit ruins a model without a word. --classes takes a number, or a file of names, one a
line."""


@command
def main() -> int:
    """The entry point `checkpoint`."""
    arguments = _parser().parse_args()
    if arguments.verb == "show":
        return _show(arguments.file, arguments.json)
    return _convert(arguments)


def _show(path: Path, as_json: bool) -> int:
    card = to_mapping(checkpoint.read_card(path))
    text = json.dumps(card) if as_json else yaml.safe_dump(card, sort_keys=False, width=100)
    print(text.rstrip())
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    if arguments.out.exists() and not arguments.force:
        raise InputError(f"{arguments.out}: exists; give another name, or --force to replace it")
    kind = models.architecture(arguments.architecture)
    config = to_mapping(load_yaml(kind.config, arguments.config)) | {"compat": arguments.compat}
    if config.get("position") == "place_then_time":
        config["position"] = "place_and_time"  # as the public code has it; the shapes are the same
    classes = _classes(arguments.classes)
    model = models.build(arguments.architecture, config, len(classes))
    clip = {"frames": arguments.frames, "frame_step": arguments.frame_step, "rate": arguments.rate}
    sampling = {"points": arguments.points, "unit_scale": arguments.unit_scale}
    card = checkpoint.ModelCard(
        name=arguments.name or arguments.out.stem,
        architecture=arguments.architecture,
        task=model.task,
        classes=classes,
        model=config,
        clip=from_mapping(ClipConfig, clip, "checkpoint: options"),
        preprocess=from_mapping(PreprocessConfig, sampling, "checkpoint: options"),
        trained_on={"converted_from": arguments.file.name},
        accuracy={},
    )
    model.check_input(card.clip.frames, card.preprocess.points)
    try:
        weights = upstream.read(arguments.file)
        state = upstream.convert(arguments.architecture, weights, model.state_dict())
    except upstream.UpstreamError as error:
        raise InputError(f"{arguments.file}: {error}") from None
    model.load_state_dict(state)
    checkpoint.save(arguments.out, model, card, half=False)
    summary = {
        "path": str(arguments.out),
        "architecture": arguments.architecture,
        "classes": len(classes),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "megabytes": round(arguments.out.stat().st_size / 1e6, 1),
    }
    if arguments.json:
        print(json.dumps(summary))
    else:
        print(
            f"{arguments.out}: {arguments.architecture}, {len(classes)} classes, "
            f"{summary['parameters']:,} parameters, {summary['megabytes']} MB"
        )
    return 0


def _classes(text: str) -> tuple[str, ...]:
    """Names from a file, or class_0, class_1, ... for a number."""
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= _MOST_CLASSES:
            raise InputError(f"--classes: expected 1 to {_MOST_CLASSES}, got {text}")
        return tuple(f"class_{number}" for number in range(int(text)))
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--classes {text}: neither a number nor a text file that can be read ({error})"
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) != len(names):
        raise InputError(
            f"--classes {text}: expected different names, one a line, got {len(names)}"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name,
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show | convert")
    show = verbs.add_parser("show", help="print what a checkpoint says of itself")
    show.add_argument("file", type=Path, help="a .safetensors checkpoint")
    show.add_argument("--json", action="store_true", help="one line of JSON")
    convert = verbs.add_parser(
        "convert", help="a .pth of the public PSTNet, P4Transformer, PST-Transformer or PPTr code"
    )
    convert.add_argument("file", type=Path, help="the .pth; only its tensors are read, no code")
    convert.add_argument("out", type=Path, help="the .safetensors checkpoint to write")
    convertible: Sequence[str] = sorted(upstream.ARCHITECTURES)
    convert.add_argument("--architecture", required=True, choices=convertible)
    convert.add_argument(
        "--config",
        type=Path,
        required=True,
        help="its sizes, such as config/models/pstnet_ntu.yaml",
    )
    convert.add_argument("--classes", required=True, help="how many, or a file with a name a line")
    convert.add_argument("--frames", type=counting, required=True, help="frames in a clip")
    convert.add_argument("--points", type=counting, required=True, help="points in a frame")
    convert.add_argument("--unit-scale", type=positive, required=True, help="its units in a metre")
    convert.add_argument("--frame-step", type=counting, default=1, help="every n-th frame (1)")
    convert.add_argument("--rate", type=positive, default=30.0, help="of its camera, in Hz (30)")
    convert.add_argument("--name", default="", help="of the model (the file's)")
    convert.add_argument(
        "--compat", action=argparse.BooleanOptionalAction, default=True,
        help="sample as the public CUDA code does: no points near the origin (yes)",
    )  # fmt: skip
    convert.add_argument("--force", action="store_true", help="replace an existing file")
    convert.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
