"""Files that come with the package: of the checkout, or of where it is installed."""

from __future__ import annotations

import contextlib
from pathlib import Path


def shared_file(name: str) -> Path:
    """A file of the checkout, or else of the installed package's share folder."""
    checkout = Path(__file__).resolve().parents[2] / name
    if checkout.is_file():
        return checkout
    with contextlib.suppress(ImportError, LookupError):  # without ROS; PackageNotFoundError
        from ament_index_python import get_package_share_directory

        return Path(get_package_share_directory("fourd_perception")) / name
    return checkout
