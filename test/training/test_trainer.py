from __future__ import annotations

import dataclasses
import json
import math
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.parameters import ConfigError, from_mapping
from training import learning_curve
from training.config import ComputeConfig, OptimiserConfig
from training.optimisers import learning_rate_factor
from training.trainer import Batch, Trainer


@pytest.fixture(autouse=True)
def _no_pictures(request, monkeypatch):
    """Drawing takes longer than these runs; the tests that are about it ask for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(learning_curve, "draw", lambda folder: None)


@pytest.fixture
def drawn():
    return "learning_curve.png"


def cross_entropy(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def make(folder, epochs=4, identity=None, compute=None, loss=cross_entropy, **optimiser):
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    return Trainer(
        model,
        loss,
        OptimiserConfig(**({"learning_rate": 0.05, "average": 0.5} | optimiser)),
        folder,
        epochs=epochs,
        steps_per_epoch=math.ceil(3 / optimiser.get("accumulate", 1)),
        seed=1,
        identity=identity or {"name": "run"},
        compute=compute or ComputeConfig(device="cpu"),
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


@pytest.mark.parametrize(
    "optimiser",
    [
        {"kind": "adamw"},
        {"kind": "sgd"},
        {"accumulate": 2},
        {"schedule": "steps", "milestones": (1, 3), "gradient_clip": 0.1},
    ],
    ids=str,
)
def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path, optimiser):
    whole = make(tmp_path / "whole", **optimiser)
    whole.fit(batches, nothing)

    def batches_then_death(epoch):
        for number, batch in enumerate(batches(epoch)):
            if (epoch, number) == (2, 1):
                raise Killed
            yield batch

    cut = make(tmp_path / "cut", **optimiser)
    with pytest.raises(Killed):
        cut.fit(batches_then_death, nothing)
    again = make(tmp_path / "cut", **optimiser)
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
    before = {"optimiser": {"learning_rate": 0.1, "kind": "sgd"}, "classes": ("a", "b")}
    now = {"optimiser": {"learning_rate": 0.2, "kind": "sgd"}, "classes": ("a", "b"), "size": 3}
    make(tmp_path, epochs=1, identity=before).fit(batches, nothing)
    with pytest.raises(InputError) as raised:
        make(tmp_path, epochs=1, identity=now).resume()
    assert str(raised.value) == (
        f"{tmp_path}/state.pt: it is of a run with another configuration: "
        "optimiser.learning_rate was 0.1, is 0.2; size was not there, is 3; "
        "use another --out to keep it; --fresh starts anew and deletes it"
    )
    assert make(tmp_path, epochs=1, identity=before).resume()


@pytest.mark.parametrize("content", [b"cut short", b"", Path("of another program")], ids=str)
def test_a_damaged_state_is_said_to_be_so(tmp_path, content):
    path = tmp_path / "state.pt"
    torch.save(content, path) if isinstance(content, Path) else path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read .*another --out") as raised:
        make(tmp_path).resume()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: [state],
        lambda state: {"epoch": 3},
        lambda state: state | {"epoch": "three"},
        lambda state: state | {"model": {"weight": torch.ones(3)}},
        lambda state: state | {"optimiser": []},
        lambda state: state | {"average": None},
    ],
)
def test_a_file_of_tensors_that_is_no_state_is_refused_in_a_line(tmp_path, change):
    make(tmp_path, epochs=1).fit(batches, nothing)
    path = tmp_path / "state.pt"
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(InputError, match=r"state\.pt: not a state of such a run") as raised:
        make(tmp_path, epochs=1).resume()
    assert "\n" not in str(raised.value)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_state(tmp_path):
    def poisoned(epoch):
        for batch in batches(epoch):
            points, labels = batch()
            yield lambda p=points * (float("nan") if epoch else 1), y=labels: (p, y)

    run = make(tmp_path)
    with pytest.raises(InputError, match="epoch 2, step 1: the loss is nan"):
        run.fit(poisoned, nothing)
    assert make(tmp_path).resume()


def spoilt_at(call, spoil):
    """A loss that is as ever, but for what `spoil` does at its n-th call."""
    calls = iter(range(1, 1000))

    def loss(model, batch):
        value = cross_entropy(model, batch)
        return spoil(model, value) if next(calls) == call else value

    return loss


def with_bad_gradients(model, value):
    return value + (model[0].weight * 0).sqrt().sum()  # 0, with the slope 0 * inf


def with_bad_statistics(model, value):
    model[1].running_var.data.fill_(math.inf)  # not used while training
    return value


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (with_bad_gradients, "epoch 2, step 3: the gradients' norm is nan; "),
        (with_bad_statistics, "epoch 2: '1.running_var' has values that are not finite numbers; "),
    ],
)
def test_what_is_no_number_after_the_last_step_does_not_replace_the_last_state(
    tmp_path, spoil, says
):
    # Of three steps an epoch the sixth is the last of the second: no loss comes after it.
    run = make(tmp_path, loss=spoilt_at(6, spoil))
    with pytest.raises(InputError) as raised:
        run.fit(batches, nothing)
    assert str(raised.value) == (
        f"{says}the last good state is {tmp_path}/state.pt: "
        "start a run in another --out with a lower optimiser.learning_rate"
    )
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["epoch"] == 1
    assert all(torch.isfinite(one).all() for one in state["model"].values())
    again = make(tmp_path)
    assert again.resume()
    again.fit(batches, nothing)


def test_the_average_is_what_is_validated_and_returned(tmp_path):
    live, validated = [], []

    def validate(model, epoch):
        live.append(run.model[0].weight.detach().clone())
        validated.append(model[0].weight.detach().clone())
        return {}

    config = OptimiserConfig(kind="sgd", learning_rate=1.0, warmup_epochs=0, average=0.15)
    run = plain(tmp_path, config, epochs=3)
    run.fit(lambda epoch: [lambda: samples(6)], validate)
    # One step an epoch. The first weights are taken as they are; then so much of the old is kept as
    # the decay says, as it is below 2/11 and 3/12, with which an average begins.
    first = live[0]
    second = 0.15 * first + 0.85 * live[1]
    third = 0.15 * second + 0.85 * live[2]
    for got, expected in zip(validated, (first, second, third)):
        torch.testing.assert_close(got, expected)
    assert not torch.allclose(validated[-1], live[-1], atol=1e-4)
    assert torch.equal(run.result[0].weight, validated[-1])


def test_an_epoch_in_which_nothing_has_a_label_is_refused(tmp_path):
    batch = samples(4)
    nothing_known = dataclasses.replace(batch, weight=0)
    run = plain(tmp_path, OptimiserConfig(), steps=2)
    run.fit(lambda epoch: [lambda: nothing_known, lambda: batch], nothing)
    run = plain(tmp_path / "other", OptimiserConfig(), steps=2)
    with pytest.raises(InputError, match="epoch 1: nothing in this epoch has a label"):
        run.fit(lambda epoch: [lambda: nothing_known] * 2, nothing)


def test_batches_are_made_in_several_threads_at_once(tmp_path):
    together = threading.Barrier(3, timeout=30)

    def batches_that_wait(epoch):
        def with_the_others(make_it):
            together.wait()
            return make_it()

        return [partial(with_the_others, batch) for batch in batches(epoch)]

    make(tmp_path, compute=ComputeConfig(device="cpu", loaders=3)).fit(batches_that_wait, nothing)


@pytest.mark.parametrize("optimiser", [{}, {"accumulate": 2}], ids=str)
def test_how_many_threads_make_batches_changes_nothing(tmp_path, optimiser):
    def first_one_late(epoch):
        """Where there are several threads, the second batch is there before the first."""
        events = [threading.Event() for _ in range(3)]

        def late(number, make_it):
            if threads > 1 and number == 0:
                events[1].wait(30)
            events[number].set()
            return make_it()

        return [partial(late, number, batch) for number, batch in enumerate(batches(epoch))]

    ends = []
    for threads in (1, 2, 4):
        compute = ComputeConfig(device="cpu", loaders=threads)
        run = make(tmp_path / str(threads), compute=compute, **optimiser)
        run.fit(first_one_late, nothing)
        ends.append(run.result.state_dict())
    for other in ends[1:]:
        for name, value in ends[0].items():
            assert torch.equal(value, other[name]), name


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


def plain(folder, config, compute=None, steps=1, epochs=1):
    """A run of a model without anything random and without batch statistics."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return Trainer(
        model,
        lambda model, batch: nn.functional.cross_entropy(model(batch.clips), batch.labels),
        config,
        folder,
        epochs=epochs,
        steps_per_epoch=steps,
        seed=1,
        identity={"name": "plain"},
        compute=compute or ComputeConfig(device="cpu"),
    )


