"""Coverage-guided fuzzing (atheris) of what reads bytes from others: messages and checkpoints.

pip install atheris
python benchmarks/fuzz_readers.py --seconds 600 --results results/fuzz_readers.json

Each reader runs for that long in a process of its own. It may raise its own error, which becomes a
line for the user, and nothing else; what it returns is held against what the bytes say. An input
that breaks it is kept, and the command to run it again is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
import shlex
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "test")]

from benchmarks.results_file import write_result
from fourd_perception.errors import InputError, command
from fourd_perception.tools.arguments import counting

_MEMORY_MB = 2048
"""A reader that takes more is broken: no input is larger than a few kilobytes."""
_WORDS = (
    "fourd_perception", "__metadata__", "dtype", "shape", "data_offsets", "F16", "F32", "I64",
    "classes", "clip", "frames", "frame_step", "rate", "preprocess", "points", "model", "layers",
    "radius", "neighbours", "temporal_kernel", "temporal_padding", "architecture", "task", "1e999",
    "NaN", "18446744073709551615", "im_pstnet",
)  # fmt: skip


class Broken(Exception):
    """A reader gave what its input does not say."""


def cloud(data: Any) -> None:
    """clouds.from_message and labels_of on a message whose every attribute is fuzzed."""
    from fourd_perception.messages import clouds
    from fourd_perception.messages.point_labels import labels_of

    fields = [
        clouds.Field(
            data.PickValueInList(["x", "y", "z", "label", "rgb", ""]), _size(data),
            data.ConsumeIntInRange(0, 9), data.PickValueInList([1, 1, 1, 0, 2, 2**32 - 1]),
        )
        for _ in range(data.ConsumeIntInRange(0, 6))
    ]  # fmt: skip
    if data.ConsumeBool():  # most of the others end at the first check
        step = data.PickValueInList([4, 8])
        kind = 7 if step == 4 else 8
        fields += [clouds.Field(axis, step * place, kind) for place, axis in enumerate("xyz")]
    height, width = _size(data), _size(data)
    point_step, row_step = _size(data), _size(data)
    big = data.ConsumeBool()
    content = data.ConsumeBytes(data.remaining_bytes())
    message = clouds.CloudLayout(
        height, width, tuple(fields), point_step, row_step, content, False, big
    )
    with contextlib.suppress(clouds.BadCloud):
        points = clouds.from_message(message)
        if points.shape != (height * width, 3) or str(points.dtype) != "float32":
            raise Broken(f"{points.shape} {points.dtype} for {height} x {width}")
        if len(points):
            _check_first_point(message, points[0])
    with contextlib.suppress(clouds.BadCloud):
        labels = labels_of(message)
        if labels is not None and labels.shape != (height * width,):
            raise Broken(f"{labels.shape} labels for {height} x {width}")


def _size(data: Any) -> int:
    """A size as drivers have them, and as nobody has."""
    odd = data.PickValueInList([0, 1, 2, 4, 12, 16, 255, 2**16, 2**31, 2**32 - 1, -1])
    return data.ConsumeIntInRange(0, 40) if data.ConsumeBool() else odd


def _check_first_point(message: Any, point: Any) -> None:
    for axis, got in zip("xyz", point.tolist()):
        field = next(one for one in message.fields if one.name == axis)
        order = ">" if message.is_bigendian else "<"
        kind = "f" if field.datatype == 7 else "d"
        (wanted,) = struct.unpack_from(order + kind, message.data, field.offset)
        if not math.isfinite(wanted) or abs(wanted) > 3.4028235e38:
            wanted = math.nan
        same = (
            math.isnan(got)
            if math.isnan(wanted)
            else math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-37)
        )
        if not same:
            raise Broken(f"{axis} is {got}, the bytes say {wanted}")


def image(data: Any) -> None:
    """The readers of Image, raw, as depth, and compressed."""
    from fourd_perception.messages import images
    from fourd_perception.messages.depth_images import DepthReader
    from fourd_perception.messages.reading import BadMessage

    encodings = ["16UC1", "32FC1", "rgb8", "bgr16", "mono8", "yuyv", "uyvy", "8UC4", "bayer_rggb8"]
    height, width = _size(data), _size(data)
    message = SimpleNamespace(
        encoding=data.PickValueInList(encodings), height=height, width=width, step=_size(data),
        is_bigendian=data.ConsumeBool(),
        format=data.PickValueInList(["jpeg", "rgb8; png compressed bgr8"]),
    )  # fmt: skip
    info = SimpleNamespace(
        height=_size(data), width=_size(data), distortion_model="plumb_bob",
        d=[data.ConsumeFloat() for _ in range(data.ConsumeIntInRange(0, 6))],
        k=[data.ConsumeFloat() for _ in range(9)], p=[data.ConsumeFloat() for _ in range(12)],
        binning_x=data.ConsumeIntInRange(0, 4), binning_y=data.ConsumeIntInRange(0, 4),
        roi=SimpleNamespace(x_offset=_size(data), y_offset=0, height=_size(data), width=_size(data),
                            do_rectify=False),
    )  # fmt: skip
    message.data = data.ConsumeBytes(data.remaining_bytes())
    with contextlib.suppress(BadMessage):
        found = images.from_message(message)
        if found.shape != (height, width, 3):
            raise Broken(f"{found.shape} for {height} x {width}")
    with contextlib.suppress(BadMessage):
        points = DepthReader().points(message, info)
        if points.shape != (height * width, 3):
            raise Broken(f"{points.shape} points for {height} x {width}")
    with contextlib.suppress(BadMessage):
        images.compressed_from_message(message)


def checkpoint(data: Any) -> None:
    """checkpoint.load on a file: its bytes fuzzed, or its card with good weights behind it."""
    from fourd_perception import checkpoint, weights_file

    path = _scratch() / "fuzzed.safetensors"
    good, state = _good_file()
    way = data.ConsumeIntInRange(0, 2)
    if way == 0:  # any bytes
        path.write_bytes(data.ConsumeBytes(data.remaining_bytes()))
    elif way == 1:  # a good file with other bytes somewhere
        content = bytearray(good)
        while data.remaining_bytes():
            at = data.ConsumeIntInRange(0, len(content) - 1)
            content[at] = data.ConsumeIntInRange(0, 255)
        path.write_bytes(content)
    else:  # any card
        text = data.ConsumeBytes(data.remaining_bytes()).decode("utf-8", "replace")
        path.write_bytes(weights_file.serialize(dict(state), {checkpoint.METADATA_KEY: text}))
    with contextlib.suppress(InputError):
        loaded = checkpoint.load(path)
        if any(one.is_meta for one in loaded.model.state_dict().values()):
            raise Broken("a weight of a loaded model is not there")


def _good_file(known: dict[str, Any] = {}) -> tuple[bytes, Any]:  # noqa: B006 - made once
    if not known:
        import small_model
        from safetensors.torch import load

        path = small_model.save(_scratch() / "good.safetensors")
        known |= {"bytes": path.read_bytes(), "state": load(path.read_bytes())}
    return known["bytes"], known["state"]


def _scratch(known: list[Path] = []) -> Path:  # noqa: B006 - made once
    if not known:
        memory = Path("/dev/shm")
        known.append(Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None)))
    return known[0]


TARGETS: dict[str, Callable[[Any], None]] = {
    "cloud": cloud, "image": image, "checkpoint": checkpoint,
}  # fmt: skip


def _fuzz(target: str, options: Sequence[str]) -> None:
    """Run libFuzzer on a target in this process, which it ends."""
    try:
        import atheris
    except ImportError as error:
        raise InputError(f"fuzzing needs atheris ({error}): pip install atheris") from None
    with atheris.instrument_imports(include=["fourd_perception"], enable_loader_override=False):
        import fourd_perception.checkpoint
        import fourd_perception.messages.depth_images
        import fourd_perception.messages.point_labels  # noqa: F401

    def once(content: bytes) -> None:
        TARGETS[target](atheris.FuzzedDataProvider(content))

    atheris.Setup([sys.argv[0], *options], once)
    atheris.Fuzz()


def _seeds(target: str, folder: Path) -> None:
    """What the fuzzer begins with: for checkpoints a good card, where its bytes say "a card"."""
    if target == "checkpoint":
        header = _good_file()[0]
        (length,) = struct.unpack("<Q", header[:8])
        card = json.loads(header[8 : 8 + length])["__metadata__"]["fourd_perception"]
        (folder / "card").write_bytes(card.encode() + b"\x02")  # integers are taken from the end
        (folder / "file").write_bytes(header + b"\x00")
    (folder / "empty").write_bytes(b"\0")


def _run(target: str, seconds: int, folder: Path) -> dict[str, float]:
    """Fuzz a target; its figures. Raises InputError where it broke."""
    corpus = folder / target
    corpus.mkdir()
    _seeds(target, corpus)
    words = folder / f"{target}.dict"
    words.write_text("\n".join(f'"{word}"' for word in _WORDS) + "\n")
    options = [
        f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=6000", "-timeout=20",
        f"-rss_limit_mb={_MEMORY_MB}", f"-dict={words}", f"-artifact_prefix={folder}/",
    ]  # fmt: skip
    again = [sys.executable, __file__, "--run", target, "--"]
    done = subprocess.run(
        [*again, *options, str(corpus)], capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    broken = re.search(r"Test unit written to (\S+)", done.stderr)
    if done.returncode or broken:
        print(done.stderr[-4000:], file=sys.stderr)
        kept = shlex.join([*again, broken[1]]) if broken else f"exit code {done.returncode}"
        raise InputError(f"the reader of a {target} broke: {kept}")
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    if not (runs and peak and covered):
        raise InputError(f"the fuzzer of a {target} said nothing: {done.stderr[-300:]}")
    return {
        f"{target}_inputs": int(runs[1]),
        f"{target}_branches_reached": int(covered[-1]),
        f"{target}_largest_rss_mb": int(peak[1]),
        f"{target}_broken": 0,
    }


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=counting, default=600, help="for each (default 600)")
    parser.add_argument("--targets", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--results", type=Path, metavar="FILE", help="where to put the figures")
    parser.add_argument("--run", choices=sorted(TARGETS), help=argparse.SUPPRESS)
    given, options = parser.parse_known_args()
    if given.run:
        _fuzz(given.run, [one for one in options if one != "--"])
        return 0
    folder = Path(tempfile.mkdtemp(prefix="fuzz_readers_"))
    figures: dict[str, float] = {"seconds_each": given.seconds}
    for target in given.targets:
        found = _run(target, given.seconds, folder)
        print(", ".join(f"{name} {value}" for name, value in found.items()), flush=True)
        figures |= found
    if given.results:
        write_result(
            given.results, "fuzz_readers",
            shlex.join(["python", "benchmarks/fuzz_readers.py", *sys.argv[1:]]),
            "bytes that atheris makes, of up to 6000, from a good card and file, and from nothing",
            "each reader in a process of its own for `seconds_each`, one after the other; broken: "
            "inputs on which it raised another error than its own, returned what the bytes do not "
            f"say, took 20 s, or {_MEMORY_MB} MB",
            [], figures,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
