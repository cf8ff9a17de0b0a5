"""Tables of runs: the rows, what sets them apart, and that nothing is trained twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_finetune import config, root  # noqa: F401
from test_pretrain import config as pretraining
from test_pretrain import finetune_config
from test_pretrain import root as films  # noqa: F401

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from training import ablation, data_efficiency, measuring, series
from training.data import open_videos
from training.finetune import build_model
from training.pretrain import build_model as build_pretraining
from training.trainer import Trainer


@pytest.fixture
def run(root):  # noqa: F811
    def one(row, seed):
        return series.Run(config(root, name=f"{row}_{seed}", seed=seed, epochs=1))

    return one


def told(*arguments):
    return series.parser("A table.", "nowhere").parse_args(arguments)


def table(rows, run, asked, name="table"):
    return series.tell(rows, run, name, run("a", 0).config.data, "how", asked)


def test_a_row_is_the_mean_of_its_seeds_and_is_trained_once(run, tmp_path, monkeypatch, capsys):
    asked = told("--out", str(tmp_path), "--seeds", "1", "2")
    figures = table(["a"], run, asked)
    assert list(figures) == ["a", "a_std", "a_segments", "a_segments_std", "table_by_seed"]
    each = [
        series.video_accuracies(
            tmp_path / name / f"{name}.safetensors", run("a", 0).config, "test"
        )["windows"]
        for name in ("a_1", "a_2")
    ]  # fmt: skip
    assert figures["a"] == pytest.approx(sum(each) / 2, abs=0.01)
    assert figures["a_std"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5, abs=0.01)
    own = figures["table_by_seed"]
    assert [own[seed]["a"] for seed in ("1", "2")] == pytest.approx(each, abs=0.01)
    monkeypatch.setattr(Trainer, "fit", None)
    assert table(["a"], run, asked) == figures
    assert capsys.readouterr().out.count("a_segments_std") == 2


def test_what_was_trained_otherwise_is_not_taken_for_what_is_asked(run, tmp_path):
    asked = told("--out", str(tmp_path), "--seeds", "1")
    table(["a"], run, asked)

    def other(row, seed):
        return series.Run(replace(run(row, seed).config, encoder_rate=0.0))

    with pytest.raises(InputError, match="encoder_rate was 1.0, is 0.0"):
        table(["a"], other, asked)


def test_several_runs_at_a_time_give_the_same_and_keep_what_they_say(run, tmp_path):
    alone = table(["a", "b"], run, told("--out", str(tmp_path / "alone")))
    asked = told("--out", str(tmp_path / "together"), "--jobs", "2")
    assert table(["a", "b"], run, asked) == alone
    for name in ("a_0", "b_0"):
        assert "epoch 1 of 1" in (tmp_path / "together" / name / "log.txt").read_text()


def test_videos_are_prepared_once_before_several_runs_begin(run, tmp_path, monkeypatch):
    there = run("a", 0).config.data
    prepared = tmp_path / "prepared"  # which only this process can make: there is no release

    def made(data):
        shutil.copytree(there.prepared, data.prepared)

    def elsewhere(row, seed):
        one = run(row, seed).config
        return series.Run(replace(one, data=replace(there, prepared=str(prepared))))

    monkeypatch.setattr(series, "open_videos", made)
    asked = told("--out", str(tmp_path / "out"), "--jobs", "2")
    assert table(["a", "b"], elsewhere, asked).keys() >= {"a", "b"}


def test_a_run_that_fails_beside_others_is_told_with_its_folder(run, tmp_path, capfd):
    asked = told("--out", str(tmp_path), "--seeds", "1")
    table(["a"], run, asked)

    def other(row, seed):
        return series.Run(replace(run(row, seed).config, encoder_rate=0.0))

    asked.jobs = 2
    with pytest.raises(InputError, match="encoder_rate was 1.0, is 0.0"):
        table(["a", "b"], other, asked)
    said = capfd.readouterr().err
    assert f"{tmp_path / 'a_1'}: failed" in said and f"{tmp_path / 'b_1'}: failed" not in said


def test_what_runs_begin_with_is_trained_first_and_once(run, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(series, "pretrain", lambda config, folder: done.append((config, folder)))
    monkeypatch.setattr(series, "finetune", lambda config, folder, init: done.append(init))
    monkeypatch.setattr(series, "video_accuracies", lambda *_: {"windows": 50.0, "segments": 40.0})
    weights = tmp_path / "before" / "weights.safetensors"
    before = SimpleNamespace(data=run("a", 0).config.data)

    def begun(row, seed):
        return series.Run(run(row, seed).config, weights, before)

    table(["a"], begun, told("--out", str(tmp_path), "--seeds", "1", "2"))
    assert done == [(before, weights.parent), weights, weights]


def test_a_pretraining_is_shared_by_seeds_and_held_against_what_is_asked(films, tmp_path):  # noqa: F811
    def begun(**changes):
        before = pretraining(films, name="before", epochs=1, **changes)
        weights = tmp_path / "before" / "before_points.safetensors"

        def one(row, seed):
            tuned = finetune_config(films, name=f"{row}_{seed}", seed=seed, epochs=1)
            return series.Run(tuned, weights, before)

        return one

    asked = told("--out", str(tmp_path), "--seeds", "1", "2", "--jobs", "2", "--split", "holdout")
    figures = table(["a"], begun(), asked)
    assert len(figures["table_by_seed"]) == 2
    assert "epoch 1 of 1" in (tmp_path / "before" / "log.txt").read_text()
    again = told("--out", str(tmp_path), "--seeds", "1", "2", "--split", "holdout")
    assert table(["a"], begun(), again) == figures
    with pytest.raises(InputError, match="before.*loss.cross was True, is False"):
        table(["a"], begun(loss={"cross": False}), again)


@pytest.fixture
def guessed(run, monkeypatch):
    """Tables of runs that nobody trains: a row's accuracy is its seed times ten, and its place."""

    def accuracy(folder, one, part):
        row, seed = one.config.name.split("_")
        value = 10.0 * int(seed) + "abc".index(row)
        return {"": value, "_segments": value / 2}

    monkeypatch.setattr(series, "_measured", accuracy)
    return run


