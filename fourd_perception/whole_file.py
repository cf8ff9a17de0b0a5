"""A file is there whole, or as it was before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fourd_perception.errors import InputError


@contextlib.contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path`: whole, or not at all with InputError.

    The folder is made where there is none.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: what torch.save makes of a full disk
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"{path}: cannot be written ({reason}); what was there is untouched: "
            "make room, or make the folder writable, and try again"
        ) from None
