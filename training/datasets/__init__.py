"""Data sets: each module turns its source into recordings, and says how they are split."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fourd_perception.errors import InputError

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Source


def sources(config: DataConfig) -> Sequence[Source]:
    """Everything that the data set of `config` consists of. Raises InputError if it is unknown."""
    found: Sequence[Source] = _module(config).sources(config)
    return found


def made_of(config: DataConfig) -> dict[str, Any]:
    """Plain data that tells one choice of recordings from another. Raises InputError likewise."""
    return {"dataset": config.dataset, **_module(config).choice(config)}


def _module(config: DataConfig) -> ModuleType:
    from training.datasets import msr_action3d, studio

    known = {"msr_action3d": msr_action3d, "studio": studio}
    if config.dataset not in known:
        raise InputError(
            f"data.dataset: unknown data set '{config.dataset}'; known: {', '.join(known)}"
        )
    return known[config.dataset]