def test_figures_go_into_a_file_or_beside_those_that_it_has(guessed, tmp_path):
    path = tmp_path / "one.json"

    def record(name, rows, *more):
        table(rows, guessed, told("--results", str(path), *more), name)
        return json.loads(path.read_text())

    first = record("first", ["a"])
    assert list(first["figures"]) == ["a", "a_segments", "first_by_seed"]
    assert "split" in first["data"] and "--beside" not in first["command"]
    both = record("second", ["b", "c"], "--beside")
    assert both["name"] == "first" and both["figures"]["a"] == 0 and both["figures"]["c"] == 2
    assert "b_segments" in both["beside"]["second"]["figures"]
    again = record("second", ["b"], "--beside", "--seeds", "3")
    assert "c" not in again["figures"] and again["figures"]["b"] == 31
    first_again = record("first", ["a"], "--beside", "--seeds", "4")
    assert first_again["figures"]["a"] == 40 and first_again["figures"]["b"] == 31
    assert first_again["seeds"] == [4] and first_again["beside"] == again["beside"]
    with pytest.raises(InputError, match="a, a_segments: figures of first, too; name another"):
        record("third", ["a"], "--beside")
    with pytest.raises(InputError, match="b, b_segments: figures of those beside it, too"):
        record("first", ["b"], "--beside")


def test_seeds_of_an_earlier_table_count_with_those_that_are_asked_for(guessed, tmp_path):
    path = tmp_path / "one.json"
    table(["c"], guessed, told("--results", str(path)), "other")
    whole = table(["a", "b"], guessed, told("--seeds", "1", "2", "3"))
    table(["a", "b"], guessed, told("--results", str(path), "--beside", "--seeds", "1", "3"))
    more = ("--results", str(path), "--beside", "--earlier", str(path), "--seeds", "2")
    assert table(["a", "b"], guessed, told(*more)) == whole
    written = json.loads(path.read_text())
    assert written["figures"]["a"] == whole["a"] == 20 and written["figures"]["c"] == 2
    assert written["beside"]["table"]["seeds"] == [1, 2, 3]
    assert "seeds 1 and 3 as recorded at " in written["beside"]["table"]["protocol"]
    for asked, rows, name, says in (
        (more, ["a", "b"], "table", "has seed 2, which --seeds asks for"),
        ((*more[:-1], "4"), ["a"], "table", "other rows than are asked for: b, b_segments"),
        ((*more[:-1], "4"), ["a", "b"], "another", "no file of results with each seed of another"),
        ((*more[:-1], "4", "--split", "holdout"), ["a", "b"], "table", "not '.*, holdout split'"),
        (("--earlier", "nowhere.json"), ["a"], "table", "nowhere.json: no file of results"),
    ):
        with pytest.raises(InputError, match=says):
            table(rows, guessed, told(*asked), name)
    data = guessed("a", 0).config.data
    with pytest.raises(InputError, match="measured by 'how; video .*', not 'otherwise; "):
        series.tell(["a", "b"], guessed, "table", data, "otherwise", told(*more[:-1], "4"))


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


def test_the_ablation_takes_other_recipes_whose_clips_have_an_action(tables, capsys):
    finetuning = "config/training/studio_pptr.yaml"
    pretraining = "config/training/crossvideo_studio.yaml"
    asked = ("--recipe", finetuning, "--pretraining-recipe", pretraining, "--percent", "4")
    code, runs, protocol = tables(ablation, *asked)
    assert code == 0
    assert f"{pretraining}, 40 epochs" in protocol and f"{finetuning}, fine-tuned" in protocol
    for (row, _), run in runs.items():
        assert run.config.data.dataset == "studio" and run.config.data.train_share == 0.04
        if row != "scratch":
            assert run.pretraining.data.dataset == "studio"
            assert run.pretraining.data.prepared == run.config.data.prepared
            _, sizes = build_pretraining(run.pretraining)
            assert build_model(run.config, 14)[1] == sizes["points"]
    code, _, _ = tables(ablation, "--recipe", "config/training/studio_actions.yaml")
    assert code == 2 and "studio_actions.yaml: task action_segment" in capsys.readouterr().err


