from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco

from fourd_perception.studio.camera import (
    PERFECT_SENSOR,
    RayCamera,
    SensorConfig,
    look_at,
    pinhole,
    sense,
)
from fourd_perception.studio.shapes import (
    PERSON_GROUP,
    ROOM_GROUP,
    Paint,
    Palette,
    Pattern,
    Shape,
    build,
)

GREY = Paint((0.5, 0.5, 0.5))
CAMERA = pinhole(64, 48, 60.0)


def rendered(shape: Shape, camera: RayCamera, group: int = ROOM_GROUP):
    model = build([shape])
    data = mujoco.MjData(model.mujoco)
    mujoco.mj_kinematics(model.mujoco, data)
    return camera.cast(model.mujoco, data, group)


def test_a_wall_square_to_the_camera_has_one_depth() -> None:
    # A wall whose face is at x = -2, seen from x = 1: 3 m along the axis in every pixel.
    camera = RayCamera(CAMERA, look_at(np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])))
    hits = rendered(Shape("box", (0.1, 50, 50), "wall", GREY, (-2.1, 0, 0)), camera)
    np.testing.assert_allclose(hits.depth, 3.0, rtol=1e-6)
    np.testing.assert_allclose(hits.normals, np.broadcast_to((1, 0, 0), (64 * 48, 3)), atol=1e-6)


def test_a_floor_comes_back_at_height_zero() -> None:
    camera = RayCamera(CAMERA, look_at(np.array([2.0, 0.5, 1.3]), np.array([0.0, 0.0, 0.2])))
    hits = rendered(Shape("box", (90, 90, 0.1), "floor", GREY, (0, 0, -0.1)), camera)
    depth = np.where(np.isfinite(hits.depth), hits.depth, 0).astype(np.float32).reshape(48, 64)
    points = CAMERA.back_project(depth) @ camera.viewpoint.rotation.T + camera.viewpoint.position
    assert (depth > 0).mean() > 0.5
    np.testing.assert_allclose(points[depth > 0][:, 2], 0.0, atol=1e-4)


def test_a_sphere_is_nearest_in_the_middle_and_as_wide_as_it_should_be() -> None:
    # Radius 0.5 at 4 m: nearest point 3.5 m; its silhouette is asin(0.5 / 4) off the axis.
    camera = RayCamera(CAMERA, look_at(np.array([4.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])))
    hits = rendered(Shape("sphere", (0.5,), "furniture", GREY, (0, 0, 1)), camera)
    depth = hits.depth.reshape(48, 64)
    assert depth.min() == pytest.approx(3.5, abs=0.01)
    half = CAMERA.fx * np.tan(np.arcsin(0.5 / 4))
    assert np.isfinite(depth[24]).sum() == pytest.approx(2 * half, abs=1.5)


