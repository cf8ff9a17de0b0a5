from __future__ import annotations

import argparse
import collections
import json
import sys

import pytest
import torch
import yaml
from model_cases import CLASSES
from textbook_pairs import PAIRS, clip, textbook

from fourd_perception import checkpoint
from fourd_perception.tools.checkpoint import main

PAIR = next(pair for pair in PAIRS if pair.name == "pstnet_compat")


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool; its exit code, and what it said on each channel."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["checkpoint", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def given(tmp_path):
    """A .pth as the public training scripts write it, and the options to read it."""
    model = textbook(PAIR).float()
    document = {
        "model": {f"module.{name}": one for name, one in model.state_dict().items()},
        "optimizer": torch.optim.SGD(model.parameters(), 0.1, momentum=0.9).state_dict(),
        "lr_scheduler": {"milestones": [20, 30], "last_epoch": 3},
        "epoch": 3,
        "args": argparse.Namespace(clip_len=9, lr_milestones=[20, 30]),
    }
    torch.save(document, tmp_path / "model_3.pth")
    sizes = {name: value for name, value in PAIR.config.items() if name != "compat"}
    (tmp_path / "sizes.yaml").write_text(yaml.safe_dump(plain(sizes)))
    (tmp_path / "names.txt").write_text("\n".join("abcde"))
    return tmp_path


def plain(value):
    return json.loads(json.dumps(value))


def convert(given, *more: object, **changes: object) -> list[object]:
    options = {
        "architecture": "pstnet", "config": given / "sizes.yaml", "classes": given / "names.txt",
        "frames": 9, "points": 64, "unit-scale": 0.641, **changes,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["convert", given / "model_3.pth", given / "out.safetensors", *words, *more]


def test_a_public_checkpoint_becomes_one_of_ours(run, given):
    code, out, _ = run(*convert(given, "--json"))
    assert code == 0
    assert json.loads(out)["classes"] == CLASSES
    loaded = checkpoint.load(given / "out.safetensors")
    assert loaded.card.classes == ("a", "b", "c", "d", "e")
    assert loaded.card.model["compat"] is True
    assert loaded.card.preprocess.unit_scale == pytest.approx(0.641)
    points = torch.rand(1, 9, 64, 3) * 0.15
    with torch.no_grad():
        expected = textbook(PAIR)(points.double())
        torch.testing.assert_close(loaded.model(points).double(), expected, rtol=1e-4, atol=1e-4)


def test_pptr_is_told_the_time_where_the_public_code_tells_it(run, given):
    pair = next(pair for pair in PAIRS if pair.name == "pptr_hoi4d_actions")
    torch.save(textbook(pair).float().state_dict(), given / "model_3.pth")
    sizes = plain(pair.config) | {"position": "place_then_time"}
    (given / "sizes.yaml").write_text(yaml.safe_dump(sizes))
    assert run(*convert(given, "--no-compat", architecture="pptr"))[0] == 0
    loaded = checkpoint.load(given / "out.safetensors")
    assert loaded.card.task == "action_segmentation"
    points = clip(pair)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.model(points).double(), textbook(pair)(points.double()), rtol=1e-3, atol=1e-3
        )


def test_show_prints_the_card(run, given):
    assert run(*convert(given))[0] == 0
    code, out, _ = run("show", given / "out.safetensors")
    assert code == 0 and yaml.safe_load(out)["architecture"] == "pstnet"
    assert json.loads(run("show", given / "out.safetensors", "--json")[1])["clip"]["frames"] == 9


def test_an_existing_file_is_kept_unless_told_otherwise(run, given):
    assert run(*convert(given))[0] == 0
    before = (given / "out.safetensors").read_bytes()
    code, _, error = run(*convert(given, classes=5))
    assert code == 2 and "exists" in error and "--force" in error
    assert (given / "out.safetensors").read_bytes() == before
    assert run(*convert(given, "--force", classes=5))[0] == 0
    assert checkpoint.read_card(given / "out.safetensors").classes[4] == "class_4"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": 0}, "expected 1 to 100000, got 0"),
        ({"classes": 7}, "'head.weight' is (5, 12) in the file, (7, 12) in the model"),
        ({"architecture": "pstnetpp"}, "fits nowhere"),
        ({"points": 1}, "too small for this model"),
        ({"classes": "nowhere.txt"}, "neither a number nor a text file"),
        ({"config": "nowhere.yaml"}, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(run, given, changes, says):
    code, _, error = run(*convert(given, **changes))
    assert code == 2
    assert says in error and error.count("\n") == 1
    assert not (given / "out.safetensors").exists()


class Harmful:
    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"not a file of torch", "cannot be read as weights"),
        ({"model": {"a": Harmful()}}, "cannot be read as weights"),
        ([1, 2], "expected a state dict"),
        ({"model": {"a": 1.0}}, "expected a state dict"),
        ({"epoch": collections.Counter("abc")}, ""),
    ],
)
def test_a_file_that_is_no_weights_is_refused_and_runs_nothing(run, given, document, says):
    path = given / "model_3.pth"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        torch.save(document, path)
    code, out, error = run(*convert(given))
    assert code == 2 and says in error and str(path) in error
    assert "printed" not in out and error.count("\n") == 1


def test_a_missing_file_is_said(run, given):
    (given / "model_3.pth").unlink()
    code, _, error = run(*convert(given))
    assert code == 2 and "model_3.pth" in error and "No such file" in error


def test_what_is_shown_must_be_a_checkpoint(run, given):
    code, _, error = run("show", given / "model_3.pth")
    assert code == 2 and "not a safetensors file" in error