def samples(count, names=False, seed=0):
    random = torch.Generator().manual_seed(seed)
    clips = torch.randn(count, 4, generator=random)
    said = tuple(f"video{n}" for n in range(count)) if names else ()
    return Batch(clips, (clips.sum(1) > 0).long(), said)


def cut(batch, sizes):
    """The batch in parts, each to be made by calling it."""
    parts = zip(batch.clips.split(sizes), batch.labels.split(sizes))
    return [lambda clips=clips, labels=labels: Batch(clips, labels) for clips, labels in parts]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_batches_that_are_accumulated_have_the_gradients_of_the_joined_one(sizes):
    whole = samples(sum(sizes))
    found = []
    for parts, accumulate in (([len(whole.clips)], 1), (sizes, len(sizes))):
        config = OptimiserConfig(
            kind="sgd", learning_rate=1.0, momentum=0.0, weight_decay=0.0, warmup_epochs=0,
            accumulate=accumulate,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            run = plain(Path(folder), config)
            run.fit(lambda epoch, parts=parts: cut(whole, parts), nothing)
            record = json.loads((Path(folder) / "metrics.jsonl").read_text())
        found.append(([one.grad for one in run.model.parameters()], record["loss"]))
    (expected, loss), (got, mean) = found
    assert mean == pytest.approx(loss, rel=1e-5)
    for one, other in zip(expected, got):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)


