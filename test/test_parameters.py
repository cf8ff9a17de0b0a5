"""Configuration, said once: every mistake in it is one clear line, everything else comes back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fourd_perception.parameters import (
    ConfigError,
    entries,
    from_mapping,
    load_yaml,
    markdown_table,
    param,
    to_mapping,
)


@dataclass(frozen=True)
class Camera:
    """The nested half of the example."""

    rate: float = param(30.0, "frames a second", unit="Hz", at_least=1, at_most=120)
    encoding: str = param("rgb8", "of the image", choices=("rgb8", "bgr8"))


@dataclass(frozen=True)
class Example:
    """One field of every kind."""

    frames: int = param(24, "frames in a clip", at_least=1, at_most=256)
    scale: float = param(1.0, "model units in a metre", at_least=0, changeable=True)
    overlay: bool = param(False, "publish markers")
    name: str = param("", "of the model")
    crop: tuple[float, ...] = param((), "corners kept", unit="m")
    camera: Camera = Camera()
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.overlay and not self.name:
            raise ValueError("overlay: needs a name")


@dataclass(frozen=True)
class Needy:
    """A value that has no default."""

    model: str = param(dataclasses.MISSING, "the checkpoint")


def refused(mapping: Any, config_class: type = Example) -> str:
    """The message with which `mapping` is refused, which must be one line."""
    with pytest.raises(ConfigError) as caught:
        from_mapping(config_class, mapping, "file.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_is_all_defaults() -> None:
    assert from_mapping(Example, {}, "file.yaml") == Example()


def test_values_come_through_with_their_types() -> None:
    config = from_mapping(
        Example,
        {"frames": 16, "scale": 10, "crop": [0, 1.5], "camera": {"rate": 15}, "notes": {"a": [1]}},
        "file.yaml",
    )
    assert config == Example(
        frames=16, scale=10.0, crop=(0.0, 1.5), camera=Camera(rate=15.0), notes={"a": [1]}
    )
    assert type(config.scale) is float, "a whole number is a number"
    assert type(config.crop[0]) is float


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".001", "+0.001", "10e-4"])
def test_every_way_to_write_a_number_is_taken(tmp_path: Path, text: str) -> None:
    # To YAML 1.1 the first two and the last one are texts.
    (tmp_path / "file.yaml").write_text(f"scale: {text}\ncrop: [{text}, 1e2]\n")
    assert load_yaml(Example, tmp_path / "file.yaml") == Example(scale=0.001, crop=(0.001, 100.0))
    assert load_yaml(Example, tmp_path / "file.yaml", (f"scale={text}",)).scale == 0.001


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"frame": 3}, "file.yaml: unknown key 'frame'; did you mean 'frames'?"),
        (
            {"zzzzzz": 3},
            "file.yaml: unknown key 'zzzzzz'; "
            "known: camera, crop, frames, name, notes, overlay, scale",
        ),
        ({3: 3}, "file.yaml: unknown key '3'"),
        ({"camera": {"rat": 3}}, "file.yaml: camera: unknown key 'rat'; did you mean 'rate'?"),
        ({"frames": "24"}, "file.yaml: frames: expected int, got '24'"),
        ({"frames": 24.0}, "file.yaml: frames: expected int, got 24.0"),
        ({"frames": True}, "file.yaml: frames: expected int, got True"),
        ({"frames": None}, "file.yaml: frames: expected int, got None"),
        ({"scale": True}, "file.yaml: scale: expected float, got True"),
        ({"scale": "1e-3x"}, "file.yaml: scale: expected float, got '1e-3x'"),
        ({"scale": "nan"}, "file.yaml: scale: expected a finite number, got nan"),
        ({"scale": "-1e3"}, "file.yaml: scale: expected at least 0, got -1000.0"),
        ({"frames": "1e1"}, "file.yaml: frames: expected int, got '1e1'"),
        ({"overlay": 1}, "file.yaml: overlay: expected bool, got 1"),
        ({"name": 7}, "file.yaml: name: expected str, got 7"),
        ({"frames": 0}, "file.yaml: frames: expected 1 to 256, got 0"),
        ({"frames": 257}, "file.yaml: frames: expected 1 to 256, got 257"),
        ({"scale": -0.5}, "file.yaml: scale: expected at least 0, got -0.5"),
        ({"scale": float("nan")}, "file.yaml: scale: expected a finite number, got nan"),
        ({"scale": float("inf")}, "file.yaml: scale: expected a finite number, got inf"),
        ({"scale": 10**400}, "file.yaml: scale: expected a finite number, got inf"),
        ({"crop": {"x": 1}}, "file.yaml: crop: expected a list of float, got {'x': 1}"),
        ({"crop": 3.0}, "file.yaml: crop: expected a list of float, got 3.0"),
        ({"crop": "0 1"}, "file.yaml: crop: expected a list of float, got '0 1'"),
        ({"crop": [0, "x"]}, "file.yaml: crop[1]: expected float, got 'x'"),
        ({"camera": 5}, "file.yaml: camera: expected a mapping of names to values, got 5"),
        ({"camera": {"rate": 0.5}}, "file.yaml: camera: rate: expected 1 to 120, got 0.5"),
        (
            {"camera": {"encoding": "rgb"}},
            "file.yaml: camera: encoding: expected one of rgb8, bgr8; got 'rgb'; "
            "did you mean 'rgb8'?",
        ),
        ({"notes": [1]}, "file.yaml: notes: expected a mapping of names to values, got [1]"),
        ({"notes": {1: 2}}, "file.yaml: notes: expected a mapping of names to values, got {1: 2}"),
        ({"overlay": True}, "file.yaml: overlay: needs a name"),
        ([1], "file.yaml: expected a mapping of names to values, got [1]"),
    ],
)
def test_a_mistake_is_named_with_where_what_and_the_remedy(mapping: Any, message: str) -> None:
    assert refused(mapping).startswith(message)


def test_a_value_without_default_must_be_given() -> None:
    assert refused({}, Needy) == "file.yaml: 'model' is missing; it has no default"
    assert from_mapping(Needy, {"model": "a"}, "file.yaml").model == "a"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([field.name for field in dataclasses.fields(Example)]) | st.text(max_size=6)


@given(st.dictionaries(NAMES, ANYTHING, max_size=4) | ANYTHING)
def test_any_document_is_taken_or_refused_and_never_crashes(document: Any) -> None:
    try:
        config = from_mapping(Example, document, "file.yaml")
    except ConfigError:
        return
    assert isinstance(document, Mapping)
    assert from_mapping(Example, to_mapping(config), "again") == config


@given(
    frames=st.integers(1, 256),
    scale=st.floats(0, 1e6),
    crop=st.lists(st.floats(-1e3, 1e3)).map(tuple),
    rate=st.floats(1, 120),
)
def test_a_configuration_survives_json(
    frames: int, scale: float, crop: tuple[float, ...], rate: float
) -> None:
    config = Example(frames=frames, scale=scale, crop=crop, camera=Camera(rate=rate))
    assert from_mapping(Example, json.loads(json.dumps(to_mapping(config))), "json") == config


def test_entries_are_dotted_and_in_order() -> None:
    @dataclass(frozen=True)
    class Outer:
        frames: int = param(24, "frames in a clip", at_least=1)
        camera: Camera = Camera()

    # The annotations of a local class cannot be looked up by name, as an imported one's can.
    Outer.__annotations__.update(frames=int, camera=Camera)
    found = list(entries(Outer))
    assert [entry.name for entry in found] == ["frames", "camera.rate", "camera.encoding"]
    assert [entry.default for entry in found] == [24, 30.0, "rgb8"]
    assert found[1].parameter.unit == "Hz"
    assert found[2].type is str


class TestYaml:
    """A configuration file and `--set`."""

    def write(self, folder: Path, text: str | bytes) -> Path:
        path = folder / "file.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def test_it_is_read_and_overridden(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "frames: 16\ncamera: {rate: 15}\n")
        overrides = ("frames=8", "camera.encoding=bgr8", "crop=[1, 2]", "scale=0.5")
        config = load_yaml(Example, path, overrides)
        expected = Example(8, 0.5, crop=(1.0, 2.0), camera=Camera(15.0, "bgr8"))
        assert config == expected

    def test_an_empty_file_is_all_defaults(self, tmp_path: Path) -> None:
        assert load_yaml(Example, self.write(tmp_path, "# nothing\n")) == Example()

    def test_an_override_makes_its_section(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "")
        assert load_yaml(Example, path, ("camera.rate=10",)).camera == Camera(10.0)

    @pytest.mark.parametrize(
        ("text", "overrides", "message"),
        [
            ("frames: 0", (), r"file\.yaml: frames: expected 1 to 256, got 0"),
            ("frames: [", (), r"file\.yaml: not YAML: .*line 1"),
            (
                "frames: 3\nscale: 2\nframes: 4",
                (),
                r"file\.yaml: not YAML: line 3: 'frames' is in line 1 already",
            ),
            (
                "camera:\n  rate: 10\n  rate: 20",
                (),
                r"file\.yaml: not YAML: line 3: 'rate' is in line 2 already",
            ),
            ("notes: {a: {b: 1, b: 1}}", (), "'b' is in line 1 already"),
            ("", ("camera={rate: 1, rate: 2}",), r"--set camera=.*: not YAML: .*'rate' is in line"),
            ("", ("frames=\udcff",), r"--set frames=.*: not YAML: "),
            ("name: 2026-13-45", (), r"file\.yaml: not YAML: month must be in 1\.\.12"),
            (b"\xff\xfe\xfa", (), r"file\.yaml: not YAML: "),
            ("!!python/object/apply:os.system [ls]", (), r"file\.yaml: not YAML: "),
            ("- 1", (), r"file\.yaml: expected a mapping of names to values, got \[1\]"),
            ("- 1", ("frames=1",), r"file\.yaml: expected a mapping of names to values"),
            ("just text", ("frames=1",), r"file\.yaml: expected a mapping of names to values"),
            ("", ("frames=[",), r"--set frames=\[: not YAML: "),
            ("", ("frames",), r"--set frames: expected name=value"),
            ("frames: 3", ("frames.x=1",), r"--set frames\.x=1: 'frames' is a value, not a"),
            ("", ("frame=1",), r"unknown key 'frame'; did you mean 'frames'\?"),
        ],
    )
    def test_a_mistake_is_one_line(
        self, tmp_path: Path, text: str | bytes, overrides: tuple[str, ...], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            load_yaml(Example, self.write(tmp_path, text), overrides)
        assert "\n" not in str(caught.value)

    def test_a_key_that_replaces_one_of_a_merged_section_is_no_second_one(
        self, tmp_path: Path
    ) -> None:
        path = self.write(tmp_path, "notes: {usual: &usual {x: 1, y: 2}, mine: {<<: *usual, x: 3}}")
        assert load_yaml(Example, path).notes["mine"] == {"x": 3, "y": 2}

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
            load_yaml(Example, tmp_path / "gone.yaml")

    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        config = Example(frames=7, crop=(1.0, 2.0), camera=Camera(12.0))
        path = self.write(tmp_path, yaml.safe_dump(to_mapping(config)))
        assert load_yaml(Example, path) == config


def test_the_table_has_a_row_for_every_parameter() -> None:
    rows = markdown_table(Camera).splitlines()
    assert rows[2:] == [
        "| `rate` | `30.0` | Hz | 1 to 120 | frames a second |",
        "| `encoding` | `'rgb8'` |  | one of rgb8, bgr8 | of the image |",
    ]
    assert len({row.count("|") for row in rows}) == 1


def test_the_table_says_what_is_required_and_what_is_changeable() -> None:
    @dataclass(frozen=True)
    class Node:
        model: str = param(dataclasses.MISSING, "the checkpoint")
        min_score: float = param(0.5, "less is not believed", at_most=1, changeable=True)

        seed: int = param(0, "of chance", at_least=0, at_most=2**31 - 1)

    Node.__annotations__.update(model=str, min_score=float, seed=int)
    table = markdown_table(Node)
    assert re.search(r"`model` \| required \|", table)
    assert re.search(r"at most 1 \| less is not believed \(changeable\)", table)
    assert "0 to 2147483647" in table
