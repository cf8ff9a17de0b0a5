from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fourd_perception.errors import InputError
from training.config import OptimiserConfig
from training.trainer import Trainer


def make(folder, epochs=4, identity="run", **optimiser):
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    return Trainer(
        model,
        lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        OptimiserConfig(**({"learning_rate": 0.05, "average": 0.5} | optimiser)),
        folder,
        epochs=epochs,
        steps_per_epoch=3,
        seed=1,
        identity=identity,
    )


def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(3):
        points = torch.randn(16, 4, generator=generator)
        yield lambda points=points: (points, (points.sum(1) > 0).long())


def nothing(model, epoch):
    return {}


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path, kind):
    whole = make(tmp_path / "whole", kind=kind)
    whole.fit(batches, nothing)

    def batches_then_death(epoch):
        for number, batch in enumerate(batches(epoch)):
            if (epoch, number) == (2, 1):
                raise Killed
            yield batch

    cut = make(tmp_path / "cut", kind=kind)
    with pytest.raises(Killed):
        cut.fit(batches_then_death, nothing)
    again = make(tmp_path / "cut", kind=kind)
    assert again.resume()
    assert again.epoch == 2
    again.fit(batches, nothing)
    for name, value in whole.result.state_dict().items():
        assert torch.equal(value, again.result.state_dict()[name]), name
    records = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == [1, 2, 3, 4]


def test_learns(tmp_path):
    run = make(tmp_path, epochs=20)
    run.fit(batches, lambda model, epoch: {"seen": float(epoch)})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert lines[-1]["seen"] == 20


def test_nothing_to_resume(tmp_path):
    assert not make(tmp_path).resume()


def test_another_configuration_is_not_gone_on_with(tmp_path):
    make(tmp_path, epochs=1).fit(batches, nothing)
    with pytest.raises(InputError, match="another configuration"):
        make(tmp_path, epochs=1, identity="other").resume()


def test_a_damaged_state_is_said_to_be_so(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"cut short")
    with pytest.raises(InputError, match="cannot be read"):
        make(tmp_path).resume()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state(tmp_path):
    def poisoned(epoch):
        for batch in batches(epoch):
            points, labels = batch()
            yield lambda p=points * (float("nan") if epoch else 1), y=labels: (p, y)

    run = make(tmp_path)
    with pytest.raises(InputError, match="epoch 2, step 1: the loss is nan"):
        run.fit(poisoned, nothing)
    assert make(tmp_path).resume()


def test_a_record_without_its_state_is_written_again(tmp_path):
    make(tmp_path, epochs=2).fit(batches, nothing)
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 3, "loss": 1}\n{"epoch": 3, "lo')
    run = make(tmp_path, epochs=2)
    run.epochs = 3
    assert run.resume()
    run.fit(batches, nothing)
    lines = metrics.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
    assert "learning_rate" in json.loads(lines[-1])