@pytest.fixture
def tables(monkeypatch):
    """Runs a table's command line; gives what it would train: rows, runs and the protocol."""

    def call(module, *arguments):
        asked = []
        monkeypatch.setattr(series, "tell", lambda *given: asked.append(given))
        monkeypatch.setattr("sys.argv", ["table.py", *arguments])
        code = module.main()
        [(rows, run, _, _, protocol, given)] = asked or [((),) * 6]
        return code, {(row, seed): run(row, seed) for row in rows for seed in given.seeds}, protocol

    return call


def test_the_ablation_has_the_share_and_the_pretrainings_that_are_asked_for(tables):
    asked = ("--rows", "scratch", "no_cross", "--percent", "10", "--seeds", "1", "2")
    code, runs, protocol = tables(ablation, *asked, "--set", "encoder_rate=0")
    assert code == 0 and "10 % of them (pre-trained encoders as they were), 512" in protocol
    scratch, without = runs["scratch", 2], runs["no_cross", 2]
    assert scratch.init is None and scratch.pretraining is None
    assert scratch.config.data.train_share == without.config.data.train_share == 0.1
    assert without.init.name == "no_cross_2_points.safetensors"
    assert not without.pretraining.loss.cross and without.pretraining.seed == 2
    _, runs, protocol = tables(ablation, *asked, "--pretraining-seed", "5")
    assert runs["no_cross", 1].init == runs["no_cross", 2].init
    assert runs["no_cross", 1].pretraining.seed == 5 and "of them, 512 points" in protocol
    _, runs, _ = tables(ablation, *asked, "--pretrainings", "elsewhere")
    assert runs["no_cross", 1].init.parts[:2] == ("elsewhere", "no_cross_1_pretraining")
    _, runs, _ = tables(ablation)
    _, probed, _ = tables(ablation, "--set", "encoder_rate=0")
    assert runs.keys() - probed.keys() == {("scratch", 0)}  # it has nothing to leave as it is


def test_each_seed_may_begin_with_a_pretraining_of_its_own(tables, tmp_path, capsys):
    for seed in (1, 2):
        (tmp_path / f"a_{seed}.safetensors").touch()
    pattern = f"a={tmp_path}/a_{{seed}}.safetensors"
    asked = ("--shares", "20", "--init", pattern, "--seeds", "1", "2")
    code, runs, protocol = tables(data_efficiency, *asked)
    assert code == 0 and pattern in protocol
    assert [runs["a_20", seed].init.name for seed in (1, 2)] == [
        "a_1.safetensors",
        "a_2.safetensors",
    ]
    assert runs["scratch_20", 1].init is None
    _, runs, protocol = tables(data_efficiency, *asked, "--set-init", "optimiser.warmup_epochs=15")
    warm_up = {row: run.config.optimiser.warmup_epochs for row, run in runs.items()}
    assert warm_up == dict.fromkeys([("a_20", 1), ("a_20", 2)], 15) | dict.fromkeys(
        [("scratch_20", 1), ("scratch_20", 2)], 2
    )
    assert protocol.endswith(", which have optimiser.warmup_epochs=15")
    code, _, _ = tables(data_efficiency, *asked, "3")
    assert code == 2 and "a_3.safetensors; training/pretrain.py makes it" in capsys.readouterr().err


def test_each_seed_has_the_labels_of_other_people(tables, root, tmp_path, capsys):  # noqa: F811
    (tmp_path / "a.safetensors").touch()
    asked = (
        "--init", f"a={tmp_path}/a.safetensors", "--shares", "40", "--seeds", "0", "1", "8",
        "--set", f"data.prepared={root}/prepared", "--set", "data.holdout=[p0]",
    )  # fmt: skip
    code, runs, protocol = tables(data_efficiency, *asked, "--groups", "2")
    assert code == 0 and "videos of 2 of their groups, other groups for each seed" in protocol
    for row in ("scratch_40", "a_40"):
        named = [runs[row, seed].config.data.train_groups for seed in (0, 1, 8)]
        assert named == [("p1", "p2"), ("p2", "p3"), ("p1", "p9")]  # of p1 to p9
    _, runs, protocol = tables(data_efficiency, *asked)
    assert not any(run.config.data.train_groups for run in runs.values())
    assert "groups" not in protocol
    code, _, _ = tables(data_efficiency, *asked, "--groups", "10")
    assert code == 2 and "--groups 10: there are 9: p1, p2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("weights.safetensors", "expected NAME=FILE"),
        ("scratch=weights.safetensors", "the name not 'scratch'"),
        (
            "crossvideo=nowhere.safetensors",
            "no file nowhere.safetensors; training/pretrain.py makes it",
        ),
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
