"""Configuration, said once.

A frozen dataclass whose fields are made by `param` is the configuration. From it come the check of
a YAML file or of a checkpoint's metadata, ROS parameter descriptors, `--help` and README tables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from fourd_perception.errors import InputError

_METADATA = "fourd_perception.parameter"
_SCALARS = (bool, int, float, str)
Config = TypeVar("Config")


class ConfigError(InputError):
    """A configuration names an unknown key, or gives a value of a wrong type or range."""


@dataclass(frozen=True)
class Parameter:
    """What is known of one configuration value besides its name and type."""

    description: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    choices: tuple[str, ...] = ()
    changeable: bool = False
    """Whether a running node may change it; the others are read-only once it is configured."""


@dataclass(frozen=True)
class Entry:
    """One parameter of a configuration class, under its dotted name."""

    name: str
    type: Any
    default: Any
    parameter: Parameter


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    changeable: bool = False,
) -> Any:
    """A dataclass field with everything that ROS, YAML, `--help` and the README say about it.

    `default` may be `dataclasses.MISSING` for a value that must be given.
    """
    parameter = Parameter(description, unit, at_least, at_most, choices, changeable)
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={_METADATA: parameter})
    return dataclasses.field(default=default, metadata={_METADATA: parameter})


def entries(config_class: type, prefix: str = "") -> Iterator[Entry]:
    """All parameters of a configuration class, nested classes under dotted names."""
    types = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        kind = types[field.name]
        if dataclasses.is_dataclass(kind):
            yield from entries(typing.cast(type, kind), f"{prefix}{field.name}.")
        else:
            yield Entry(prefix + field.name, kind, field.default, field.metadata[_METADATA])


def from_mapping(config_class: type[Config], mapping: Mapping[str, Any], where: str) -> Config:
    """A checked instance of `config_class` from nested mappings, as YAML and JSON give them.

    `where` opens every error message (a file's path, a node's name). Missing keys take their
    defaults. Raises ConfigError on an unknown or missing key, a wrong type, or a bad range.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: expected a mapping of names to values, got {mapping!r}")
    types = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, config_class))}
    for key in mapping:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key '{key}'{_nearest(str(key), list(fields))}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            path = f"{where}: {name}"
            values[name] = check(mapping[name], types[name], field.metadata.get(_METADATA), path)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: '{name}' is missing; it has no default")
    try:
        return config_class(**values)
    except ValueError as error:  # a rule between fields, from __post_init__
        raise ConfigError(f"{where}: {error}") from None


def check(value: Any, kind: Any, parameter: Parameter | None, where: str) -> Any:
    """`value` as a `kind`: a scalar, a tuple, a dict or a configuration class. Else ConfigError."""
    if dataclasses.is_dataclass(kind):
        if isinstance(value, typing.cast(type, kind)):
            return value
        return from_mapping(typing.cast(type, kind), value, where)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(value, (str, Mapping)) or not hasattr(value, "__iter__"):
            raise ConfigError(f"{where}: expected a list of {item.__name__}, got {value!r}")
        return tuple(
            check(one, item, parameter, f"{where}[{index}]") for index, one in enumerate(value)
        )
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{where}: expected a mapping of names to values, got {value!r}")
        return dict(value)
    return _check_scalar(value, kind, parameter, where)


def _check_scalar(value: Any, kind: Any, parameter: Parameter | None, where: str) -> Any:
    if kind is float and isinstance(value, str):
        # YAML 1.1 has no number without a point: to it 1e-3, which all write, is a text.
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.inf
    if kind not in _SCALARS or type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, got {value}")
    if parameter is None:
        return value
    low, high = parameter.at_least, parameter.at_most
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{where}: expected {range_text(parameter)}, got {value}")
    if parameter.choices and value not in parameter.choices:
        choices = ", ".join(parameter.choices)
        raise ConfigError(
            f"{where}: expected one of {choices}; got '{value}'"
            f"{_nearest(str(value), list(parameter.choices))}"
        )
    return value


def range_text(parameter: Parameter) -> str:
    """'1 to 256', 'at least 0', 'at most 1', 'one of a, b', or ''."""
    if parameter.choices:
        return "one of " + ", ".join(parameter.choices)
    low, high = parameter.at_least, parameter.at_most
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    if low is not None:
        return f"at least {_number(low)}"
    return f"at most {_number(high)}" if high is not None else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of `from_mapping`: plain dictionaries, lists and scalars."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return to_mapping(value)
        return [plain(one) for one in value] if isinstance(value, tuple) else value

    return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def load_yaml(
    config_class: type[Config], path: str | Path, overrides: tuple[str, ...] = ()
) -> Config:
    """Read and check a YAML configuration file; `overrides` are 'dotted.name=value' texts.

    Raises ConfigError.
    """
    return from_mapping(config_class, read_yaml(path, overrides), str(path))


def read_yaml(path: str | Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `load_yaml` then checks: for a file that may be of one kind or another.

    A key that stands twice is refused, and '1e-3' is a number where one is wanted, unlike in
    PyYAML. Raises ConfigError.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    document = _parsed(content, str(path)) or {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of names to values, got {document!r}")
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: expected name=value")
        *parents, last = name.strip().split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {override}: '{parent}' is a value, not a section")
        section[last] = _parsed(text, f"--set {override}")
    return document


class _EachKeyOnce(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys, and says nothing, although YAML forbids them."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise yaml.YAMLError(f"line {line}: '{key.value}' is in line {lines[name]} already")
            lines[name] = line
        return node


def _parsed(text: str | bytes, where: str) -> Any:
    """A YAML document of plain values. Raises ConfigError, whose message `where` opens."""
    try:
        return _EachKeyOnce(text if isinstance(text, str) else text.decode()).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no such date, no such character
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def markdown_table(config_class: type) -> str:
    """The parameters as a Markdown table: name, default, unit, range, meaning."""
    rows = ["| parameter | default | unit | range | meaning |", "| --- | --- | --- | --- | --- |"]
    for entry in entries(config_class):
        default = list(entry.default) if isinstance(entry.default, tuple) else entry.default
        given = "required" if default is dataclasses.MISSING else f"`{default!r}`"
        parameter = entry.parameter
        meaning = parameter.description + (" (changeable)" if parameter.changeable else "")
        rows.append(
            f"| `{entry.name}` | {given} | {parameter.unit} | {range_text(parameter)} | {meaning} |"
        )
    return "\n".join(rows)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"
