"""The package as colcon, pip and rosdep see it."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import fourd_perception

ROOT = Path(__file__).resolve().parent.parent
NAME = "fourd_perception"

# Where a module is not named as its distribution package is.
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "jinja2": "python3-jinja2",
    "markupsafe": "python3-jinja2",
    "matplotlib": "python3-matplotlib",
    "numba": "python3-numba",
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "torch": "python3-torch",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
# safetensors has no rosdep key; the others are extras, imported where they are used.
FROM_PIP = {
    "backports", "compression", "cv2", "cv_bridge", "distributed", "mcap", "mujoco", "rosbags",
    "safetensors", "transformers", "triton",
}  # fmt: skip


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The arguments of setup()."""
    with mock.patch("setuptools.setup") as setup:
        spec = importlib.util.spec_from_file_location("fourd_perception_setup", ROOT / "setup.py")
        assert spec is not None and spec.loader is not None
        here = Path.cwd()
        os.chdir(ROOT)
        try:
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
        finally:
            os.chdir(here)
    return dict(setup.call_args.kwargs)


def imported_modules(folder: Path) -> set[str]:
    """The top-level names of all that is imported."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


def test_every_import_is_declared() -> None:
    declared = {one.text for one in manifest().iter("exec_depend")}
    foreign = imported_modules(ROOT / NAME) - set(sys.stdlib_module_names) - {NAME} - FROM_PIP
    missing = {ROSDEP_KEYS.get(module, module) for module in foreign} - declared
    assert not missing, f"package.xml has no exec_depend for {sorted(missing)}"


def test_bloom_reads_the_manifest_and_the_changelog() -> None:
    """With the parsers that bloom uses, which refuse what a release may not have."""
    package = pytest.importorskip("catkin_pkg.package")
    changelog = pytest.importorskip("catkin_pkg.changelog")
    found = package.parse_package(ROOT)
    found.validate()
    assert found.name == NAME and found.get_build_type() == "ament_python"
    assert found.licenses == ["Apache-2.0"] and found.maintainers[0].email
    assert not {one.name for one in found.build_depends}  # nothing is compiled
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    assert changelog.populate_changelog_from_rst(changelog.Changelog(NAME), text) is not None


def test_the_image_is_of_every_distribution_and_holds_no_secret() -> None:
    lines = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG ROS_DISTRO=jazzy" in lines and "FROM ros:${ROS_DISTRO}-ros-base" in lines
    assert any("USER " in line and "root" not in line for line in lines)
    assert {".git", ".venv*", "out"} <= set((ROOT / ".dockerignore").read_text().split())


def test_every_message_package_is_used() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / NAME).rglob("*.py")]
    for package in (str(one.text) for one in manifest().iter("exec_depend")):
        assert not package.endswith("_msgs") or any(package in text for text in texts), package


def test_only_keys_that_a_release_may_depend_on() -> None:
    assert not [one.text for one in manifest() if (one.text or "").endswith("-pip")]


def test_one_version_everywhere(described: dict[str, Any]) -> None:
    version = fourd_perception.__version__
    assert manifest().findtext("version") == version
    assert described["version"] == version
    newest = re.search(r"^(.+)\n-+$", (ROOT / "CHANGELOG.rst").read_text(), re.M)
    assert newest is not None
    assert newest[1] == "Forthcoming" or newest[1].split(" (")[0] == version  # REP-132


def test_the_licence_is_there_and_the_same(described: dict[str, Any]) -> None:
    assert manifest().findtext("license") == described["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )


def test_ros2_run_finds_the_programs() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["develop"]["script_dir"] == f"$base/lib/{NAME}"
    assert settings["install"]["install_scripts"] == f"$base/lib/{NAME}"


def test_the_programs_are_there(described: dict[str, Any]) -> None:
    programs = described["entry_points"]["console_scripts"]
    assert {program.split(" = ")[0] for program in programs} == {
        "recognizer",
        "segmenter",
        "play_bag",
        "demo",
        "make_bag",
        "evaluate_bag",
        "checkpoint",
    }
    for program in programs:
        module, function = program.split(" = ")[1].split(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        names = {getattr(node, "name", "") for node in tree.body}
        names |= {
            ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)
        }
        assert function in names, program


def test_what_is_shared_is_installed(described: dict[str, Any]) -> None:
    installed = {
        f"{folder}/{Path(file).name}" for folder, files in described["data_files"] for file in files
    }
    assert f"share/ament_index/resource_index/packages/{NAME}" in installed
    assert f"share/{NAME}/package.xml" in installed
    for folder in ("launch", "config", "models"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".yaml", ".xml", ".rviz", ".json", ".safetensors"}:
                assert f"share/{NAME}/{path.relative_to(ROOT)}" in installed
    for _, files in described["data_files"]:
        assert all((ROOT / file).is_file() and not Path(file).is_absolute() for file in files)


def test_every_package_and_template_is_installed(described: dict[str, Any]) -> None:
    assert set(described["packages"]) == {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / NAME).rglob("__init__.py")
    }
    patterns = described["package_data"][NAME]
    covered = {path for pattern in patterns for path in (ROOT / NAME).glob(pattern)}
    others = {
        path
        for path in (ROOT / NAME).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert not others - covered


def test_colcon_does_not_build_the_stand_in() -> None:
    assert (ROOT / "ros" / "COLCON_IGNORE").is_file()


def test_pyproject_leaves_the_build_to_setup_py() -> None:
    """A [build-system] or [project] table makes colcon take the package for something else."""
    tables = re.findall(r"^\[([\w-]+)", (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(tables) == {"tool"}


class TestEnvironment:
    """The environment that `make setup` makes; skipped where ROS 2 comes from elsewhere."""

    @pytest.fixture(autouse=True)
    def wheels(self) -> None:
        try:
            distribution("ros-wheels-bootstrapper")
        except PackageNotFoundError:
            pytest.skip("not the environment of make setup")

    def test_the_stand_in_talks_to_the_real_vision_msgs(self) -> None:
        """On a robot that has vision_msgs, equal type hashes are what makes two sides talk."""
        for line in (ROOT / "ros" / "type_hashes.txt").read_text().splitlines():
            name, expected = line.split()
            document = json.loads((Path(sys.prefix) / "share" / f"{name}.json").read_text())
            assert document["type_hashes"][0] == {"type_name": name, "hash_string": expected}

    @pytest.mark.parametrize(
        "command",
        [
            ["bin/demo", "--help"],
            ["bin/make_bag", "--help"],
            ["bin/play_bag", "--help"],
            ["bin/python", "-c", "import fourd_perception.nodes.recognizer"],
        ],
        ids=lambda command: command[0],
    )
    def test_programs_run_from_a_bare_shell(self, command: list[str]) -> None:
        """Nothing is sourced, nothing is exported."""
        program, *arguments = command
        done = subprocess.run(
            [Path(sys.prefix) / program, *arguments],
            env={"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (Path(sys.prefix) / "bin" / "recognizer").is_file()

    def test_the_package_is_in_the_index_with_its_files(self) -> None:
        from ament_index_python.packages import get_package_share_directory

        share = Path(get_package_share_directory(NAME))
        assert (share / "package.xml").is_file()
        assert (share / "config").is_dir()