def test_batches_are_weighed_by_what_their_loss_is_the_mean_of(tmp_path):
    # 5 clips, of which 3 and 0 of 2 have labels: the joined loss is that of the 3 alone.
    whole = samples(5)
    parts = [
        lambda: Batch(whole.clips[:3], whole.labels[:3], weight=3),
        lambda: Batch(whole.clips[3:], whole.labels[3:], weight=0),
    ]
    one = plain(tmp_path / "one", OptimiserConfig(accumulate=2))
    one.fit(lambda epoch: parts, nothing)
    other = plain(tmp_path / "other", OptimiserConfig())
    other.fit(lambda epoch: parts[:1], nothing)
    for left, right in zip(one.model.parameters(), other.model.parameters()):
        torch.testing.assert_close(left.grad, right.grad)


def test_what_is_left_of_an_epoch_is_a_step_of_its_own(tmp_path):
    # Five batches by two: three steps, the last of one batch, which weighs as a whole one.
    config = OptimiserConfig(
        accumulate=2, learning_rate=0.1, schedule="steps", milestones=(9,), warmup_epochs=0
    )
    parts = cut(samples(10), [2] * 5)
    run = plain(tmp_path, config, steps=3)
    run.fit(lambda epoch: parts, nothing)
    before = plain(tmp_path / "before", config, steps=2)
    before.fit(lambda epoch: parts[:4], nothing)
    batch = parts[4]()
    loss = nn.functional.cross_entropy(before.model(batch.clips), batch.labels)
    before.model.zero_grad()
    loss.backward()
    for left, right in zip(run.model.parameters(), before.model.parameters()):
        torch.testing.assert_close(left.grad, right.grad)


