"""Draw how runs went: python training/learning_curve.py out/train/RUN [out/train/OTHER ...]

One run is drawn to RUN/learning_curve.png, several are laid over each other.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import InputError, command
from fourd_perception.whole_file import written
from training.records import FILE_NAME, read_records

PICTURE = "learning_curve.png"
_NOT_DRAWN = ("epoch", "seconds")


def draw(*folders: Path, to: Path | None = None) -> Path:
    """Draw loss, learning rate and every validation figure of the runs against the epochs.

    to: the PNG's path; by default learning_curve.png in the first folder. Returns it. Raises
    InputError on a folder without records and on a picture that cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    runs = {name: _records(folder) for name, folder in zip(_names(folders), folders)}
    figures = _figures(runs.values())
    columns = 1 if len(figures) == 1 else 2 if len(figures) <= 4 else 3
    rows = math.ceil(len(figures) / columns)
    longest = max(record["epoch"] for records in runs.values() for record in records)
    with matplotlib.rc_context({"font.size": 9 if columns < 3 else 7.5}):
        picture = Figure((8, max(5, 1.65 * rows)), dpi=100, layout="constrained")
        panels = picture.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, figures):
            for number, records in enumerate(runs.values()):
                known = [one for one in records if name in one]
                panel.plot(
                    [one["epoch"] for one in known], [one[name] for one in known],
                    color=f"C{number % 10}", linewidth=1.2, marker=".",
                    markersize=5 if len(known) < 40 else 0,
                )  # fmt: skip
            panel.set_title(name.replace("_", " "), loc="left")
            panel.set_xlim(0, longest * 1.02)
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for panel in panels[len(figures) - columns : len(figures)]:
            panel.set_xlabel("epoch")
        for panel in panels[len(figures) :]:
            panel.set_visible(False)
        if len(runs) > 1:
            picture.legend(
                handles=list(panels[0].lines), labels=list(runs), frameon=False,
                loc="outside upper center", ncols=min(3, len(runs)),
            )  # fmt: skip
        else:
            picture.suptitle(next(iter(runs)))
        path = to or folders[0] / PICTURE
        with written(path) as part:
            picture.savefig(part, format="png")
    return path


def _records(folder: Path) -> list[dict[str, Any]]:
    records = read_records(folder)
    if not records:
        raise InputError(f"{folder}: no run to draw, {FILE_NAME} is missing or empty")
    return records


def _names(folders: Sequence[Path]) -> list[str]:
    """The runs' names; their paths where two share a name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _figures(runs: Any) -> list[str]:
    """What was recorded by any of the runs: loss and learning rate, then the others."""
    seen: dict[str, None] = {}
    for records in runs:
        for record in records:
            seen |= {
                name: None
                for name, value in record.items()
                if name not in _NOT_DRAWN and isinstance(value, (int, float))
            }
    first = [name for name in ("loss", "learning_rate") if name in seen]
    return first + [name for name in seen if name not in first]


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a run's folder")
    parser.add_argument(
        "--out", type=Path,
        help=f"the PNG to write; default: {PICTURE} in the folder, or here if there are several",
    )  # fmt: skip
    arguments = parser.parse_args()
    several = len(arguments.folders) > 1
    to = arguments.out or (Path(PICTURE) if several else None)
    print(draw(*arguments.folders, to=to))
    return 0


if __name__ == "__main__":
    sys.exit(main())
