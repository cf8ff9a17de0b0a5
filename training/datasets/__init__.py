"""Data sets: each module turns its source into recordings, and says how they are split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fourd_perception.errors import InputError

if TYPE_CHECKING:
    from training.config import DataConfig
    from training.datasets.prepared import Source


def sources(config: DataConfig) -> Sequence[Source]:
    """Everything that the data set of `config` consists of. Raises InputError if it is unknown."""
    from training.datasets import msr_action3d, studio

    known: dict[str, Callable[[DataConfig], Sequence[Source]]] = {
        "msr_action3d": msr_action3d.sources,
        "studio": studio.sources,
    }
    if config.dataset not in known:
        raise InputError(
            f"data.dataset: unknown data set '{config.dataset}'; known: {', '.join(known)}"
        )
    return known[config.dataset](config)
