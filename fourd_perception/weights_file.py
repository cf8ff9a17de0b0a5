"""Weights, and a card that says what they are: a safetensors file, with the card as metadata.

No pickle is ever read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, to_mapping
from fourd_perception.whole_file import written

Card = TypeVar("Card")


def write(path: Path, state: Mapping[str, Tensor], key: str, card: Any) -> None:
    """Write weights and a card (a data class) under the key, whole or not at all.

    Raises InputError if a weight is not finite, or the file cannot be written.
    """
    refuse_not_finite(path, state)
    content = serialize(dict(state), {key: json.dumps(to_mapping(card))})
    with written(path) as part:
        part.write_bytes(content)


def read(
    path: Path, key: str, kind: type[Card], remedy: str, *, weights: bool = True
) -> tuple[Card, dict[str, Tensor]]:
    """The card of a kind under the key, and the weights, or none of them if they are not wanted.

    remedy: where to get such a file. Raises InputError where it is missing, damaged, of something
    else, or its card does not fit its kind. Whether the weights are finite is not looked at.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(key)
            names = file.keys() if weights and text else []  # safe_open is no mapping
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a safetensors file, or damaged ({error}); copy it again, or {remedy}"
        ) from None
    if text is None:
        raise InputError(f"{path}: a safetensors file without '{key}' metadata; {remedy}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of 5000 digits, too
        raise InputError(f"{path}: its metadata is not JSON: {error}") from None
    return from_mapping(kind, document, f"{path}: metadata"), state


def has_card(path: Path, key: str) -> bool:
    """Whether a file has a card under the key; False where there is none, or no such file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return key in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def refuse_not_finite(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Raises InputError if a weight is no number, or a running variance is negative."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"{path}: '{name}' has weights that are not finite numbers ({tensor.dtype}); "
                "take the state of an earlier epoch, or save in full precision"
            )
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise InputError(f"{path}: '{name}' has negative variances; the file is damaged")
