"""What makes a run the one that it is: a state of another one is not gone on from."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from fourd_perception.parameters import to_mapping

_FREE = (
    "name", "model", "image_model", "validate_every", "threads", "background",
    "data.root", "data.prepared", "compute.device", "compute.loaders",
    "video_text.folder", "video_text.finetuned",
)  # fmt: skip
"""Where things lie, what computes them and who looks: but for rounding, the weights are the same.

Of a model's file what counts is what it says, the sizes.
"""


def identity(config: Any, **more: Any) -> dict[str, Any]:
    """All of a run's configuration that its weights depend on, and what else they do."""
    kept = to_mapping(config)
    for name in _FREE:
        *parents, last = name.split(".")
        section = kept
        for parent in parents:
            section = section.get(parent, {})
        section.pop(last, None)
    return kept | more


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not the same in two identities: dotted names, with both values."""
    was, is_now = _flat(before), _flat(now)
    return [
        f"{name} was {_short(was, name)}, is {_short(is_now, name)}"
        for name in was | is_now
        if name not in was or name not in is_now or was[name] != is_now[name]
    ]


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        rows = any(isinstance(one, Mapping) for one in value)
        value = dict(enumerate(value)) if rows else list(value)
    if not isinstance(value, Mapping):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{name}.{key}" if name else str(key))
    return flat


def _short(values: Mapping[str, Any], name: str) -> str:
    return reprlib.repr(values[name]) if name in values else "not there"
