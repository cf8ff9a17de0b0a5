from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
README = Path("README.md")


def test_its_generated_parts_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/readme.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_files_that_it_links_to_are_there():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text(encoding="utf-8"))
    assert links
    missing = [link for link in links if not Path(link).exists()]
    assert not missing
