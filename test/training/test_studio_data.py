from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from fourd_perception import checkpoint
from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from training import datasets
from training.align_config import AlignConfig
from training.config import DataConfig, FinetuneConfig
from training.datasets import studio_actions, studio_boxes, studio_points
from training.datasets.labelled_video import NO_LABEL, NO_POINT_LABEL
from training.datasets.prepared import Video
from training.finetune import model_card
from training.identity import identity

pytest.importorskip("mujoco")
from fourd_perception import studio

STUDIO = studio.StudioConfig(rate=7.5)


def config(**values):
    return from_mapping(DataConfig, {"dataset": "studio_points", "prepared": "p"} | values, "test")


def video(group, part="train"):
    return Video(f"studio_{group}", str(group), part, NO_LABEL, "f", 0, 0, 1, 0, 1)


def first_frames(module, seed, count):
    (whole,) = module.read(seed)
    assert whole.label == NO_LABEL
    return list(islice(whole.frames, count))


def test_rooms_and_people_by_turns_with_a_label_for_every_point():
    room, person = (first_frames(studio_points, seed, 3) for seed in (0, 1))
    names = studio.POINT_CLASSES
    body = {names.index(name) for name in names[:6]}
    for frame in room + person:
        assert frame.points.shape == (len(frame.point_labels), 3)
        assert np.isfinite(frame.points).all()
        assert NO_POINT_LABEL not in frame.point_labels
    assert body < set(room[0].point_labels.tolist())
    assert {names.index("floor"), names.index("wall")} < set(room[0].point_labels.tolist())
    assert body <= set(person[0].point_labels.tolist()) <= {*range(7)}
    assert len(room[0].points) > 5 * len(person[0].points) > 5000


def test_a_protocol_takes_one_kind_alone():
    for protocol, kept in (("", [0, 1, 2, 3]), ("room", [0, 2]), ("person", [1, 3])):
        chosen = [
            group
            for group in range(4)
            if datasets.split(config(protocol=protocol), video(group)) == "train"
        ]
        assert chosen == kept
    with pytest.raises(InputError, match=r"expected room or person, or '' for both; got 'street'"):
        datasets.made_of(config(protocol="street"))


def test_a_performance_has_an_action_in_every_frame():
    recording = studio.perform(5, None, STUDIO)
    borders = [interval.start for interval in recording.truth[:3]]
    count = round(borders[2] / 1e9 * 7.5) + 2
    frames = first_frames(studio_actions, 5, count)
    stamps = [round(number / 7.5 * 1e9) for number in range(count)]
    for stamp, frame in zip(stamps, frames):
        (now,) = (one for one in recording.truth if one.start <= stamp < one.end)
        assert studio.CLASSES[frame.label] == now.label
    assert len({frame.label for frame in frames}) == 3
    assert all(frame.point_labels is None and len(frame.points) > 1000 for frame in frames)


def test_colours_are_told_for_every_class_or_none():
    recipe = "config/training/studio_points.yaml"
    names = studio.POINT_CLASSES
    told = load_yaml(FinetuneConfig, recipe).colours_of(names)
    assert len(set(told)) == len(names)
    assert load_yaml(FinetuneConfig, recipe, ("colours=[]",)).colours_of(names) == ()
    for wrong in ("colours=[wall=#aaaaaa]", "colours=[wall]", "colours=[door=#aaaaaa]"):
        with pytest.raises(ValueError, match="one 'class=#rrggbb' for each of head, torso"):
            load_yaml(FinetuneConfig, recipe, (wrong,)).colours_of(names)


def test_a_box_has_a_colour_in_the_image_and_a_way_in_the_cloud():
    names, videos = studio.BOX_CLASSES, list(studio_boxes.read(7))
    assert [video.label for video in videos] == [*range(len(names))] and len(names) == 15
    reach, shown = {}, {}
    for video in videos:
        frames = list(video.frames)
        assert len(frames) == 24 and frames[0].image.shape == (120, 160, 3)
        assert min(len(frame.points) for frame in frames) > 400
        nearest = [np.percentile(frame.points[:, 2], 0.5) for frame in frames]
        reach[names[video.label]] = np.ptp(nearest)
        pixels = frames[0].image.astype(int)
        vivid = {  # pixels in which one of red, green and blue stands out
            colour: int((pixels[..., at] - np.delete(pixels, at, 2).max(2) > 60).sum())
            for at, colour in enumerate(("red", "green", "blue"))
        }
        shown[names[video.label]] = max(vivid, key=vivid.get)
    assert all(shown[name] in name for name in names), shown
    assert min(reach[name] for name in names if "push" in name) > 0.1
    assert max(reach[name] for name in names if "hold" in name) < 0.08


def test_the_recipes_of_the_boxes_are_of_the_same_videos():
    kinds = {"boxes": FinetuneConfig, "xclip_boxes": FinetuneConfig, "align_boxes": AlignConfig}
    runs = {name: load_yaml(kind, f"config/training/{name}.yaml") for name, kind in kinds.items()}
    assert len({run.data for run in runs.values()}) == 1
    assert runs["align_boxes"].preprocess == runs["boxes"].preprocess
    assert runs["align_boxes"].clip == runs["boxes"].clip
    assert runs["align_boxes"].model == runs["boxes"].model


def test_the_shipped_model_knows_its_recipes_background():
    recipe = load_yaml(FinetuneConfig, "config/training/studio_points.yaml")
    card = checkpoint.read_card("models/studio_points.safetensors")
    assert card.background == recipe.background == studio.POINT_CLASSES[-3:]
    made = model_card(recipe, card.model, studio.POINT_CLASSES, [])
    assert made.background == recipe.background


def test_a_background_makes_no_other_run():
    recipe = load_yaml(FinetuneConfig, "config/training/studio_points.yaml")
    assert identity(recipe) == identity(replace(recipe, background=()))
    assert identity(recipe) != identity(replace(recipe, seed=1))