def test_an_epoch_of_another_length_than_the_schedule_is_refused(tmp_path):
    run = plain(tmp_path, OptimiserConfig(accumulate=2), steps=5)
    with pytest.raises(ValueError, match="had 3 steps; the schedule was made for 5"):
        run.fit(lambda epoch: cut(samples(10), [2] * 5), nothing)


def factors(epochs, steps, **optimiser):
    factor = learning_rate_factor(OptimiserConfig(**optimiser), epochs, steps)
    return [factor(step) for step in range(epochs * steps + 1)]


def test_the_cosine_schedule_by_hand():
    # Warm-up of 2 steps: 1/3, 2/3; then 4 steps down, and the end.
    got = factors(3, 2, warmup_epochs=1.0)
    half = [0.5 * (1 + math.cos(math.pi * part / 4)) for part in range(5)]
    assert got == pytest.approx([1 / 3, 2 / 3, *half])
    # Down to a tenth: 0.1 + 0.9 times the same.
    got = factors(3, 2, warmup_epochs=1.0, learning_rate=1e-3, final_learning_rate=1e-4)
    assert got == pytest.approx([1 / 3, 2 / 3, *(0.1 + 0.9 * one for one in half)])


def test_the_schedule_of_steps_by_hand():
    got = factors(4, 2, schedule="steps", milestones=(1, 3), gamma=0.5, warmup_epochs=0)
    assert got == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    # PSTNet on NTU RGB+D: the warm-up is longer than the first milestone, and goes on.
    got = factors(4, 1, schedule="steps", milestones=(1, 3), gamma=0.5, warmup_epochs=3)
    assert got == pytest.approx([1 / 4, 0.5 * 2 / 4, 0.5 * 3 / 4, 0.25, 0.25])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"schedule": "steps"}, "milestones: schedule 'steps' needs at least one"),
        ({"milestones": [3]}, "milestones: they are for schedule 'steps'"),
        ({"schedule": "steps", "milestones": [3, 2]}, "expected them to rise"),
        (
            {"schedule": "steps", "milestones": [3], "final_learning_rate": 1e-5},
            "final_learning_rate: it is for schedule 'cosine'",
        ),
        ({"final_learning_rate": 1.0}, "above the peak"),
        ({"accumulate": 0}, "accumulate: expected 1 to 4096"),
        ({"kind": "adamw", "momentum": 0.5}, "momentum: it is for kind 'sgd'"),
        ({"schedule": "cosine", "gamma": 0.5}, "gamma: it is for schedule 'steps'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        from_mapping(OptimiserConfig, values, "file: optimiser")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"schedule": "steps", "milestones": (3, 11)}, "milestones: 11 is beyond the run's 10"),
        ({"warmup_epochs": 10.5}, "warmup_epochs: 10.5 are more than the run's 10 epochs"),
    ],
)
def test_a_schedule_that_is_longer_than_the_run_is_refused(values, says):
    with pytest.raises(ValueError, match=says):
        OptimiserConfig(**values).check_epochs(10)
    OptimiserConfig(**values).check_epochs(11)


def test_the_usual_warm_up_may_be_longer_than_the_run():
    OptimiserConfig().check_epochs(1)


def test_reduced_precision_learns_and_keeps_single_precision_weights(tmp_path):
    compute = ComputeConfig(device="cpu", precision="bfloat16")
    seen = []

    run = make(tmp_path, epochs=20, compute=compute)
    run.model[0].register_forward_hook(lambda module, given, made: seen.append(made.dtype))
    run.fit(batches, nothing)
    assert set(seen) == {torch.bfloat16}
    assert {one.dtype for one in run.model.parameters()} == {torch.float32}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]


