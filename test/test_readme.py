from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md")), Path("CONTRIBUTING.md"),
         Path("QUALITY_DECLARATION.md")]  # fmt: skip
PROGRAMS = {
    "make_bag": "fourd_perception.tools.make_bag",
    "play_bag": "fourd_perception.nodes.play_bag",
    "evaluate_bag": "fourd_perception.nodes.evaluate_bag",
    "checkpoint": "fourd_perception.tools.checkpoint",
}


def test_their_generated_parts_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/readme.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_they_link_to_is_there(page):
    text = page.read_text(encoding="utf-8")
    missing = []
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", text):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        known = anchors(target.read_text(encoding="utf-8")) if heading else {""}
        if not target.exists() or heading not in known:
            missing.append(link)
    assert not missing


def anchors(text: str) -> set[str]:
    """Of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every command in a block of shell."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r"<[^>]*>", "PLACEHOLDER", line), comments=True)
                if words:
                    found.append((str(page), words))
    return found


def test_commands_name_what_is_there():
    """Programs, scripts, files of the checkout, options and targets of make."""
    targets = set(re.findall(r"^([a-z]+):", Path("Makefile").read_text(), re.M))
    wrong, seen = [], 0
    for page, words in commands():
        program = Path(words[0]).name
        if program == "make":
            wrong += [(page, one) for one in words[1:] if "=" not in one and one not in targets]
            continue
        files = [one for one in words if re.match(r"(config|training|benchmarks|models)/", one)]
        wrong += [(page, one) for one in files if not Path(one).exists()]
        script = next((one for one in words if one.endswith(".py")), PROGRAMS.get(program))
        if script is None or "launch" in words:
            continue
        seen += 1
        options = [one.partition("=")[0] for one in words if one.startswith("--")]
        subcommand = words[1] if program == "checkpoint" else ""
        known = options_of(script, subcommand) if options else set()
        wrong += [(page, one) for one in options if one not in known]
    assert not wrong
    assert seen > 5


CAMERA = """
import numpy as np
random = np.random.default_rng(0)
camera = [(1 + number * 66_666_667, np.float32(random.random((600, 3)) + [0, 0, 2]))
          for number in range(60)]
"""
FED = "assert pipeline.window.filled == pipeline.window.clip.frames"


@pytest.mark.parametrize("page", [Path("README.md"), *sorted(Path("docs").glob("*.md"))], ids=str)
def test_the_code_on_the_pages_runs(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for number, block in enumerate(blocks):
        script = tmp_path / f"block_{number}.py"
        script.write_text(CAMERA + block + (FED if page.name == "README.md" else ""))
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@cache
def options_of(script: str, subcommand: str) -> set[str]:
    """What `--help` lists."""
    how = [script] if script.endswith(".py") else ["-m", script]
    done = subprocess.run(
        [sys.executable, *how, *([subcommand] if subcommand else []), "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))
