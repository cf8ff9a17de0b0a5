"""What a user can get wrong, said in one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path


class InputError(Exception):
    """Something that was given cannot be used.

    The message is one line that says what, where, what was expected, what was got and what to do.
    Tools print it and end with exit code 2; nodes refuse the transition or count the message.
    """


def command(main: Callable[[], int | None]) -> Callable[[], int]:
    """Make `main` an entry point: an InputError becomes one line on stderr and exit code 2."""

    @functools.wraps(main)
    def entry_point() -> int:
        try:
            return main() or 0
        except InputError as error:
            print(f"{_program(main.__module__)}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130

    return entry_point


def _program(module: str) -> str:
    """A tool's name: its module's; for a script or `python -m package`, the file's or package's."""
    path = Path(sys.argv[0])
    if module != "__main__":
        return module.rpartition(".")[2]
    return path.parent.name if path.stem == "__main__" else path.stem
