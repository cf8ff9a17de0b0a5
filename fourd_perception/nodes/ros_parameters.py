"""A configuration class as the parameters of a node."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, get_origin

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from fourd_perception.errors import InputError
from fourd_perception.parameters import (
    ConfigError,
    Entry,
    check,
    entries,
    from_mapping,
    range_text,
    to_mapping,
)

Config = TypeVar("Config")
_INT64_MAX = 2**63 - 1
_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")


class RosParameters(Generic[Config]):
    """Declares the parameters of a (flat) configuration class on a node, and follows their changes.

    The node must have been made with `automatically_declare_parameters_from_overrides`: so it
    is known what the user gave, known names or not. Raises ConfigError on a value that is refused.
    changed: called after a parameter has changed. refuse: called with a configuration before it is
    taken while the node runs; raises InputError where it cannot be.
    """

    def __init__(
        self,
        node: Node,
        config_class: type[Config],
        changed: Callable[[], None],
        refuse: Callable[[Config], None],
    ) -> None:
        self._node = node
        self._class = config_class
        self._changed, self._refuse = changed, refuse
        self._entries = {entry.name: entry for entry in entries(config_class)}
        self._given = _take_overrides(node)
        self.locked = False
        """While True, only the parameters that are `changeable` may change."""
        values = {name: self._declare(entry) for name, entry in self._entries.items()}
        self.value: Config = from_mapping(config_class, values, node.get_name())
        """The configuration. A change replaces the whole, so that a thread that has taken it sees
        all of the change or nothing."""
        node.add_on_set_parameters_callback(self._on_set)

    def refuse_unknown(self, besides: str | None = None) -> None:
        """Raises ConfigError if the user gave a parameter that the node has not declared by now.

        besides: a prefix of names that will be declared later.
        """
        known = [*self._entries, *self._node.get_parameters_by_prefix("")]
        for name in self._given:
            later = besides is not None and name.startswith(besides)
            if name not in known and not later:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
                raise ConfigError(f"{self._node.get_name()}: unknown parameter '{name}'; {hint}")

    def _declare(self, entry: Entry) -> Any:
        value = self._given.get(entry.name, entry.default)
        value = check(value, entry.type, entry.parameter, f"{self._node.get_name()}: {entry.name}")
        self._node.declare_parameter(entry.name, value, descriptor(entry), ignore_override=True)
        return value

    def _on_set(self, changed: Sequence[Parameter]) -> SetParametersResult:
        ours = {one.name: one.value for one in changed if one.name in self._entries}
        if not ours:
            return SetParametersResult(successful=True)
        for name in ours:
            if self.locked and not self._entries[name].parameter.changeable:
                reason = f"{name} is read-only while the node is configured: clean it up first"
                return SetParametersResult(successful=False, reason=reason)
        try:
            value = from_mapping(
                self._class, {**to_mapping(self.value), **ours}, self._node.get_name()
            )
            self._refuse(value)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.value = value
        self._changed()
        return SetParametersResult(successful=True)


def descriptor(entry: Entry) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
    parameter = entry.parameter
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    constraints = range_text(parameter)
    if not parameter.changeable:
        constraints += ("; " if constraints else "") + "read-only while the node is configured"
    described = ParameterDescriptor(
        description=parameter.description + unit,
        additional_constraints=constraints,
        # An empty list has no type of its own in ROS; `check` looks at what is in it.
        dynamic_typing=get_origin(entry.type) is tuple,
    )
    low, high = parameter.at_least, parameter.at_most
    if low is None and high is None:
        return described
    if entry.type is int:
        described.integer_range = [
            IntegerRange(
                from_value=-_INT64_MAX if low is None else int(low),
                to_value=_INT64_MAX if high is None else int(high),
            )
        ]
    else:
        described.floating_point_range = [
            FloatingPointRange(
                from_value=-math.inf if low is None else float(low),
                to_value=math.inf if high is None else float(high),
            )
        ]
    return described


def usage(node_name: str, config_class: type) -> str:
    """What `--help` says of a node: how to give parameters, and which there are."""
    lines = [
        f"usage: {node_name} --ros-args [-p NAME:=VALUE]... [-r FROM:=TO]... [--params-file FILE]",
        "",
        f"example: {node_name} --ros-args -p model:=FILE -p autostart:=true -r points:=/cloud",
        "",
        "parameters (NAME: default, meaning):",
    ]
    for entry in entries(config_class):
        unit = f" [{entry.parameter.unit}]" if entry.parameter.unit else ""
        allowed = range_text(entry.parameter)
        meaning = entry.parameter.description + unit + (f" ({allowed})" if allowed else "")
        lines.append(f"  {entry.name}: {entry.default!r}, {meaning}")
    return "\n".join(lines)


def _take_overrides(node: Node) -> dict[str, Any]:
    """What the user gave, undeclared again: it comes back with its descriptor, if it is known."""
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if name not in _OF_EVERY_NODE
    }
    for name in given:
        node.undeclare_parameter(name)
    return given
