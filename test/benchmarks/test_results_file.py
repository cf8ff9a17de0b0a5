from __future__ import annotations

import json
import platform

import pytest

from benchmarks.results_file import write_result

FIGURES = {"latency_p99_ms": 25.0, "accuracy": {"mean": 0.9, "folds": [0.8, 1.0]}}


def write(path, figures):
    write_result(path, "a name", "python x.py", "a set", "how", (0, 1), figures)


def test_everything_needed_to_measure_again_is_there(tmp_path):
    write(tmp_path / "new" / "one.json", FIGURES)
    document = json.loads((tmp_path / "new" / "one.json").read_text())
    assert list(document) == [
        "name", "command", "commit", "date", "data", "protocol", "seeds", "machine", "figures",
    ]  # fmt: skip
    assert document["figures"] == FIGURES
    assert document["seeds"] == [0, 1]
    assert document["date"].endswith("+00:00")
    assert {"cpu", "cores", "memory_gib", "os", "python", "torch"} <= document["machine"].keys()


def test_the_computer_is_not_named(tmp_path):
    write(tmp_path / "one.json", FIGURES)
    machine = json.loads((tmp_path / "one.json").read_text())["machine"]
    assert platform.node() not in machine.values()


def test_a_figure_that_is_not_finite_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "one.json"
    write(path, FIGURES)
    before = path.read_text()
    with pytest.raises(ValueError, match="JSON"):
        write(path, {"accuracy": float("nan")})
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
