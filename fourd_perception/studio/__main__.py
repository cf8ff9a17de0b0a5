"""`python -m fourd_perception.studio`: draw a contact sheet of everything the studio can do."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fourd_perception.errors import command
from fourd_perception.parameters import from_mapping
from fourd_perception.studio.config import StudioConfig
from fourd_perception.studio.contact_sheet import contact_sheet
from fourd_perception.studio.studio import CLASSES


@command
def main() -> int:
    """Write the contact sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m fourd_perception.studio",
        description="A contact sheet of the studio's actions: one person, one room, by seed.",
    )
    parser.add_argument("--seed", type=int, default=0, help="person, room, camera (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("out/studio.png"), help="PNG to write")
    parser.add_argument("--actions", nargs="+", default=CLASSES, metavar="A", help="default: all")
    parser.add_argument("--width", type=int, default=240, help="columns of the camera (240)")
    parser.add_argument("--no-room", action="store_true", help="the person alone")
    parser.add_argument("--no-noise", action="store_true", help="a perfect sensor")
    options = parser.parse_args()
    size = {"width": options.width, "height": options.width * 3 // 4}
    chosen = {**size, "room": not options.no_room, "noise": not options.no_noise}
    config = from_mapping(StudioConfig, chosen, "command line")
    sheet = contact_sheet(options.seed, config, options.actions)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_name(options.out.name + ".part")
    sheet.save(partial, format="PNG")
    partial.replace(options.out)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
