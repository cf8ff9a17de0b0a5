"""What training/finetune.py does with a folder in which there is a run."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial

import pytest
import small_model
import tiny_recordings
import yaml

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import ConfigError, from_mapping
from training import finetune, learning_curve, tasks
from training.config import FinetuneConfig
from training.datasets.labelled_video import DataSet, Source, actions_of
from training.datasets.prepared import prepare
from training.folder_lock import locked
from training.identity import differences, identity

MADE_OF = {"dataset": "msr_action3d", "points_at_most": 0, "image_size": []}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(learning_curve, "draw", lambda folder: None)


def actions(n):
    return actions_of(tiny_recordings.record(n))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    sources = [Source(f"p{n}", f"p{n}", "train", partial(actions, n)) for n in range(3)]
    whole = DataSet(tiny_recordings.RATE, tiny_recordings.CLASSES, sources)
    prepare(whole, root / "prepared", MADE_OF, workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    return root


def document(root, **changes):
    return {
        "name": "tiny",
        "architecture": "im_pstnet",
        "model": str(root / "model.yaml"),
        "data": {
            "dataset": "msr_action3d", "prepared": str(root / "prepared"), "holdout": ["p0"],
        },
        "clip": {"frames": 4, "frame_step": 1, "rate": 10.0},
        "preprocess": {"points": 24},
        "epochs": 2,
        "batch_size": 4,
    } | changes  # fmt: skip


def config(root, **changes):
    return from_mapping(FinetuneConfig, document(root, **changes), "test")


def test_a_finished_run_is_left_as_it_is(root, tmp_path, capsys):
    made = finetune.finetune(config(root), tmp_path)
    card = checkpoint.read_card(made)
    recorded = dataclasses.replace(card, accuracy=card.accuracy | {"test_windows": 91.5})
    checkpoint.replace_card(made, recorded)
    before = made.read_bytes()
    capsys.readouterr()
    assert finetune.finetune(config(root), tmp_path) == made
    assert capsys.readouterr().out == f"finished already: {made}\n"
    assert made.read_bytes() == before


def test_a_run_that_was_stopped_before_its_checkpoint_was_measured_is_finished_then(
    root, tmp_path, monkeypatch
):
    class Stopped(Exception):
        pass

    figures = tasks.holdout_figures
    measured = []

    def stopped(*asked):
        measured.append(asked)
        if len(measured) == 2:  # after the last epoch's, that of the file
            raise Stopped
        return figures(*asked)

    monkeypatch.setattr(tasks, "holdout_figures", stopped)
    with pytest.raises(Stopped):
        finetune.finetune(config(root), tmp_path)
    made = finetune.finetune(config(root), tmp_path)
    assert checkpoint.read_card(made).accuracy
    assert [one.name for one in tmp_path.glob("tiny*")] == ["tiny.safetensors"]


def test_fresh_removes_the_checkpoint(root, tmp_path, monkeypatch):
    made = finetune.finetune(config(root), tmp_path)

    def seen(*_):
        assert not made.exists()
        return {}

    monkeypatch.setattr(tasks, "holdout_figures", seen)
    assert finetune.finetune(config(root, epochs=1), tmp_path, fresh=True) == made
    assert checkpoint.read_card(made).trained_on["epochs"] == 1


def test_a_checkpoint_whose_state_is_gone_is_not_replaced(root, tmp_path):
    made = finetune.finetune(config(root), tmp_path)
    (tmp_path / "state.pt").unlink()
    before = made.read_bytes()
    with pytest.raises(InputError, match=r"tiny\.safetensors: .*another --out to keep it; --fresh"):
        finetune.finetune(config(root), tmp_path)
    assert made.read_bytes() == before


def test_what_a_state_is_not_of_is_named_with_both_values(root, tmp_path):
    finetune.finetune(config(root), tmp_path)
    (tmp_path / "tiny.safetensors").unlink()
    changed = config(root, optimiser={"learning_rate": 1e-4}, seed=3)
    with pytest.raises(InputError) as raised:
        finetune.finetune(changed, tmp_path)
    assert str(raised.value).endswith(
        "another configuration: optimiser.learning_rate was 0.001, is 0.0001; seed was 0, is 3; "
        "use another --out to keep it; --fresh starts anew and deletes it"
    )


def test_what_changes_no_weight_may_change(root, tmp_path, monkeypatch, capsys):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    monkeypatch.setattr(tasks, "holdout_figures", stop)
    first = config(root, validate_every=2)
    with pytest.raises(Stopped):
        finetune.finetune(first, tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "elsewhere").symlink_to(root)
    moved = document(
        tmp_path / "elsewhere", validate_every=1, threads=1,
        compute={"device": "cpu", "loaders": 1}, name="renamed",
    )  # fmt: skip
    moved["data"]["root"] = "elsewhere"
    monkeypatch.setattr(learning_curve, "draw", lambda folder: None)
    made = finetune.finetune(from_mapping(FinetuneConfig, moved, "test"), tmp_path / "run")
    assert made.name == "renamed.safetensors"
    assert "going on from epoch 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"optimiser": {"weight_decay": 0.5}}, {"augment": {"mirror": 0.5}}, {"batch_size": 5},
        {"fast_products": True}, {"compute": {"precision": "bfloat16"}}, {"epochs": 3},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_weights_is_part_of_a_run(root, change):
    before, now = identity(config(root), sizes=[]), identity(config(root, **change), sizes=[])
    assert len(differences(before, now)) == 1


def test_rows_of_a_models_table_are_named_by_their_number():
    rows = [{"radius": 0.3}, {"radius": 0.6}]
    changed = [{"radius": 0.3}, {"radius": 0.5}]
    assert differences({"sizes": {"layers": rows}}, {"sizes": {"layers": changed}}) == [
        "sizes.layers.1.radius was 0.6, is 0.5"
    ]
    assert differences({"classes": ("a", "b")}, {"classes": ["a", "b"]}) == []


def test_two_runs_in_one_folder_are_refused(root, tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another run"):
        finetune.finetune(config(root), tmp_path)
    finetune.finetune(config(root, epochs=1), tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_configuration_that_cannot_be_written_is_said_in_a_line(root, tmp_path):
    (tmp_path / "config.yaml.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"config\.yaml: cannot be written .*No space left"):
        finetune.finetune(config(root), tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 2**31}, "seed: expected 0 to 2147483647"),
        ({"optimiser": {"warmup_epochs": 3}}, "warmup_epochs: 3 are more than the run's 2 epochs"),
        (
            {"optimiser": {"schedule": "steps", "milestones": [1, 3]}},
            "milestones: 3 is beyond the run's 2 epochs",
        ),
        ({"compute": {"loaders": 65}}, "loaders: expected 0 to 64"),
    ],
)
def test_what_cannot_be_meant_is_refused(root, change, says):
    with pytest.raises(ConfigError, match=says):
        config(root, **change)
