"""A perception node as a process: start, spin, end when told to."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from fourd_perception.errors import InputError
from fourd_perception.nodes.perception_node import PerceptionNode

_PATIENCE = 0.3
"""Seconds that each of the node's two threads gets to end; together well under one second."""
_HOW = "give parameters as -p NAME:=VALUE after --ros-args"


def run(
    make_node: Callable[[], PerceptionNode[Any, Any, Any]],
    args: Sequence[str] | None,
    usage: str = "",
) -> NoReturn:
    """Spin the node until SIGINT, SIGTERM or a shutdown of ROS, then end the process.

    args: the command line, sys.argv's where it is None. usage: what --help prints.

    Exit code 0 after a signal, 2 where the node cannot start (one line says why). The signals wake
    this thread, not the executor's: so they end the process within a second whatever the node is
    at.
    """
    given = sys.argv[1:] if args is None else args
    if {"-h", "--help"} & set(given):
        print(usage)
        _leave(0)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        _refuse(remove_ros_args(["", *given])[1:])
        node = make_node()
    except rclpy_implementation.UnknownROSArgsError as error:  # its text is but a list of them
        print(f"unknown ROS argument {error}: {_HOW}", file=sys.stderr)
        _leave(2)
    except (InputError, RuntimeError) as error:  # RuntimeError: what rcl has to say of arguments
        print(" ".join(str(error).split()), file=sys.stderr)
        _leave(2)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    codes: list[int] = []
    spinning = threading.Thread(
        target=lambda: codes.append(_spin(node, executor, stopping)), name="executor", daemon=True
    )
    spinning.start()
    stopping.wait()
    executor.shutdown(_PATIENCE)
    spinning.join(_PATIENCE)
    idle = node.close(_PATIENCE)
    if not spinning.is_alive() and idle:
        node.destroy_node()  # leaves DDS properly, so that the others need not wait for a timeout
        rclpy.try_shutdown()
    _leave(codes[0] if codes else 0)


def _refuse(arguments: Sequence[str]) -> None:
    """Raises InputError if there are any: nobody would read them."""
    if arguments:
        raise InputError(f"unknown argument '{arguments[0]}': {_HOW}")


def _leave(code: int) -> NoReturn:
    """End the process now.

    Unwinding an interpreter with PyTorch, Numba and DDS in it takes more than a second, and
    crashes where a thread is still deep in a computation.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _spin(
    node: PerceptionNode[Any, Any, Any],
    executor: SingleThreadedExecutor,
    stopping: threading.Event,
) -> int:
    try:
        if not node.parameters.value.autostart:
            node.get_logger().info(
                "unconfigured: waiting for a lifecycle manager (or set autostart)"
            )
        elif not node.start():
            return 2
        while not stopping.is_set() and executor.context.ok():
            try:
                executor.spin()
            except ExternalShutdownException:
                break
            except Exception as error:  # noqa: BLE001 - of rclpy's own services, e.g. on a
                # transition that the state forbids; our callbacks deal with theirs
                node.get_logger().error(f"a request failed: {type(error).__name__}: {error}")
        return 0
    finally:
        stopping.set()
