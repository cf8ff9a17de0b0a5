from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco")

from fourd_perception.parameters import ConfigError, from_mapping
from fourd_perception.recordings.recording import RecordedFrame
from fourd_perception.stream.frame import SECOND, UNLABELLED
from fourd_perception.studio import CLASSES, Scene, StudioConfig, clip, perform
from fourd_perception.studio.shapes import POINT_CLASSES

SMALL = StudioConfig(width=96, height=72, rate=5.0)
CLEAN = dataclasses.replace(SMALL, noise=False)
PERSON = [*range(POINT_CLASSES.index("handled_object"))]


def world_points(frame: RecordedFrame, scene: Scene) -> np.ndarray:
    """(H, W, 3) metres, z up: the cloud of a frame, out of the camera's optical frame."""
    optical = scene.config.intrinsics.back_project(frame.depth)
    return optical @ scene.viewpoint.rotation.T + scene.viewpoint.position


def same(first: RecordedFrame, second: RecordedFrame) -> bool:
    return first.stamp == second.stamp and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("depth", "foreground", "colour", "labels")
    )


def test_every_action_has_its_interval_and_intervals_lie_back_to_back() -> None:
    recording = perform(7, None, SMALL)
    assert sorted(one.label for one in recording.truth) == sorted(CLASSES)
    assert recording.classes == CLASSES
    assert recording.truth[0].start == 0
    for before, after in zip(recording.truth, recording.truth[1:]):
        assert before.end == after.start
    for one in recording.truth:
        assert 3 * SECOND - SECOND // 5 <= one.end - one.start <= 5 * SECOND + SECOND // 5


