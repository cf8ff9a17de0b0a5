"""Tables of runs: the rows, what sets them apart, and that nothing is trained twice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_finetune import config, root  # noqa: F401

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from training import ablation, data_efficiency, measuring, series
from training.data import open_videos
from training.finetune import build_model
from training.pretrain import build_model as build_pretraining


@pytest.fixture
def run(root):  # noqa: F811
    def one(row, seed):
        return series.Run(config(root, name=f"{row}_{seed}", seed=seed, epochs=1))

    return one


def told(*arguments):
    return series.parser("A table.", "nowhere").parse_args(arguments)


def test_a_row_is_the_mean_of_its_seeds_and_is_trained_once(run, tmp_path, monkeypatch, capsys):
    asked = told("--out", str(tmp_path), "--seeds", "1", "2")
    figures = series.figures_of(["a"], run, asked)
    assert list(figures) == ["a", "a_std", "a_segments", "a_segments_std"]
    each = [
        series.video_accuracies(
            tmp_path / name / f"{name}.safetensors", run("a", 0).config, "test"
        )["windows"]
        for name in ("a_1", "a_2")
    ]  # fmt: skip
    assert figures["a"] == pytest.approx(sum(each) / 2, abs=0.01)
    assert figures["a_std"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5, abs=0.01)
    monkeypatch.setattr(series, "finetune", None)
    assert series.figures_of(["a"], run, asked) == figures
    assert capsys.readouterr().out.count("a_segments_std") == 2


def test_several_runs_at_a_time_give_the_same_and_keep_what_they_say(run, tmp_path):
    alone = series.figures_of(["a", "b"], run, told("--out", str(tmp_path / "alone")))
    asked = told("--out", str(tmp_path / "together"), "--jobs", "2")
    assert series.figures_of(["a", "b"], run, asked) == alone
    for name in ("a_0", "b_0"):
        assert "epoch 1 of 1" in (tmp_path / "together" / name / "log.txt").read_text()


def test_what_a_run_begins_with_is_trained_first_where_it_is_not_there(run, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(series, "pretrain", lambda config, folder: done.append((config, folder)))
    monkeypatch.setattr(series, "finetune", lambda config, folder, init: done.append(init))
    monkeypatch.setattr(series, "video_accuracies", lambda *_: {"windows": 50.0})
    weights, before = tmp_path / "before" / "weights.safetensors", object()

    def begun(row, seed):
        return series.Run(run(row, seed).config, weights, before)

    asked = told("--out", str(tmp_path))
    assert series.figures_of(["a"], begun, asked) == {"a": 50.0}
    assert done == [(before, weights.parent), weights]
    weights.parent.mkdir()
    weights.touch()
    series.figures_of(["a"], begun, asked)
    assert done[2:] == [weights]


def test_figures_go_into_a_file_or_beside_those_that_it_has(run, tmp_path):
    path, data = tmp_path / "one.json", run("a", 0).config.data

    def record(name, figures, *more):
        series.record(figures, name, data, "how", told("--results", str(path), *more))
        return json.loads(path.read_text())

    first = record("first", {"a": 1.0})
    assert first["figures"] == {"a": 1.0} and "split" in first["data"]
    both = record("second", {"b": 2.0, "c": 3.0}, "--beside")
    assert both["figures"] == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert both["name"] == "first"
    assert both["beside"]["second"]["figures"] == ["b", "c"]
    assert "--beside" not in first["command"]
    again = record("second", {"b": 4.0}, "--beside")
    assert again["figures"] == {"a": 1.0, "b": 4.0}
    with pytest.raises(ValueError, match="a: figures of first, too"):
        record("third", {"a": 5.0}, "--beside")
    series.record({}, "nothing", data, "how", told())


@pytest.mark.parametrize("beginning", ["scratch", "crossvideo"])
@pytest.mark.parametrize("percent", data_efficiency.CLIPS_PER_VIDEO)
def test_data_efficiency_differs_in_the_beginning_alone(beginning, percent):
    made = data_efficiency.recipe(beginning, percent, 3, ("data.root=somewhere",))
    other = data_efficiency.recipe("scratch", percent, 3, ("data.root=somewhere", "name=x"))
    assert made.name == f"{beginning}_{percent}_3"
    assert made.data.train_share == percent / 100 and made.data.share_seed == made.seed == 3
    assert replace(made, name="x") == other
    build_model(made, 20)


def test_every_row_of_the_ablation_can_be_trained():
    terms = {}
    for row in ablation.ROWS:
        made = ablation.pretraining(row, 2, ("data.root=somewhere",))
        assert made.name == f"{row}_2" and made.seed == 2 and not made.data.holdout
        loss = made.loss
        terms[row] = (loss.cross, loss.intra, loss.frame, loss.video)
        _, sizes = build_pretraining(made)
        tuned = data_efficiency.recipe(row, 20, 2)
        assert build_model(tuned, 20)[1] == sizes["points"]
    assert len(set(terms.values())) == len(terms)
    assert terms["crossvideo"] == (True,) * 4
    assert terms["c2p"] == (False, True, True, False)
    assert all(sum(kept) == 3 for row, kept in terms.items() if row.startswith("no_"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("weights.safetensors", "expected NAME=FILE"),
        ("scratch=weights.safetensors", "the name not 'scratch'"),
        ("crossvideo=nowhere.safetensors", "no such file; training/pretrain.py makes it"),
    ],
)
def test_weights_to_begin_with_have_a_name_and_are_there(monkeypatch, capsys, given, says):
    monkeypatch.setattr("sys.argv", ["data_efficiency.py", "--init", given])
    assert data_efficiency.main() == 2
    assert says in capsys.readouterr().err


def test_a_model_is_not_measured_on_what_its_first_weights_have_seen(root, tmp_path):  # noqa: F811
    run = config(root, epochs=1)
    loaded = checkpoint.load(series.finetune(run, tmp_path))
    videos = open_videos(run.data)
    begun = {"dataset": run.data.dataset, "groups": ["p12"]}
    loaded.card.trained_on["initial_weights"] = begun
    with pytest.raises(InputError, match="was trained on p12"):
        measuring.choose(loaded, videos, run.data, "test")
    begun["dataset"] = "another"
    assert measuring.choose(loaded, videos, run.data, "test")