def test_half_precision_needs_a_gpu(tmp_path):
    with pytest.raises(InputError, match="float16 needs a GPU, this runs on cpu"):
        make(tmp_path, compute=ComputeConfig(device="cpu", precision="float16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_so(tmp_path):
    with pytest.raises(InputError, match="compute.device: cuda, but PyTorch sees no GPU"):
        make(tmp_path, compute=ComputeConfig(device="cuda"))


def test_the_names_of_samples_whose_loss_is_no_number_are_said(tmp_path):
    batch = samples(3, names=True)
    batch.clips[1, 2] = float("nan")
    run = plain(tmp_path, OptimiserConfig())
    with pytest.raises(
        InputError, match="loss is nan for video0, video1, video2; no state is kept"
    ):
        run.fit(lambda epoch: [lambda: batch], nothing)


def test_a_batch_with_further_tensors_goes_to_the_device_as_a_whole():
    @dataclasses.dataclass(frozen=True)
    class WithImages(Batch):
        images: Tensor | None = None

    made = WithImages(torch.ones(2, 3), torch.ones(2), ("a", "b"), images=torch.ones(2, 5))
    moved = made.to(torch.device("meta"))
    assert moved.clips.device.type == moved.labels.device.type == "meta"
    assert moved.images.device.type == "meta"
    assert (moved.names, moved.weight) == (("a", "b"), None)


class CannotBeMade(Exception):
    pass


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_cannot_be_made_raises_its_own_error(tmp_path, which, accumulate):
    def fails():
        raise CannotBeMade("file 7 is cut short")

    def with_a_bad_one(epoch):
        made = list(batches(epoch))
        made[which] = fails
        return made

    with pytest.raises(CannotBeMade, match="file 7"):
        make(tmp_path, accumulate=accumulate).fit(with_a_bad_one, nothing)


def state_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)["epoch"]


def fit_until(folder, epoch, spoil):
    """Runs with `spoil()` called when an epoch is validated."""

    def validate(model, now):
        if now == epoch:
            spoil()
        return {}

    make(folder).fit(batches, validate)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_stops_the_run_and_keeps_the_last_state(tmp_path):
    with pytest.raises(InputError, match=r"state\.pt: cannot be written .*No space left") as error:
        fit_until(tmp_path, 3, lambda: (tmp_path / "state.pt.part").symlink_to("/dev/full"))
    assert "\n" not in str(error.value)
    assert state_of(tmp_path) == 2
    assert not (tmp_path / "state.pt.part").is_symlink()
    again = make(tmp_path)
    assert again.resume()
    again.fit(batches, nothing)
    assert state_of(tmp_path) == 4


@pytest.mark.parametrize(
    "error",
    [OSError(30, "Read-only file system"), RuntimeError("unexpected pos 64 vs 0\nat line 3")],
)
def test_a_state_that_cannot_be_written_is_said_in_a_line(tmp_path, monkeypatch, error):
    def cannot(*_, **__):
        raise error

    with pytest.raises(InputError, match=r"state\.pt: cannot be written") as raised:
        fit_until(tmp_path, 2, lambda: monkeypatch.setattr(torch, "save", cannot))
    assert "\n" not in str(raised.value)
    assert state_of(tmp_path) == 1
    assert not (tmp_path / "state.pt.part").exists()


def test_a_folder_that_cannot_be_made_is_said_in_a_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be made"):
        make(tmp_path / "file" / "run")


def test_a_log_gets_a_line_an_epoch(tmp_path, capfd):
    make(tmp_path, epochs=3).fit(batches, lambda model, epoch: {"seen": epoch / 3})
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"epoch {n} of 3" for n in (1, 2, 3)]
    assert "seen 0.3333" in lines[0] and "loss" in lines[0] and lines[0].endswith("left")


def test_the_learning_curve_is_drawn_at_the_end(tmp_path, drawn):
    make(tmp_path, epochs=2).fit(batches, lambda model, epoch: {"seen": epoch / 2})
    assert (tmp_path / drawn).read_bytes().startswith(b"\x89PNG")
    make(tmp_path).forget()
    assert list(tmp_path.iterdir()) == []