def test_a_level_camera_has_right_to_the_right_and_down_downwards() -> None:
    view = look_at(np.array([3.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    right, down, forward = view.rotation.T
    np.testing.assert_allclose(forward, (-1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(down, (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(right, (0, 1, 0), atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_the_window_holds_every_ray_that_meets_the_spheres(seed: int) -> None:
    random = np.random.default_rng(seed)
    place, radius = random.uniform((-1.0, -1.5, -0.5), (1.0, 1.5, 2.5)), random.uniform(0.05, 0.6)
    camera = RayCamera(CAMERA, look_at(np.array([3.0, 0.0, 1.2]), np.array([0.0, 0.0, 1.0])))
    shape = Shape("sphere", (float(radius),), "furniture", GREY, tuple(place.tolist()))
    met = np.isfinite(rendered(shape, camera).depth).reshape(48, 64)
    window = camera.window(place[None], np.array([radius]))
    covered = np.zeros_like(met)
    if window is not None:
        covered[window] = True
    assert not (met & ~covered).any()


def test_the_window_of_what_is_behind_or_around_the_camera_is_everything() -> None:
    camera = RayCamera(CAMERA, look_at(np.array([3.0, 0.0, 1.2]), np.array([0.0, 0.0, 1.0])))
    window = camera.window(np.array([[3.1, 0.0, 1.2]]), np.array([0.5]))
    assert window == (slice(0, 48), slice(0, 64))


def test_groups_are_cast_apart() -> None:
    camera = RayCamera(CAMERA, look_at(np.array([4.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])))
    shape = Shape("sphere", (0.5,), "head", GREY, (0, 0, 1))
    assert np.isfinite(rendered(shape, camera, PERSON_GROUP).depth).any()
    assert not np.isfinite(rendered(shape, camera, ROOM_GROUP).depth).any()


def flat(depth: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (200, 300)
    return (
        np.full(shape, depth, np.float32),
        np.zeros(shape, np.int32),
        np.ones(shape, np.float32),
    )


def test_a_perfect_sensor_reports_what_is_there() -> None:
    depth, geoms, facing = flat(3.21)
    depth[0, 0] = np.inf
    measured = sense(depth, geoms, facing, PERFECT_SENSOR, np.random.default_rng(0))
    assert measured[0, 0] == 0
    np.testing.assert_array_equal(measured[1:], depth[1:])


@pytest.mark.parametrize("depth", [1.0, 2.5, 4.0])
def test_noise_grows_as_the_kinect_model_says(depth: float) -> None:
    sensor = dataclasses.replace(PERFECT_SENSOR, noise=0.0012, noise_growth=0.0019)
    measured = sense(*flat(depth), sensor, np.random.default_rng(0))
    sigma = 0.0012 + 0.0019 * (depth - 0.4) ** 2
    assert (measured - depth).std() == pytest.approx(sigma, rel=0.02)
    assert abs((measured - depth).mean()) < 0.02 * sigma


@pytest.mark.parametrize("depth", [0.3, 9.0])
def test_nothing_returns_out_of_range(depth: float) -> None:
    assert not sense(*flat(depth), SensorConfig(), np.random.default_rng(0)).any()


def test_grazing_surfaces_do_not_return() -> None:
    depth, geoms, facing = flat(2.0)
    sensor = dataclasses.replace(PERFECT_SENSOR, grazing=10.0)
    for angle, returned in ((9.0, 0.0), (15.0, 0.5), (25.0, 1.0)):
        facing[:] = np.sin(np.radians(angle))
        measured = sense(depth, geoms, facing, sensor, np.random.default_rng(0))
        assert (measured > 0).mean() == pytest.approx(returned, abs=0.02)


def test_the_far_side_of_an_edge_loses_returns_and_a_slope_does_not() -> None:
    depth, geoms, facing = flat(3.0)
    depth[:, :100] = 2.0
    geoms[:, :100] = 1
    sensor = dataclasses.replace(PERFECT_SENSOR, edge_loss=1.0)
    measured = sense(depth, geoms, facing, sensor, np.random.default_rng(0))
    assert not measured[:, 100].any()
    assert measured[:, :100].all() and measured[:, 101:].all()
    steep = np.broadcast_to(np.linspace(1, 7, 200, dtype=np.float32)[:, None], (200, 300))
    assert sense(steep.copy(), geoms * 0, facing, sensor, np.random.default_rng(0)).all()


def test_drop_outs_are_as_many_as_asked_for() -> None:
    sensor = dataclasses.replace(PERFECT_SENSOR, drop_out=0.1)
    measured = sense(*flat(3.0), sensor, np.random.default_rng(0))
    assert (measured == 0).mean() == pytest.approx(0.1, abs=0.01)


def test_a_palette_paints_stripes_and_checks_by_position() -> None:
    light, dark = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    shapes = [
        Shape("sphere", (1.0,), "wall", Paint(light, dark, pattern, 0.1))
        for pattern in (Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKS)
    ]
    palette = Palette(shapes)
    places = np.array([(0, 0, 0), (0, 0, 0.1), (0.1, 0, 0.1), (0.1, 0, 0)], np.float32)
    for index, expected in enumerate(([1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0])):
        colours = palette.colour(np.full(4, index, np.int32), places)
        assert colours[:, 0].tolist() == expected


def test_geoms_keep_the_order_of_shapes_whatever_body_they_belong_to() -> None:
    shapes = [
        Shape("sphere", (0.1,), "head", GREY, body="b"),
        Shape("sphere", (0.2,), "wall", GREY),
        Shape("sphere", (0.3,), "torso", GREY, body="a"),
        Shape("sphere", (0.4,), "torso", GREY, body="b"),
    ]
    model = build(shapes)
    sizes = model.mujoco.geom_size[:, 0]
    assert [shape.size[0] for shape in model.shapes] == sizes.tolist()
    assert set(model.bodies) == {"a", "b"}