def test_frames_come_in_order_at_the_rate_and_as_many_as_promised() -> None:
    recording = perform(2, ["wave_hand", "idle"], SMALL)
    frames = list(recording.frames())
    assert len(frames) == recording.frame_count
    assert [frame.stamp for frame in frames] == [n * SECOND // 5 for n in range(len(frames))]
    assert recording.truth[-1].end == frames[-1].stamp + SECOND // 5


def test_a_frame_has_the_shapes_and_types_of_a_recorded_frame() -> None:
    recording = perform(4, ["drink"], SMALL)
    frame = next(iter(recording.frames()))
    assert frame.colour is not None and frame.labels is not None
    assert frame.depth.shape == (72, 96) and frame.depth.dtype == np.float32
    assert frame.foreground.shape == (72, 96) and frame.foreground.dtype == np.bool_
    assert frame.labels.shape == (72, 96) and frame.labels.dtype == np.uint16
    assert frame.colour.shape == (72, 96, 3) and frame.colour.dtype == np.uint8
    assert recording.point_classes == POINT_CLASSES
    assert recording.intrinsics.back_project(frame.depth).shape == (72, 96, 3)


def test_the_same_seed_gives_the_same_bits_each_time_frames_are_asked_for() -> None:
    recording = perform(11, ["punch", "kick"], SMALL)
    again = perform(11, ["punch", "kick"], SMALL)
    assert recording.truth == again.truth
    first, second, third = (
        list(frames) for frames in (recording.frames(), recording.frames(), again.frames())
    )
    assert all(map(same, first, second)) and all(map(same, first, third))


def test_seeds_differ_in_person_viewpoint_room_and_order() -> None:
    scenes = [Scene(seed, SMALL) for seed in range(6)]
    assert len({scene.body.height for scene in scenes}) == 6
    assert len({tuple(scene.viewpoint.position) for scene in scenes}) == 6
    assert len({tuple(one.label for one in perform(seed).truth) for seed in range(6)}) == 6
    frames = [next(clip(seed, "idle", [1.0], SMALL)) for seed in range(6)]
    assert not any(same(frames[0], other) for other in frames[1:])


def test_foreground_is_the_person_and_what_they_hold() -> None:
    handled = POINT_CLASSES.index("handled_object")
    held = dropped = 0
    for frame in clip(5, "throw", np.arange(0.5, 4.5, 0.1), CLEAN):
        assert frame.labels is not None
        assert np.array_equal(frame.labels == UNLABELLED, frame.depth == 0)
        person = np.isin(frame.labels, PERSON)
        thing = frame.labels == handled
        assert np.array_equal(frame.foreground & ~thing, person)
        if thing.any():
            assert frame.foreground[thing].all() or not frame.foreground[thing].any()
            held += int(frame.foreground[thing].all())
            dropped += int(not frame.foreground[thing].any())
    assert held > 0 and dropped > 0


@pytest.mark.parametrize("seed", range(4))
def test_the_person_is_in_view_in_all_frames(seed: int) -> None:
    scene = Scene(seed, SMALL)
    for action in CLASSES:
        for frame in clip(seed, action, np.arange(0.0, 3.0, 0.4), SMALL, scene=scene):
            assert frame.foreground.sum() > 90, action
            rows, columns = np.nonzero(frame.foreground)
            assert 0 < columns.mean() < 95 and 0 < rows.mean() < 71


@pytest.mark.parametrize("seed", range(4))
def test_a_standing_person_stands_on_the_floor_and_is_as_tall_as_drawn(seed: int) -> None:
    config = StudioConfig(noise=False, room=False)
    scene = Scene(seed, config)
    frame = next(clip(seed, "idle", [2.0], config, scene=scene))
    heights = world_points(frame, scene)[frame.foreground][:, 2]
    assert -0.02 < heights.min() < 0.06
    assert heights.max() == pytest.approx(scene.body.height, abs=0.09)


@pytest.mark.parametrize("seed", range(3))
def test_floor_points_lie_at_height_zero_and_walls_stand(seed: int) -> None:
    scene = Scene(seed, CLEAN)
    frame = next(clip(seed, "idle", [1.0], CLEAN, scene=scene))
    heights = world_points(frame, scene)[..., 2]
    floor = heights[frame.labels == POINT_CLASSES.index("floor")]
    assert floor.size > 200
    assert np.abs(floor).max() < 0.01  # a rug is 8 mm high
    wall = heights[frame.labels == POINT_CLASSES.index("wall")]
    assert wall.min() > -0.01 and wall.max() < 3.0


def test_without_a_room_nothing_but_the_person_returns() -> None:
    config = dataclasses.replace(CLEAN, room=False)
    for frame in clip(3, "squat", [0.5, 1.0], config):
        assert np.array_equal(frame.depth > 0, frame.foreground)


def test_the_person_hides_the_room_and_looks_the_same_without_it() -> None:
    # The room is cast once and the person into a window: together they are one picture.
    alone, inside = (
        next(clip(9, "raise_arms", [1.1], dataclasses.replace(CLEAN, room=room)))
        for room in (False, True)
    )
    seen = inside.foreground
    assert seen.sum() > 90
    assert not (seen & ~alone.foreground).any()
    np.testing.assert_array_equal(inside.depth[seen], alone.depth[seen])
    hidden = alone.foreground & ~seen
    assert (inside.depth[hidden] < alone.depth[hidden]).all()


def test_noise_moves_depth_by_millimetres_and_takes_some_returns() -> None:
    clean = next(clip(1, "idle", [1.0], CLEAN))
    noisy = next(clip(1, "idle", [1.0], SMALL))
    both = (clean.depth > 0) & (noisy.depth > 0)
    error = (noisy.depth - clean.depth)[both]
    assert 0.001 < error.std() < 0.05
    lost = 1.0 - both.sum() / (clean.depth > 0).sum()
    assert 0.003 < lost < 0.4
    np.testing.assert_allclose(noisy.depth * 1000, np.round(noisy.depth * 1000), atol=1e-2)


def test_clips_of_one_scene_equal_clips_of_their_own() -> None:
    scene = Scene(6, SMALL)
    for action in ("sit_down", "clap"):
        shared = clip(6, action, [0.2, 1.5], SMALL, scene=scene)
        alone = clip(6, action, [0.2, 1.5], SMALL)
        assert all(map(same, shared, alone))


def test_takes_of_an_action_differ() -> None:
    first, second = (next(clip(6, "wave_hand", [1.5], CLEAN, take=take)) for take in (0, 1))
    assert not np.array_equal(first.depth, second.depth)


@pytest.mark.parametrize("actions", [["wave_hand", "dance"], []])
def test_an_action_that_is_not_known_is_refused(actions: list[str]) -> None:
    with pytest.raises(ConfigError, match="known: idle"):
        perform(0, actions)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed: expected 0 or more, got -1"):
        perform(-1)


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ConfigError, match="seconds_least is above seconds_most"):
        from_mapping(StudioConfig, {"seconds_least": 9.0}, "studio")


