"""Which videos weights have learnt from: what they say of those is no figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fourd_perception.errors import InputError
from training import datasets
from training.config import DataConfig
from training.datasets.prepared import Video
from training.xclip_weights import history


def refuse_seen(init: Path, config: DataConfig, holdout: Sequence[Video]) -> None:
    """Raises InputError if the weights that a run is to begin with have learnt from its hold-out.

    init: as `xclip_weights.history` takes it. Labels or not, what is measured on those videos
    would be no figure.
    """
    if seen := _groups_seen(history(init), config, holdout):
        raise InputError(
            f"{init}: it was trained on {', '.join(sorted(seen)[:5])}, which data.holdout keeps "
            "for judging: hold out others, or none"
        )


def refuse_measured(
    name: str, trained_on: Mapping[str, Any], config: DataConfig, part: str, chosen: Sequence[Video]
) -> None:
    """Raises InputError if a model that is to be measured on a part has learnt from it.

    name, trained_on: as its card has them. chosen: the part's videos; of "train" anything may be
    asked.
    """
    seen = _groups_seen(trained_on, config, chosen)
    if part != "train" and seen:
        raise InputError(
            f"--split {part}: {name} was trained on {', '.join(sorted(seen)[:5])}; "
            "what it says of them is no figure"
        )


def _groups_seen(
    trained_on: Mapping[str, Any], config: DataConfig, chosen: Sequence[Video]
) -> set[str]:
    """The groups of which a model, or what it began with, has seen some of the chosen videos.

    trained_on: as its card has it.
    """
    seen: set[str] = set()
    for told in _histories(trained_on):
        if told.get("dataset") == config.dataset:
            seen |= _seen(told, config, chosen)
    return seen


def _histories(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a model was trained on, and what it began with, and what it was aligned with."""
    yield told
    for name in ("initial_weights", "video_text"):
        before = told.get(name)
        if isinstance(before, Mapping):
            yield from _histories(before)


def _seen(told: Mapping[str, Any], config: DataConfig, chosen: Sequence[Video]) -> set[str]:
    groups = set(told.get("groups", ()))
    if not datasets.has_protocols(config):
        return groups & {video.group for video in chosen}
    # A group, such as a performer, may be on both sides of a protocol: of other cameras, say.
    as_trained = replace(config, protocol=str(told.get("protocol", "")))
    return {
        video.group
        for video in chosen
        if video.group in groups and datasets.split(as_trained, video) == "train"
    }
