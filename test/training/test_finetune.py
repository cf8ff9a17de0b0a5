"""The whole way: videos, training, a checkpoint, its evaluation."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import small_model
import tiny_recordings
import yaml
from model_cases import BLOCKS, EVERY_FRAME, GROUPS, PPTR, SEGMENTS

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from training import data, evaluate, finetune, measuring, run_folder
from training.config import FinetuneConfig
from training.datasets.labelled_video import DataSet, Source, actions_of
from training.datasets.prepared import PreparedVideos, prepare

MADE_OF = {"dataset": "msr_action3d", "points_at_most": 0, "image_size": []}


def actions(n):
    return actions_of(tiny_recordings.record(n))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    sources = [
        Source(f"p{n}", f"p{n}", "train" if n < 10 else "test", partial(actions, n))
        for n in range(14)
    ]
    whole = DataSet(tiny_recordings.RATE, tiny_recordings.CLASSES, sources)
    prepare(whole, root / "prepared", MADE_OF, workers=1)
    prepare(tiny_recordings.labelled_set(12, 8), root / "labelled", MADE_OF, workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    return root


def data_of(root, prepared="prepared", holdout=("p0",), **values):
    return {
        "dataset": "msr_action3d",
        "prepared": str(root / prepared),
        "holdout": list(holdout),
    } | values


def config(root, **changes):
    document = {
        "name": "tiny",
        "architecture": "im_pstnet",
        "model": str(root / "model.yaml"),
        "data": data_of(root),
        "clip": {"frames": 4, "frame_step": 1, "rate": 10.0},
        "preprocess": {"points": 24, "unit_scale": 1.0},
        "epochs": 16,
        "batch_size": 6,
        "optimiser": {"learning_rate": 0.02, "average": 0.9},
    }
    return from_mapping(FinetuneConfig, document | changes, "test")


def measure(made, run, part="test", **options):
    loaded = checkpoint.load(made)
    videos = data.open_videos(run.data)
    chosen = measuring.choose(loaded, videos, run.data, part)
    return measuring.evaluate(loaded, videos, chosen, measuring.Options(**options)), len(chosen)


def test_learns_and_its_checkpoint_says_what_it_is(root):
    made = finetune.finetune(config(root), root / "out")
    loaded = checkpoint.load(made)
    assert loaded.card.classes == ("rise", "fall")
    assert loaded.card.clip.frames == 4
    assert loaded.card.trained_on["videos"] == 18
    assert set(loaded.card.accuracy) == {"holdout_segments", "holdout_windows"}
    measured, count = measure(made, config(root), views=2, stride=1)
    assert count == 8
    figures = measured.figures
    assert figures["video_accuracy_segments"] >= 75
    assert figures["video_accuracy_windows"] >= 75
    assert figures["video_accuracy"] == figures["video_accuracy_windows"]
    assert measured.confusion.sum() == 8
    lines = (root / "out" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 16
    assert "holdout_segments" in json.loads(lines[-1])


SMALL_TUBE = EVERY_FRAME | {"radius": 0.3}
FRAME_MODELS = {
    "p4_transformer": {"tube": SMALL_TUBE, "transformer": BLOCKS, "head_channels": 16},
    "pptr": PPTR | {"tube": SMALL_TUBE, "primitives": GROUPS | {"count": 3}},
}
POINT_MODELS = {
    "p4_segmenter": SEGMENTS | {"transformer": BLOCKS},
    "pptr_segmenter": SEGMENTS | {"intra": BLOCKS, "inter": BLOCKS, "primitives": GROUPS},
}


@pytest.mark.parametrize("architecture", FRAME_MODELS)
def test_labels_frames(root, tmp_path, architecture):
    sizes = FRAME_MODELS[architecture] | {"task": "action_segmentation"}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(sizes))
    run = config(
        root, architecture=architecture, task="action_segmentation",
        model=str(tmp_path / "model.yaml"), data=data_of(root, "labelled"), epochs=20,
        clip={"frames": 12, "frame_step": 1, "rate": 10.0},
        optimiser={"learning_rate": 0.01}, sampling={"clips_per_video": 2}, batch_size=4,
    )  # fmt: skip
    made = finetune.finetune(run, tmp_path / "out")
    card = checkpoint.read_card(made)
    assert card.task == "action_segmentation"
    assert set(card.accuracy) == {"holdout_accuracy", "holdout_edit"}
    measured, count = measure(made, run)
    assert count == 4
    assert measured.confusion.sum() == measured.figures["frames"] == 4 * 12
    assert measured.figures["acc"] >= 75
    assert {"edit", "f1_10", "f1_25", "f1_50"} <= set(measured.figures)


@pytest.mark.parametrize("architecture", POINT_MODELS)
def test_labels_points(root, tmp_path, architecture):
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(POINT_MODELS[architecture]))
    run = config(
        root, architecture=architecture, task="semantic_segmentation",
        model=str(tmp_path / "model.yaml"), data=data_of(root, "labelled"), epochs=40,
        clip={"frames": 3, "frame_step": 1, "rate": 10.0},
        optimiser={"learning_rate": 0.01}, sampling={"clips_per_video": 2}, batch_size=4,
        preprocess={"points": 32},
    )  # fmt: skip
    made = finetune.finetune(run, tmp_path / "out")
    card = checkpoint.read_card(made)
    assert card.classes == tiny_recordings.POINT_CLASSES
    measured, count = measure(made, run)
    assert count == 4
    videos = PreparedVideos(root / "labelled")
    labelled = sum(
        int((videos.frame(video, number).point_labels != 255).sum())
        for video in videos.videos
        if video.split == "test"
        for number in range(video.frames)
    )
    assert measured.confusion.sum() == measured.figures["points"] == labelled  # each point once
    assert measured.figures["miou"] >= 60
    assert set(measured.figures["per_class_iou"]) == {"body", "blob"}


def test_the_holdout_is_not_trained_on(root):
    run = config(root, data=data_of(root, holdout=("p0", "p3")))
    parts = data.split(PreparedVideos(root / "prepared"), run.data)
    assert {video.group for video in parts["holdout"]} == {"p0", "p3"}
    assert not {video.group for video in parts["train"]} & {"p0", "p3", "p10", "p13"}
    assert {video.group for video in parts["test"]} == {"p10", "p11", "p12", "p13"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": ("prepared", ["p99"])}, "p99 not in"),
        ({"clip": {"frames": 4, "frame_step": 1, "rate": 15.0}}, "does not fall on them"),
        ({"preprocess": {"points": 2}}, "too small for this model"),
        ({"architecture": "pstnet9"}, "unknown architecture"),
        ({"task": "action_segmentation"}, "a model for action_recognition, but the task is"),
        ({"task": "semantic_segmentation"}, "no labels for it"),
        ({"data": ("labelled", ["p0"])}, "none of 7 training videos has a label for action_rec"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(root, tmp_path, changes, says):
    if "data" in changes:
        changes = {"data": data_of(root, *changes["data"])}
    with pytest.raises(InputError, match=says):
        finetune.finetune(config(root, **changes), tmp_path)
    assert not (tmp_path / "state.pt").exists()


def test_a_crop_that_leaves_nothing_stops_the_run(root, tmp_path):
    nowhere = {"points": 24, "crop": [5, 5, 5, 6, 6, 6]}
    with pytest.raises(InputError, match=r"is inside of preprocess.crop \[5.*metres"):
        finetune.finetune(config(root, preprocess=nowhere), tmp_path)


def test_an_epoch_may_be_a_share_of_the_videos_or_several_clips_of_each(root):
    videos = PreparedVideos(root / "prepared")

    def names(epoch, **sampling):
        run = config(root, sampling=sampling)
        chosen = data.split(videos, run.data)["train"]
        batches = [make() for make in finetune.epoch_batches(videos, chosen, run, epoch)]
        assert len(batches) == run_folder.batches_in_epoch(chosen, run)
        return [name for batch in batches for name in batch.names]

    assert len(names(0)) == len(set(names(0))) == 18
    assert len(names(0, clips_per_video=3)) == 54
    assert len(set(names(0, clips_per_video=3))) == 18
    assert len(names(0, epoch_share=0.5)) == 9
    assert set(names(0, epoch_share=0.5)) != set(names(1, epoch_share=0.5))


def test_a_batch_may_be_of_one_group(root):
    videos = PreparedVideos(root / "prepared")

    def epoch(number, **sampling):
        run = config(root, batch_size=2, sampling={"one_group": True, **sampling})
        chosen = data.split(videos, run.data)["train"]
        batches = run_folder.batch_numbers(chosen, run, number)
        assert len(batches) == run_folder.batches_in_epoch(chosen, run)
        assert run_folder.steps_in_epoch(chosen, run) == len(batches)
        groups = [{chosen[clip % len(chosen)].group for clip in batch} for batch in batches]
        assert all(len(one) == 1 for one in groups)
        assert min(map(len, batches)) >= 2
        return [one.pop() for one in groups], np.concatenate(batches).tolist(), len(chosen)

    groups, clips, count = epoch(0)
    assert sorted(clips) == list(range(count)) and len(set(groups)) > 1
    assert any(epoch(number)[0] != sorted(groups) for number in range(9)), "in random order"
    assert epoch(0) != epoch(1) and epoch(0) == (groups, clips, count)
    _, twice, _ = epoch(0, clips_per_video=2)
    assert sorted(twice) == list(range(2 * count))
    _, half, _ = epoch(0, clips_per_video=2, epoch_share=0.5)
    assert len(half) == len(set(half)) == count


def test_a_model_of_other_classes_is_not_evaluated(root, tmp_path):
    made = small_model.save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="small knows 3 classes"):
        measure(made, config(root))


def test_a_mistyped_key_is_named_with_its_neighbour(root):
    with pytest.raises(InputError, match="unknown key 'epoch'; did you mean 'epochs'"):
        config(root, epoch=3)


def test_a_hold_out_that_was_trained_on_gives_no_figure(root, tmp_path):
    made = finetune.finetune(config(root, epochs=1), tmp_path)
    with pytest.raises(InputError, match="trained on p3"):
        measure(made, config(root, data=data_of(root, holdout=("p0", "p3"))), "holdout")


def test_a_run_does_not_go_on_with_another_model(root, tmp_path):
    sizes = yaml.safe_load((root / "model.yaml").read_text())
    changed = tmp_path / "model.yaml"
    changed.write_text(yaml.safe_dump(sizes))
    run = config(root, epochs=1, model=str(changed))
    finetune.finetune(run, tmp_path / "run")
    kept = (tmp_path / "run" / "config.yaml").read_text()
    sizes["layers"][1]["radius"] = 5.0
    changed.write_text(yaml.safe_dump(sizes))
    with pytest.raises(InputError, match="another configuration"):
        finetune.finetune(run, tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == kept


def test_fresh_removes_the_run_and_nothing_else(root, tmp_path):
    finetune.finetune(config(root, epochs=1), tmp_path)
    (tmp_path / "thesis.txt").write_text("ten years")
    bad = config(root, epochs=2, preprocess={"points": 2})
    with pytest.raises(InputError, match="too small"):
        finetune.finetune(bad, tmp_path, fresh=True)
    assert (tmp_path / "state.pt").exists()
    finetune.finetune(config(root, epochs=2), tmp_path, fresh=True)
    assert (tmp_path / "thesis.txt").exists()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_videos_made_of_other_recordings_are_not_taken(root, tmp_path):
    other = {"dataset": "studio", "prepared": str(root / "prepared")}
    with pytest.raises(InputError, match="made of.*msr_action3d.*asks for.*studio"):
        finetune.finetune(config(root, data=other), tmp_path)


def test_somebody_must_be_left_to_train_on(root):
    run = config(root, data=data_of(root, holdout=[f"p{n}" for n in range(10)]))
    with pytest.raises(InputError, match="leaves none"):
        data.split(PreparedVideos(root / "prepared"), run.data)


def test_the_groups_that_are_named_are_trained_on_and_no_others(root):
    videos = PreparedVideos(root / "prepared")
    whole = data.split(videos, config(root).data)
    some = data.split(videos, config(root, data=data_of(root, train_groups=["p3", "p5"])).data)
    assert {video.group for video in some["train"]} == {"p3", "p5"}
    assert set(some["train"]) < set(whole["train"])
    assert {part: some[part] == whole[part] for part in whole} == {
        "train": False, "holdout": True, "test": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        (["p3", "p10"], "data.train_groups: p10 not in the training split, which has p0, p1,"),
        (["p0", "p3"], "data.train_groups: p0 is in data.holdout, too"),
    ],
)
def test_groups_that_cannot_be_trained_on_are_named(root, groups, says):
    run = config(root, data=data_of(root, train_groups=groups))
    with pytest.raises(InputError, match=says):
        data.split(PreparedVideos(root / "prepared"), run.data)


def test_the_command_line_measures_draws_and_records(root, tmp_path, monkeypatch, capsys):
    made = finetune.finetune(config(root, epochs=1), tmp_path / "run")
    document = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(
        "sys.argv",
        ["evaluate.py", "--model", str(made), "--config", str(tmp_path / "run.yaml"), "--views",
         "1", "--plot", str(tmp_path / "confusion.png"), "--record", "--json", "--results",
         str(tmp_path / "result.json")],
    )  # fmt: skip
    capsys.readouterr()
    assert evaluate.main() == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["figures"] == printed
    assert printed["videos"] == 8
    assert printed["parameters_millions"] > 0
    assert checkpoint.read_card(made).accuracy["test_windows"] == pytest.approx(
        printed["video_accuracy_windows"], abs=0.01
    )
    with open(tmp_path / "confusion.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_several_checkpoints_go_into_one_result(root, tmp_path, monkeypatch, capsys):
    files = [
        finetune.finetune(config(root, epochs=1, seed=seed), tmp_path / str(seed))
        for seed in range(3)
    ]
    (tmp_path / "run.yaml").write_text((tmp_path / "0" / "config.yaml").read_text())
    result = tmp_path / "several.json"
    monkeypatch.setattr(
        "sys.argv",
        ["evaluate.py", "--config", str(tmp_path / "run.yaml"), "--views", "1", "--results",
         str(result), "--model", f"a={files[0]}", f"a={files[1]}", f"b={files[2]}"],
    )  # fmt: skip
    assert evaluate.main() == 0
    capsys.readouterr()
    written = json.loads(result.read_text())
    alone = [measure(file, config(root), views=1)[0].figures["video_accuracy"] for file in files]
    assert written["figures"]["video_accuracy_a"] == pytest.approx((alone[0] + alone[1]) / 2)
    assert written["figures"]["video_accuracy_b"] == pytest.approx(alone[2])
    assert "per_class_segments_b" in written["figures"]
    assert written["figures"]["each"]["video_accuracy_a"] == pytest.approx(alone[:2], abs=1e-3)
    assert written["seeds"] == [0, 1, 2]
    assert "3 runs" in written["protocol"]


def test_means_and_their_spread():
    runs = [{"acc": 80.0, "classes": {"x": 1.0}}, {"acc": 84.0, "classes": {"x": 2.0}}]
    assert measuring.together({"a": runs, "": runs[:1]}) == {
        "acc_a": 82.0, "acc_a_std": pytest.approx(2.828, abs=1e-3), "classes_a": {"x": 1.5},
        "acc": 80.0, "classes": {"x": 1.0},
    }  # fmt: skip


def test_no_label_no_loss():
    import torch

    from training import tasks

    logits = torch.randn(2, 3, 4, requires_grad=True)
    labels = torch.tensor([[0, -1, 2], [-1, -1, -1]])
    loss = tasks.cross_entropy(logits, labels)
    expected = torch.nn.functional.cross_entropy(logits[0, [0, 2]], torch.tensor([0, 2]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    nothing = tasks.cross_entropy(logits, torch.full((2, 3), -1))
    assert nothing.item() == 0
    nothing.backward()
    assert np.isfinite(logits.grad.numpy()).all()
