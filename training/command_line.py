"""The command line that the scripts which train have in common."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fourd_perception.parameters import load_yaml
from training.config import RunConfig

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class Asked(Generic[Config]):
    """A run that is asked for.

    init: what its weights begin with, results: the file that its figures go to, where these can be
    said.
    """

    config: Config
    folder: Path
    fresh: bool
    init: Path | None
    results: str | None


def parse(
    kind: type[Config],
    description: str,
    *,
    files: str,
    example: str,
    init: str = "",
    results: str = "",
) -> Asked[Config]:
    """Read the command line.

    kind: of the configuration. files: where its YAML files are. example: of --set. init: what
    --init is for, results: what --results gets; without them there is none. Raises ConfigError on a
    file that does not fit.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", required=True, help=f"YAML file, {files}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help=f"replace a value of the file, e.g. --set {example}; repeatable",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="the run's folder; default out/train/<name>")
    parser.add_argument(
        "--fresh", action="store_true",
        help="start anew, deleting the run in the folder and what it made",
    )  # fmt: skip
    if init:
        parser.add_argument("--init", type=Path, metavar="FILE", help=init)
    if results:
        parser.add_argument("--results", metavar="FILE", help=f"{results}, see results/")
    given = parser.parse_args()
    config = load_yaml(kind, given.config, tuple(given.overrides))
    folder = given.out or Path("out/train") / config.name
    said = vars(given)
    return Asked(config, folder, given.fresh, said.get("init"), said.get("results"))
