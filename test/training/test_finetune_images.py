"""Models of image video are trained, measured and begun with as those of points are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from test_pretrain import (
    IMAGE_SIZES,
    MADE_OF,
    SIZE,
    data_set,
    document,
    root,  # noqa: F401
    trained,  # noqa: F401
)

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from fourd_perception.pipeline import ActionPipeline
from training import data, finetune, measuring
from training.config import FinetuneConfig
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare
from training.image_views import AS_IT_IS, cut_image_clip


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The videos of pre-training, with what is done in them said of each frame."""
    folder = tmp_path_factory.mktemp("labelled")
    whole = data_set(8)
    sources = [replace(source, read=partial(with_labels, source.read)) for source in whole.sources]
    kept = PrepareConfig(0, (SIZE, SIZE))
    prepare(replace(whole, sources=sources), folder / "prepared", MADE_OF, kept, workers=1)
    return folder


def with_labels(read):
    return [
        replace(video, frames=[replace(frame, label=video.label) for frame in video.frames])
        for video in read()
    ]


def config(root, task, folder, **changes):  # noqa: F811
    (folder / "images.yaml").write_text(yaml.safe_dump(IMAGE_SIZES | {"task": task}))
    kept = {name: document(root)[name] for name in ("data", "clip", "batch_size")}
    run = {
        "name": "seen", "architecture": "image_video", "model": str(folder / "images.yaml"),
        "task": task, "epochs": 30, "preprocess": {"image_size": 10}, **kept,
        "image_view": {"crop": 0.9, "hue": 0.0},
        "optimiser": {"learning_rate": 0.02, "warmup_epochs": 1}, **changes,
    }  # fmt: skip
    return from_mapping(FinetuneConfig, run, "test")


@pytest.mark.parametrize(
    ("task", "figure"), [("action_recognition", "video_accuracy"), ("action_segmentation", "acc")]
)
def test_learns_from_images_alone(labelled, tmp_path, task, figure):
    run = config(labelled, task, tmp_path)
    made = finetune.finetune(run, tmp_path / "out")
    loaded = checkpoint.load(made)
    assert (loaded.card.architecture, loaded.card.task) == ("image_video", task)
    assert loaded.card.preprocess.image_size == 10
    videos = data.open_videos(run.data)
    for part, least in (("train", 75), ("holdout", 0), ("test", 0)):
        chosen = measuring.choose(loaded, videos, run.data, part)
        figures = measuring.evaluate(loaded, videos, chosen, measuring.Options(stride=1)).figures
        assert figures[figure] >= least
    assert measuring.cost(loaded)["clip_ms"] > 0


def test_begins_with_the_image_branch(labelled, trained, tmp_path, capsys):  # noqa: F811
    run = config(
        labelled, "action_segmentation", tmp_path, epochs=1,
        optimiser={"learning_rate": 0.0, "warmup_epochs": 0},
    )  # fmt: skip
    path = trained / "tiny_images.safetensors"
    made = finetune.finetune(run, tmp_path / "out", init=path)
    assert f"tensors taken from {path}" in capsys.readouterr().out
    learnt = checkpoint.load(made).model.state_dict()
    for name, tensor in load_file(path).items():
        if tensor.dim() > 1:
            assert learnt[name].equal(tensor.half().float()), name
    with pytest.raises(InputError, match="weights of im_pstnet, the run trains image_video"):
        finetune.finetune(run, tmp_path / "no", init=trained / "tiny_points.safetensors")


def test_a_clip_is_images_with_the_labels_of_their_frames(root):  # noqa: F811
    videos = PreparedVideos(root / "prepared")
    video = videos.videos[0]
    indices = np.array([0, 2, 2, 4])
    clip = cut_image_clip(videos, video, indices, 8, AS_IT_IS, np.random.default_rng(0))
    assert clip.content.shape == (4, 3, 8, 8) and clip.content.dtype == np.float32
    assert (clip.content[1] == clip.content[2]).all()
    assert clip.labels.tolist() == videos.frame_labels(video)[indices].tolist()


def test_where_points_are_wanted_it_is_refused(root, tmp_path):  # noqa: F811
    run = config(root, "action_recognition", tmp_path, epochs=1)
    loaded = checkpoint.load(finetune.finetune(run, tmp_path / "out"))
    with pytest.raises(InputError, match="seen sees images, and here are points"):
        ActionPipeline(loaded)
    other = replace(run, task="semantic_segmentation")
    with pytest.raises(InputError, match="a model for action_recognition, but the task is"):
        finetune.build_model(other, 2)


def test_the_recipe_is_valid():
    run = load_yaml(FinetuneConfig, "config/training/hoi4d_actions_images.yaml")
    model, _ = finetune.build_model(run, 20)
    assert model.modality == "images" and model.task == run.task == "action_segmentation"
    assert run.preprocess.image_size == 224 and run.data.image_size
