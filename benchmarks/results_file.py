"""The one way a measured figure gets into `results/`: with what is needed to measure it again."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fourd_perception.errors import InputError
from fourd_perception.whole_file import written

_ROOT = Path(__file__).resolve().parent.parent
_GIB = 1 << 30


def write_result(
    path: str | Path,
    name: str,
    command: str,
    data: str,
    protocol: str,
    seeds: Sequence[int],
    figures: Mapping[str, Any],
    *,
    beside: bool = False,
) -> None:
    """Write one JSON document to `path`, whole or not at all.

    command: what to type in the checkout to get it again. data, protocol: what was measured on,
    and how. seeds: every seed that was used; empty where nothing is random. figures: names with
    their unit (`latency_p99_ms`) to finite numbers, or to lists or mappings of them. The commit,
    the date and the machine are filled in. beside: leave in a file what it has, and put the figures
    beside its own; how they were come by goes under "beside" and their name. Raises ValueError on a
    figure that is not finite.
    """
    path = Path(path)
    document: dict[str, Any] = {
        "name": name,
        "command": command,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "data": data,
        "protocol": protocol,
        "seeds": list(seeds),
        "machine": machine(),
        "figures": dict(figures),
    }
    if beside and path.exists():
        document = _joined(json.loads(path.read_text(encoding="utf-8")), document)
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def _joined(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The first document with the other's figures; an older one of its name makes room."""
    known = {**first.get("beside", {})}
    if first["name"] == other["name"]:
        theirs = {figure for one in known.values() for figure in one["figures"]}
        kept = {name: value for name, value in first["figures"].items() if name in theirs}
        _refuse_twice(kept, other, "those beside it")
        return {**other, "figures": {**other["figures"], **kept}, "beside": known}
    older = known.pop(other["name"], {"figures": []})["figures"]
    kept = {name: value for name, value in first["figures"].items() if name not in older}
    _refuse_twice(kept, other, first["name"])
    names = list(other["figures"])
    beside = {**known, other["name"]: {**other, "figures": names}}
    return {**first, "beside": beside, "figures": {**kept, **other["figures"]}}


def _refuse_twice(kept: Mapping[str, Any], other: Mapping[str, Any], whose: str) -> None:
    twice = kept.keys() & other["figures"].keys()
    if twice:
        raise InputError(f"{', '.join(sorted(twice))}: figures of {whose}, too; name another file")


def commit() -> str:
    """The checkout's commit, with '-modified' where code differs from it; '' outside of git.

    Files under `results/` are what is being written, so they do not count as a difference.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", "-C", str(_ROOT), *arguments), capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return git("rev-parse", "HEAD") + ("-modified" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> dict[str, Any]:
    """What a figure depends on, and nothing that names the computer."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / _GIB, 1),
        "gpu": _gpu_model(),
        "os": _operating_system(),
        "python": platform.python_version(),
        "torch": _torch_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _gpu_model() -> str:
    try:
        import torch
    except ImportError:
        return ""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _torch_version() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
