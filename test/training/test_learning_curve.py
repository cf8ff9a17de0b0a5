"""The picture of a run: that there is one, of what was recorded, whole or not at all."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from fourd_perception.errors import InputError
from training import learning_curve


def record(folder, epochs, more=lambda epoch: {}):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as file:
        for epoch in range(1, epochs + 1):
            line = {"epoch": epoch, "loss": 2 / epoch, "learning_rate": 1e-3, "seconds": 5.0}
            file.write(json.dumps(line | more(epoch)) + "\n")
    return folder


def holdout(epoch):
    return {} if epoch % 5 else {"holdout_segments": 50 + epoch, "holdout_windows": 40 + epoch}


def coloured(path, colour):
    """How many pixels have a colour."""
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(axis=2).sum())


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_a_run_is_drawn_into_its_folder(tmp_path):
    path = learning_curve.draw(record(tmp_path, 20, holdout))
    assert path == tmp_path / "learning_curve.png"
    assert Image.open(path).size == (800, 500)
    assert coloured(path, BLUE) > 200
    assert coloured(path, ORANGE) == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == ["learning_curve.png", "metrics.jsonl"]


def test_runs_are_laid_over_each_other(tmp_path):
    one, two = record(tmp_path / "a" / "run", 20, holdout), record(tmp_path / "b" / "run", 9)
    path = learning_curve.draw(one, two, to=tmp_path / "both.png")
    assert coloured(path, BLUE) > 100
    assert coloured(path, ORANGE) > 100


@pytest.mark.parametrize("count", [0, 1, 2, 7, 10])
def test_there_is_a_panel_for_every_figure(tmp_path, monkeypatch, count):
    from matplotlib.figure import Figure

    drawn = []
    save = Figure.savefig

    def kept(figure, *arguments, **options):
        drawn.extend(axes.get_title("left") for axes in figure.axes if axes.get_visible())
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    learning_curve.draw(record(tmp_path, 3, lambda _: {f"figure_{n}": 1.0 for n in range(count)}))
    assert drawn == ["loss", "learning rate", *(f"figure {n}" for n in range(count))]


def test_what_was_cut_off_or_is_no_number_does_not_stop_it(tmp_path):
    record(tmp_path, 3, lambda epoch: {"holdout": float("nan"), "note": "text"})
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'[1]\n{"loss": 1}\n{"epoch": 4, "lo\xff')
    assert learning_curve.draw(tmp_path).exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run to draw, metrics.jsonl is missing or empty"):
        learning_curve.draw(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_leaves_the_picture_that_was_there(tmp_path):
    before = learning_curve.draw(record(tmp_path, 3)).read_bytes()
    os.symlink("/dev/full", tmp_path / "learning_curve.png.part")
    with pytest.raises(InputError, match="cannot be written"):
        learning_curve.draw(tmp_path)
    assert (tmp_path / "learning_curve.png").read_bytes() == before


def test_the_command_says_where_the_picture_is(tmp_path, monkeypatch, capsys):
    one, two = record(tmp_path / "one", 3), record(tmp_path / "two", 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["learning_curve.py", str(one)])
    assert learning_curve.main() == 0
    monkeypatch.setattr(sys, "argv", ["learning_curve.py", str(one), str(two)])
    assert learning_curve.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        str(one / "learning_curve.png"),
        "learning_curve.png",
    ]
    assert (tmp_path / "learning_curve.png").exists()
    monkeypatch.setattr(sys, "argv", ["learning_curve.py", str(tmp_path / "none")])
    assert learning_curve.main() == 2