def test_the_command_writes_a_contact_sheet(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    out = tmp_path / "sheets" / "one.png"
    command = [sys.executable, "-m", "fourd_perception.studio", "--seed", "3", "--width", "64"]
    done = subprocess.run(
        [*command, "--actions", "idle", "drink", "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert image.open(out).size[0] > 12 * 36
    assert [path.name for path in out.parent.iterdir()] == ["one.png"]


def test_the_command_refuses_an_unknown_action(tmp_path) -> None:
    command = [sys.executable, "-m", "fourd_perception.studio", "--actions", "dance"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "x.png")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "unknown action 'dance'" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_room_is_empty_first_and_its_background_is_the_persons_later() -> None:
    config = dataclasses.replace(CLEAN, empty_seconds=1.0)
    recording = perform(3, ["wave_hand"], config)
    frames = list(recording.frames())
    before = round(config.rate)
    assert len(frames) == recording.frame_count
    assert recording.truth[0].start == SECOND == frames[before].stamp
    assert not any(frame.foreground.any() for frame in frames[:before])
    for frame in frames[before:]:
        assert frame.foreground.sum() > 90
        hidden = frame.foreground | (frame.labels == POINT_CLASSES.index("handled_object"))
        np.testing.assert_array_equal(frame.depth[~hidden], frames[0].depth[~hidden])


def test_a_passer_by_walks_behind_the_person_and_is_no_foreground() -> None:
    configs = [dataclasses.replace(CLEAN, passer_by=one) for one in (False, True)]
    alone, both = (list(perform(3, ["idle"], one).frames()) for one in configs)
    scene, places = Scene(3, configs[1]), []
    for one, other in zip(alone, both):
        np.testing.assert_array_equal(one.foreground, other.foreground)
        np.testing.assert_array_equal(one.depth[one.foreground], other.depth[one.foreground])
        walker = np.isin(other.labels, PERSON) & ~other.foreground
        assert (other.depth <= one.depth)[walker].all()
        if walker.sum() > 90:
            points = world_points(other, scene)[walker]
            assert -1.5 < points[:, 0].mean() < -0.6 and points[:, 2].min() > -0.02
            places.append(points[:, 1].mean())
    assert len(places) > len(both) // 3 and max(places) - min(places) > 0.8


def test_companions_do_actions_of_their_own_where_the_recording_says() -> None:
    configs = [dataclasses.replace(CLEAN, companions=n, empty_seconds=1.0) for n in (0, 2)]
    alone, together = (perform(3, ["idle", "kick"], one) for one in configs)
    assert alone.others == () and alone.truth == together.truth
    assert len({one.truth[0].label for one in together.others} | {"idle"}) > 1
    scene, seen = Scene(3, configs[1]), np.zeros((2, together.frame_count), int)
    for number, (one, other) in enumerate(zip(alone.frames(), together.frames())):
        bodies = np.isin(other.labels, PERSON) & ~other.foreground
        if other.stamp < together.truth[0].start:
            np.testing.assert_array_equal(one.depth, other.depth)  # the room is empty
            continue
        assert (other.depth <= one.depth)[bodies].all()
        points = world_points(other, scene)[bodies]
        places = np.stack([companion.place for companion in together.others])
        away = np.linalg.norm(points[:, None, :2] - places[:, :2], axis=2)
        assert away.min(axis=1).max() < 1.1  # an arm's length
        seen[:, number] = (away < 0.8).sum(axis=0)
    assert (seen[:, round(CLEAN.rate) :] > 60).all()
    for companion in together.others:
        assert companion.truth[0].start == together.truth[0].start
        assert companion.truth[-1].end > together.truth[-1].end
        assert all(a.end == b.start for a, b in zip(companion.truth, companion.truth[1:]))


def test_a_recording_says_where_the_camera_stands() -> None:
    recording, scene = perform(6, ["idle"], CLEAN), Scene(6, CLEAN)
    np.testing.assert_array_equal(recording.viewpoint[:, :3], scene.viewpoint.rotation)
    np.testing.assert_array_equal(recording.viewpoint[:, 3], scene.viewpoint.position)
