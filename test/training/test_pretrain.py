"""The whole way: videos with images, training without labels, and training that begins there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import small_model
import tiny_recordings
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import distributed

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.models.image_video import ImageVideoConfig, ImageVideoEncoder
from fourd_perception.parameters import from_mapping, load_yaml
from training import finetune, initial_weights, pretrain
from training.config import FinetuneConfig
from training.data import split
from training.datasets.labelled_video import DataSet, LabelledVideo, Source, actions_of
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare
from training.pretrain_clips import held_out_clip, joined, training_clip
from training.pretrain_config import PretrainConfig
from training.pretrain_figures import Means, holdout_figures

SIZE = 12
MADE_OF = {"dataset": "msr_action3d", "points_at_most": 0, "image_size": [SIZE, SIZE]}
IMAGE_SIZES = {"stem": [4, 8], "channels": 8, "depth": 2, "heads": 2, "features": 12}
FIGURES = {
    "holdout_alignment", "holdout_alignment_images", "holdout_uniformity",
    "holdout_uniformity_images", "holdout_rank", "holdout_retrieval", "holdout_retrieval_points",
    "holdout_knn",
}  # fmt: skip


def filmed(person: int, images: bool = True) -> list[LabelledVideo]:
    """Red where the depth is, and more of it in every person."""
    recorded = list(tiny_recordings.record(person).frames())
    videos = actions_of(tiny_recordings.record(person))
    pictures = iter(recorded)

    def seen(frame):
        there = next(pictures).foreground
        picture = np.zeros((*there.shape, 3), np.uint8)
        picture[there] = (250, 40 + 20 * person, 0)
        return replace(frame, image=picture if images else None)

    return [replace(video, frames=[seen(frame) for frame in video.frames]) for video in videos]


def data_set(people: int, images: bool = True) -> DataSet:
    sources = [
        Source(f"p{n}", f"p{n}", "train" if n < people - 1 else "test", partial(filmed, n, images))
        for n in range(people)
    ]
    return DataSet(tiny_recordings.RATE, tiny_recordings.CLASSES, sources)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrain")
    prepare(data_set(8), root / "prepared", MADE_OF, PrepareConfig(0, (SIZE, SIZE)), workers=1)
    (root / "model.yaml").write_text(yaml.safe_dump(small_model.SIZES))
    (root / "images.yaml").write_text(yaml.safe_dump(IMAGE_SIZES))
    return root


def document(root, **changes):
    return {
        "name": "tiny",
        "architecture": "im_pstnet",
        "model": str(root / "model.yaml"),
        "image_model": str(root / "images.yaml"),
        "data": {
            "dataset": "msr_action3d", "prepared": str(root / "prepared"),
            "image_size": [SIZE, SIZE], "holdout": ["p0", "p1"],
        },
        "clip": {"frames": 6, "frame_step": 1, "rate": 10.0},
        "preprocess": {"points": 24, "image_size": 10},
        "epochs": 2,
        "batch_size": 5,
        "view": {"every": 2, "rotation": 10},
        "projection": {"channels": 6},
        "optimiser": {"learning_rate": 0.01, "warmup_epochs": 0.5},
        "validate_every": 2,
        "threads": 1,
    } | changes  # fmt: skip


def config(root, **changes) -> PretrainConfig:
    return from_mapping(PretrainConfig, document(root, **changes), "test")


def finetune_config(root, **changes) -> FinetuneConfig:
    kept = ("architecture", "model", "data", "clip", "preprocess", "batch_size")
    whole = document(root)
    begun = {name: whole[name] for name in kept}
    return from_mapping(FinetuneConfig, {"name": "tuned", "epochs": 1, **begun, **changes}, "test")


@pytest.fixture(scope="module")
def trained(root):
    """The folder of a run that has ended."""
    pretrain.pretrain(config(root), root / "run")
    return root / "run"


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_leaves_both_encoders_and_says_how_it_went(root, trained):
    first, last = records(trained)
    terms = {"intra_video", "intra_frame", "cross_video", "cross_frame", "moment_gap", "loss"}
    assert terms <= first.keys() and not FIGURES & first.keys()
    assert terms | FIGURES <= last.keys()
    assert all(np.isfinite(value) for value in last.values())
    parts = sum(first[name] for name in terms - {"moment_gap", "loss"})
    assert first["loss"] == pytest.approx(parts / 2, rel=1e-5)
    assert (trained / "learning_curve.png").exists()
    points = initial_weights.read_card(trained / "tiny_points.safetensors")
    assert points.architecture == "im_pstnet"
    assert points.trained_on["groups"] == ["p2", "p3", "p4", "p5", "p6"]
    assert points.trained_on["figures"].keys() == FIGURES
    images = initial_weights.read_card(trained / "tiny_images.safetensors")
    encoder = ImageVideoEncoder(from_mapping(ImageVideoConfig, images.model, "card"))
    encoder.load_state_dict(load_file(trained / "tiny_images.safetensors"))


def test_what_belongs_together_comes_together(root, tmp_path):
    run = config(root, epochs=30, validate_every=30, optimiser={"learning_rate": 0.01})
    pretrain.pretrain(run, tmp_path)
    said = records(tmp_path)
    for term in ("intra_video", "cross_video"):
        assert said[-1][term] < said[0][term] - 0.3


def test_a_stopped_run_ends_with_the_same_weights(root, trained, tmp_path, monkeypatch):
    whole = pretrain.epoch_batches

    def dies(videos, chosen, config, epoch, **more):
        if epoch == 1:
            raise KeyboardInterrupt
        return whole(videos, chosen, config, epoch, **more)

    monkeypatch.setattr(pretrain, "epoch_batches", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(config(root), tmp_path)
    monkeypatch.setattr(pretrain, "epoch_batches", whole)
    made = pretrain.pretrain(config(root), tmp_path)
    weights = [load_file(folder / made.name) for folder in (tmp_path, trained)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="another configuration"):
        pretrain.pretrain(config(root, seed=1), tmp_path)
    pretrain.pretrain(config(root, seed=1, epochs=1), tmp_path, fresh=True)


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="no gloo"
)
def test_two_processes_learn_what_one_does(root, tmp_path):
    # Batches of 5 clips: one process has 2 of them, the other 3, and all are negatives of each.
    changes = {"epochs": 1, "optimiser": {"kind": "sgd", "learning_rate": 0.01}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document(root, **changes)))
    ran = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            "--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1",
            pretrain.__file__, "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "2"),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    alone = load_file(pretrain.pretrain(config(root, **changes), tmp_path / "1"))
    torch.testing.assert_close(
        load_file(tmp_path / "2" / "tiny_points.safetensors"), alone, rtol=1e-3, atol=1e-5
    )
    said = [records(tmp_path / folder)[0]["loss"] for folder in ("1", "2")]
    assert said[0] == pytest.approx(said[1], rel=1e-4)


def test_the_command_line(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document(root)))
    arguments = [
        "pretrain.py", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out"),
        "--set", "epochs=1", "--set", "loss.video=false",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert pretrain.main() == 0
    assert str(tmp_path / "out" / "tiny_points.safetensors") in capsys.readouterr().out
    assert not {"cross_video", "intra_video"} & records(tmp_path / "out")[0].keys()
    monkeypatch.setattr("sys.argv", [*arguments, "--set", "loss.temperature=0"])
    assert pretrain.main() == 2
    assert "temperature" in capsys.readouterr().err
    results = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", [*arguments, "--results", str(results)])
    assert pretrain.main() == 0  # finished already: of what it has measured
    found = json.loads(results.read_text())["figures"]
    videos = initial_weights.read_card(tmp_path / "out" / "tiny_points.safetensors").trained_on
    assert found.keys() == FIGURES | {"retrieval_chance"}
    assert found["retrieval_chance"] == pytest.approx(100 / videos["holdout_videos"], abs=1e-3)


def test_results_without_a_holdout_are_refused_before_anything_is_trained(
    root, tmp_path, monkeypatch, capsys
):
    data = document(root)["data"] | {"holdout": []}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document(root, data=data)))
    arguments = ["--config", "run.yaml", "--out", "out", "--results", "results.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pretrain.py", *arguments])
    assert pretrain.main() == 2
    assert "name groups in data.holdout" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.safetensors")) and not (tmp_path / "results.json").exists()


def test_a_clip_is_two_views_and_images_of_the_same_frames(root):
    videos, run = PreparedVideos(root / "prepared"), config(root)
    video = videos.videos[0]
    clip = training_clip(videos, video, run, np.random.default_rng(0))
    assert clip.first.shape == (6, 24, 3)
    assert clip.second.points.shape == (3, 24, 3)
    assert clip.images.shape == (6, 3, 10, 10)
    batch = joined([clip, training_clip(videos, videos.videos[1], run, np.random.default_rng(1))])
    assert batch.frames.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert batch.second_frames.shape == (2, 3)
    assert batch.names == ("p0/0", "p0/1")
    again = training_clip(videos, video, run, np.random.default_rng(0))
    assert np.array_equal(again.second.points, clip.second.points)
    # Judged as it is: the picture is red, the blob as high as the points say.
    plain = held_out_clip(videos, video, run)
    seen = videos.frame(video, 2)
    rows = np.flatnonzero(plain.images[2, 0].max(1) > 0.5) / 10
    rows_before = np.flatnonzero(seen.image[..., 0].max(1) > 128) / SIZE
    assert abs(rows.mean() - rows_before.mean()) < 0.1
    low, high = seen.points.min(0) - 1e-3, seen.points.max(0) + 1e-3
    assert ((plain.first[2] >= low) & (plain.first[2] <= high)).all()


def test_the_first_view_is_the_clip_unless_it_is_to_be_changed(root):
    videos = PreparedVideos(root / "prepared")
    video = videos.videos[0]
    same = {"every": 1, "rotation": 0, "tilt": 0, "scale": 0, "translation": 0}

    def clip(**changes):
        run = config(root, view=same, **changes)
        return training_clip(videos, video, run, np.random.default_rng(0))

    kept = clip(resample=False)
    assert np.allclose(kept.first, kept.second.points, atol=1e-5)
    assert not np.allclose(clip().first, clip().second.points, atol=1e-3)
    moved = clip(resample=False, first_view={"rotation": 90})
    assert not np.allclose(moved.first, moved.second.points, atol=1e-2)


def test_nothing_is_measured_on_one_video(root):
    videos, run = PreparedVideos(root / "prepared"), config(root)
    model, _ = pretrain.build_model(run)
    parts = split(videos, run.data)
    assert holdout_figures(model, videos, parts["holdout"][:1], parts["train"], run) == {}
    silent = [replace(video, label=-1) for video in parts["holdout"]]
    without = holdout_figures(model, videos, silent, parts["train"], run)
    assert without.keys() == FIGURES - {"holdout_knn"}


def test_means_are_of_one_epoch():
    means = Means()
    for value in (1.0, 3.0):
        means.add({"term": torch.tensor(value)})
    assert means.take() == {"term": 2.0}
    assert means.take() == {}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 1}, "batch_size: expected at least 2, got 1"),
        ({"loss": {"temperature": 0}}, "temperature: expected more than 0"),
        ({"preprocess": {"points": 2}}, "2 points is too small"),
        ({"view": {"every": 4}}, "keeps 1 of a clip's 6 frames"),
        ({"sampling": {"epoch_share": 0.05}}, "batch of one"),
        ({"sampling": {"epoch_share": 0.2, "one_group": True}}, "videos of p2 make a batch of one"),
        ({"preprocess": {"image_size": 0}}, "image_size: expected 1 to 4096"),
        ({"clip": {"frames": 6, "frame_step": 1, "rate": 15.0}}, "does not fall on them"),
        ({"architecture": "pptr"}, "unknown key"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_before_training(root, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        pretrain.pretrain(config(root, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_run_that_bursts_names_the_clips_and_writes_no_weights(root, tmp_path):
    wild = config(root, optimiser={"kind": "sgd", "learning_rate": 1e30, "warmup_epochs": 0})
    with pytest.raises(InputError, match="not finite.*p[2-6]/[01]"):
        pretrain.pretrain(wild, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_videos_without_images_are_refused(root, tmp_path):
    whole = document(root)["data"]
    with pytest.raises(InputError, match="data.image_size: no images are prepared without it"):
        config(root, data=whole | {"image_size": []})
    prepare(data_set(4, images=False), tmp_path / "plain", MADE_OF, workers=1)
    run = config(root, data=whole | {"prepared": str(tmp_path / "plain")})
    with pytest.raises(InputError, match="p0/0 has no images|p2/0 has no images"):
        pretrain.pretrain(run, tmp_path / "run")
    videos = PreparedVideos(tmp_path / "plain")
    with pytest.raises(InputError, match="p0/0: 6 of 6 frames have no image"):
        training_clip(videos, videos.videos[0], config(root), np.random.default_rng(0))


def test_points_alone_want_no_images_and_leave_no_encoder_of_them(
    root, tmp_path, monkeypatch, capsys
):
    made_of = MADE_OF | {"image_size": []}
    prepare(data_set(8, images=False), tmp_path / "plain", made_of, workers=1)
    data = {name: one for name, one in document(root)["data"].items() if name != "image_size"}
    told = document(
        root, data=data | {"prepared": str(tmp_path / "plain")}, loss={"cross": False}, epochs=1,
        image_model="",
    )  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(told))
    results = tmp_path / "results.json"
    arguments = [
        "pretrain.py", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out"),
        "--results", str(results),
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", arguments)
    assert pretrain.main() == 0, capsys.readouterr().err
    of_points = {name for name in FIGURES if "images" not in name and "retrieval" not in name}
    document_of_results = json.loads(results.read_text())
    assert document_of_results["figures"].keys() == of_points
    assert "retrieval" not in document_of_results["protocol"]
    assert not {"cross_video", "cross_frame"} & records(tmp_path / "out")[0].keys()
    assert [one.name for one in (tmp_path / "out").glob("*.safetensors")] == [
        "tiny_points.safetensors"
    ]
    monkeypatch.setattr("sys.argv", [*arguments, "--set", "loss.cross=true"])
    assert pretrain.main() == 2
    assert "data.image_size: no images are prepared without it" in capsys.readouterr().err
    with pytest.raises(InputError, match="image_model: loss.cross wants an image encoder"):
        config(root, image_model="")


def test_training_begins_with_the_encoder_and_not_with_its_classifier(root, trained, capsys):
    path = trained / "tiny_points.safetensors"
    run = finetune_config(root)
    fresh, sizes = finetune.build_model(run, 2)
    begun, _ = finetune.build_model(replace(run, seed=7), 2)
    before = {name: tensor.clone() for name, tensor in begun.state_dict().items()}
    finetune.begin_with(begun, path, run, sizes, says=True)
    state = torch.load(trained / "state.pt", weights_only=True)["model"]
    pretrained, _ = pretrain.build_model(config(root))
    pretrained.load_state_dict(state)
    clips = torch.rand(2, 6, 24, 3)
    for training in (False, True):
        features = [
            model.train(training).encode(clips)
            for model in (begun, pretrained.points, fresh)
        ]  # fmt: skip
        assert torch.equal(features[0].video, features[1].video)
        assert torch.equal(features[0].frames, features[1].frames)
        assert not torch.allclose(features[0].video, features[2].video)
    after = begun.state_dict()
    kept = {"head.weight", "head.bias"}
    assert all(torch.equal(after[name], before[name]) for name in kept)
    said = capsys.readouterr().out
    assert f"{len(after) - 2} tensors taken from {path}" in said
    assert "head.weight, head.bias" in said


def test_an_encoder_may_learn_slower_than_its_classifier(root, trained, tmp_path):
    path = trained / "tiny_points.safetensors"

    def moved(init, **changes):
        run = finetune_config(root, optimiser={"learning_rate": 0.01}, **changes)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        finetune.finetune(run, folder, init=init)
        model, sizes = finetune.build_model(run, 2)
        if init:
            finetune.begin_with(model, init, run, sizes, says=False)
        before = dict(model.named_parameters())
        after = torch.load(folder / "state.pt", weights_only=True)["model"]
        far = {name: float((after[name] - one).detach().norm()) for name, one in before.items()}
        head = sum(size for name, size in far.items() if name.startswith("head."))
        if changes.get("encoder_rate") == 0:
            for name, kept in model.named_buffers():
                assert torch.equal(after[name], kept) or name.startswith(("head.", "norm.")), name
        return head, sum(far.values()) - head, after

    head, rest, _ = moved(path)
    assert head > 0 and rest > 0
    slow_head, slow_rest, _ = moved(path, encoder_rate=0.1)
    assert slow_head == pytest.approx(head, rel=0.3) and slow_rest == pytest.approx(
        rest / 10, rel=0.3
    )
    still_head, still_rest, _ = moved(path, encoder_rate=0)
    assert still_head > 0 and still_rest == 0
    *_, scratch = moved(None)
    *_, told = moved(None, encoder_rate=0.1)
    assert all(torch.equal(scratch[name], told[name]) for name in scratch), "there is no --init"


def test_finetune_takes_it_and_its_checkpoint_says_so(root, trained, tmp_path, monkeypatch):
    whole = document(root)
    run = {name: whole[name] for name in ("architecture", "model", "data", "clip", "preprocess")}
    run |= {"name": "tuned", "epochs": 1, "batch_size": 5, "optimiser": {"learning_rate": 0.0}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    path = trained / "tiny_points.safetensors"
    given = str(tmp_path / "run.yaml")
    arguments = ["finetune.py", "--config", given, "--out", str(tmp_path / "o")]
    monkeypatch.setattr("sys.argv", [*arguments, "--init", str(path)])
    assert finetune.main() == 0
    made = checkpoint.load(tmp_path / "o" / "tuned.safetensors")
    assert made.card.trained_on["initial_weights"]["method"] == "crossvideo"
    given = load_file(path)
    learnt = made.model.state_dict()
    for name, tensor in given.items():  # nothing was learnt; matrices are kept in half precision
        if tensor.dim() > 1:
            assert torch.equal(learnt[name], tensor.half().float()), name
    # The run goes on with these weights, and with no others.
    assert finetune.main() == 0
    monkeypatch.setattr("sys.argv", arguments)
    assert finetune.main() == 2


def test_a_pretraining_may_begin_with_the_encoder_of_another(root, trained, tmp_path, monkeypatch):
    first = trained / "tiny_points.safetensors"
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump(document(root, name="more", epochs=1, optimiser={"learning_rate": 0.0}))
    )
    arguments = ["pretrain.py", "--config", str(tmp_path / "run.yaml"), "--out"]
    arguments += [str(tmp_path / "more"), "--results", str(tmp_path / "more.json")]
    monkeypatch.setattr("sys.argv", [*arguments, "--init", str(first)])
    assert pretrain.main() == 0
    assert "begun with tiny, of msr_action3d; " in (tmp_path / "more.json").read_text()
    before, after = (load_file(path) for path in (first, tmp_path / "more/more_points.safetensors"))
    learnt = [name for name in before if "running_" not in name and "num_batches" not in name]
    assert all(torch.equal(after[name], before[name]) for name in learnt)
    for branch in ("points", "images"):
        card = initial_weights.read_card(tmp_path / "more" / f"more_{branch}.safetensors")
        assert card.trained_on["initial_weights"]["name"] == "tiny"
    # The run goes on with these weights, and with no others.
    assert pretrain.main() == 0
    monkeypatch.setattr("sys.argv", arguments)
    assert pretrain.main() == 2


def test_what_has_seen_a_video_is_not_judged_by_it(root, trained, tmp_path):
    data = document(root)["data"] | {"holdout": ["p0", "p3"]}
    with pytest.raises(InputError, match="tiny_points.* trained on p3, which data.holdout keeps"):
        pretrain.pretrain(
            config(root, data=data), tmp_path / "o", init=trained / "tiny_points.safetensors"
        )
    images = trained / "tiny_images.safetensors"
    with pytest.raises(InputError, match="weights of image_video, the run trains im_pstnet"):
        pretrain.pretrain(config(root), tmp_path / "o", init=images)
    assert not list((tmp_path / "o").glob("*.safetensors"))


def write_changed(path, to, **changes):
    with safe_open(path, framework="pt") as file:
        (key, text), *_ = file.metadata().items()
    state = load_file(path) | changes.pop("tensors", {})
    save_file(state, to, {key: json.dumps(json.loads(text) | changes)})
    return to


def refused(root, path, says, **changes):
    run = finetune_config(root, **changes)
    model, sizes = finetune.build_model(run, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=says):
        finetune.begin_with(model, path, run, sizes, says=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_of_something_else_are_refused(root, trained, tmp_path):
    path = trained / "tiny_points.safetensors"
    refused(root, trained / "tiny_images.safetensors", "weights of image_video, .*trains im_pstnet")
    sizes = yaml.safe_load((root / "model.yaml").read_text())
    sizes["layers"][1]["radius"] = 5.0
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(sizes))
    refused(
        root, path, r"other sizes: layers\[1\].radius is .* in the file, 5.0 in the model",
        model=str(tmp_path / "other.yaml"),
    )  # fmt: skip
    refused(
        root, path, "1 model units in a metre, the run has preprocess.unit_scale 2",
        preprocess={"points": 24, "unit_scale": 2.0},
    )  # fmt: skip
    refused(root, tmp_path / "nowhere.safetensors", "no such file")
    (tmp_path / "text.safetensors").write_text("weights")
    refused(root, tmp_path / "text.safetensors", "not a safetensors file")
    refused(
        root,
        small_model.save(tmp_path / "a.safetensors"),
        "without 'fourd_perception_encoder' metadata",
    )
    changed = partial(write_changed, path, tmp_path / "changed.safetensors")
    refused(root, changed(tensors={"extra": torch.ones(2)}), "disagree, on 'extra'")
    refused(root, changed(tensors={"layers.0.project.weight": torch.ones(1)}), "disagree, on 'lay")
    refused(root, changed(format=9), "format 9, this version reads 1")
    refused(root, changed(model={"layer": []}), "unknown key 'layer'")


def test_a_file_with_a_nan_is_refused(root, trained, tmp_path):
    path = trained / "tiny_points.safetensors"
    name, tensor = next(pair for pair in load_file(path).items() if pair[1].is_floating_point())
    bad = torch.full_like(tensor, torch.nan)
    made = write_changed(path, tmp_path / "nan.safetensors", tensors={name: bad})
    refused(root, made, "not finite numbers")


def test_sizes_of_the_classifier_may_differ(root, trained, tmp_path):
    sizes = yaml.safe_load((root / "model.yaml").read_text()) | {"dropout": 0.9, "head_norm": True}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(sizes))
    run = finetune_config(root, model=str(tmp_path / "other.yaml"))
    model, kept = finetune.build_model(run, 2)
    path = trained / "tiny_points.safetensors"
    loaded = initial_weights.load_into(model, path, run.architecture, kept, run.preprocess)
    assert {"head.weight", "norm.weight", "norm.running_var"} <= set(loaded.kept)
    assert not set(loaded.kept) & set(loaded.taken)


RECIPES = (
    "crossvideo_hoi4d",
    "crossvideo_msr_action3d",
    "crossvideo_studio",
    "crossvideo_studio_first",
)


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_are_valid(name):
    run = load_yaml(PretrainConfig, f"config/training/{name}.yaml")
    assert run.name == name
    with torch.device("meta"):
        model, _ = pretrain.build_model(run)
        projected = model.point_head(torch.empty(2, model.points.feature_channels))
    assert projected.shape == (2, 256)


def test_the_papers_sizes():
    run = load_yaml(PretrainConfig, "config/training/crossvideo_hoi4d.yaml")
    with torch.device("meta"):
        model, sizes = pretrain.build_model(run)
    tube = sizes["points"]["tube"]
    assert (tube["temporal_kernel"], tube["spatial_stride"]) == (3, 32)
    assert (tube["radius"], tube["neighbours"], run.preprocess.points) == (0.9, 32, 2048)
    assert (run.preprocess.image_size, run.batch_size, run.loss.temperature) == (224, 8, 0.07)
    assert model.points.feature_channels == model.images.feature_channels == 2048
    optimiser = run.optimiser
    assert (optimiser.kind, optimiser.learning_rate, optimiser.warmup_epochs) == ("sgd", 0.01, 10)
