"""Where to look, as options of a command line: the nodes' parameters, with dashes."""

from __future__ import annotations

import argparse
from typing import Any

from fourd_perception.looking.config import LookConfig
from fourd_perception.parameters import entries, from_mapping, range_text


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """An option for each parameter of LookConfig, in a group of their own."""
    group = parser.add_argument_group(
        "where to look", "which points the model is shown; as the nodes' parameters of these names"
    )
    for entry in entries(LookConfig):
        parameter = entry.parameter
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        allowed = range_text(parameter)
        meaning = parameter.description + unit + (f" ({allowed})" if allowed else "")
        numbers = isinstance(entry.default, tuple)
        group.add_argument(
            f"--{entry.name.replace('_', '-')}", dest=entry.name, help=meaning,
            metavar=("X", "Y", "Z") * 2 if numbers else entry.name.rpartition("_")[2].upper(),
            type=float if numbers else entry.type,
            nargs=len(entry.default) if numbers else None,
        )  # fmt: skip


def look_config(arguments: argparse.Namespace) -> LookConfig:
    """What was given, the rest by default. Raises ConfigError."""
    return from_mapping(LookConfig, given_look(arguments), "where to look")


def given_look(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters that were given, by their names."""
    values = {entry.name: getattr(arguments, entry.name) for entry in entries(LookConfig)}
    return {name: value for name, value in values.items() if value is not None}
