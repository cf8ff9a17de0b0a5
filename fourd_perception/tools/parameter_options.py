"""A configuration of the nodes as options of a command line: its parameters, with dashes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fourd_perception.parameters import entries, from_mapping, range_text

Config = TypeVar("Config")


@dataclass(frozen=True)
class ParameterOptions(Generic[Config]):
    """An option for each parameter of a configuration class, in a group of their own.

    title, meaning: of the group, in the help.
    """

    config_class: type[Config]
    title: str
    meaning: str

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Put them into a parser."""
        group = parser.add_argument_group(self.title, self.meaning)
        for entry in entries(self.config_class):
            parameter = entry.parameter
            unit = f" [{parameter.unit}]" if parameter.unit else ""
            allowed = range_text(parameter)
            meaning = parameter.description + unit + (f" ({allowed})" if allowed else "")
            kind, count = entry.type, None
            metavar: str | tuple[str, ...] = entry.name.rpartition("_")[2].upper()
            if isinstance(entry.default, tuple):
                kind = type(entry.default[0])
                count = "+" if kind is str else len(entry.default)
                metavar = "TEXT" if kind is str else ("X", "Y", "Z") * 2
            group.add_argument(
                f"--{entry.name.replace('_', '-')}", dest=entry.name, metavar=metavar, type=kind,
                nargs=count, help=meaning.replace("%", "%%"),
            )  # fmt: skip

    def given(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """The parameters that were given, by their names."""
        values = {one.name: getattr(arguments, one.name) for one in entries(self.config_class)}
        return {name: value for name, value in values.items() if value is not None}

    def config(self, arguments: argparse.Namespace) -> Config:
        """What was given, the rest by default. Raises ConfigError."""
        return from_mapping(self.config_class, self.given(arguments), self.title)
