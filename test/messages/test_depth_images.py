"""Depth images to points: every point goes back to the pixel that it came from."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.messages.depth_images import BadCameraInfo, DepthCamera, DepthReader
from fourd_perception.messages.images import BadImage

WIDTH, HEIGHT = 16, 12
FX, FY, CX, CY = 14.0, 15.0, 7.3, 6.1


def info(**changes) -> SimpleNamespace:
    given = {
        "width": WIDTH, "height": HEIGHT, "distortion_model": "plumb_bob", "d": [0.0] * 5,
        "k": [FX, 0, CX, 0, FY, CY, 0, 0, 1], "p": [20.0, 0, 8.0, 0, 0, 21.0, 6.0, 0, 0, 0, 1, 0],
        "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0, do_rectify=False),
    }  # fmt: skip
    return SimpleNamespace(**(given | changes))


def image(depth: np.ndarray, encoding: str = "32FC1", padding: int = 0, big: bool = False):
    """depth: (H, W), in the encoding's unit."""
    kind = {"16UC1": "u2", "32FC1": "f4"}[encoding]
    rows = [row.tobytes() + b"\xab" * padding for row in depth.astype((">" if big else "<") + kind)]
    return SimpleNamespace(
        height=depth.shape[0], width=depth.shape[1], encoding=encoding, is_bigendian=int(big),
        step=len(rows[0]), data=b"".join(rows),
    )  # fmt: skip


def project(point, k, d) -> tuple[float, float]:
    """The pixel of a point, after the formula in OpenCV's documentation, number by number."""
    x, y = point[0] / point[2], point[1] / point[2]
    k1, k2, p1, p2, k3, k4, k5, k6 = [*d, *[0] * (8 - len(d))]
    r = math.hypot(x, y)
    radial = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
    x_seen = x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
    y_seen = y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
    return k[0] * x_seen + k[2], k[4] * y_seen + k[5]


def depths(seed: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.4, 9, shape).astype(np.float32)


def assert_return(points: np.ndarray, depth: np.ndarray, k, d) -> None:
    for index, point in enumerate(points.astype(np.float64)):
        row, column = divmod(index, depth.shape[1])
        assert project(point, k, d) == pytest.approx((column, row), abs=1e-4)
        assert point[2] == pytest.approx(depth[row, column])


small = st.floats(-0.05, 0.05)


@settings(max_examples=30, deadline=None)
@given(st.lists(small, min_size=8, max_size=8), st.sampled_from([0, 4, 5, 8]))
def test_points_return_to_their_pixels(coefficients: list[float], count: int) -> None:
    d = coefficients[:count]
    model = "rational_polynomial" if count == 8 else "plumb_bob"
    camera = info(d=d, distortion_model=model)
    points = DepthReader().points(image(depths()), camera)
    assert points.shape == (HEIGHT * WIDTH, 3) and points.dtype == np.float32
    assert_return(points, depths(), camera.k, d)


def test_a_strong_lens() -> None:
    """An Azure Kinect's depth camera, whose coefficients are far from small."""
    d = [5.03, 3.58, 9.7e-05, 1.2e-04, 0.19, 5.36, 5.21, 1.02]
    k = [252.3, 0, 164.2, 0, 252.4, 163.1, 0, 0, 1]
    camera = info(width=320, height=326, k=k, d=d, distortion_model="rational_polynomial")
    depth = depths(shape=(326, 320))
    points = DepthReader().points(image(depth), camera)
    assert np.isfinite(points).all()
    sample = np.random.default_rng(1).choice(len(points), 300)
    for index in sample:
        assert project(points[index].astype(float), k, d) == pytest.approx(
            (index % 320, index // 320), abs=1e-2
        )


def test_a_pixel_that_no_ray_falls_on_has_no_point() -> None:
    """x (1 - x^2) is 0.385 at most: beyond, at x = 0.577, the polynomial folds back."""
    camera = info(d=[-1.0, 0, 0, 0, 0])
    points = DepthReader().points(image(np.ones((HEIGHT, WIDTH))), camera)
    rows, columns = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    radius = np.hypot((columns - CX) / FX, (rows - CY) / FY)
    there = np.isfinite(points).all(axis=1)
    assert there.tolist() == (radius < 0.3849).tolist()
    assert np.isnan(points[~there]).all()
    assert (np.hypot(points[there, 0], points[there, 1]) < 0.5774).all()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
def test_millimetres_and_metres(big: bool, padding: int) -> None:
    millimetres = np.random.default_rng(0).integers(400, 9000, (HEIGHT, WIDTH))
    millimetres[3, 4] = 0
    metres = np.where(millimetres, millimetres / 1000, np.nan)
    one = DepthReader().points(image(millimetres, "16UC1", padding, big), info())
    other = DepthReader().points(image(metres, "32FC1", padding, big), info())
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert np.isnan(one).all(axis=1).nonzero()[0].tolist() == [3 * WIDTH + 4]
    # Pixel (row 2, column 10): x = (10 - 7.3) / 14 z, y = (2 - 6.1) / 15 z.
    z = metres[2, 10]
    expected = [2.7 / 14 * z, -4.1 / 15 * z, z]
    np.testing.assert_allclose(one[2 * WIDTH + 10], expected, rtol=1e-6)


def test_what_is_no_depth_is_no_point() -> None:
    depth = depths()
    depth[0, :4] = np.nan, np.inf, -1, 0
    points = DepthReader().points(image(depth), info())
    assert np.isnan(points[:4]).all() and np.isfinite(points[4:]).all()


@pytest.mark.parametrize("d", [[], [-0.1, 0.02, 0.001, -0.002, 0.01]])
def test_binning_and_region_of_interest(d: list[float]) -> None:
    """The image's pixel (column, row) is the sensor's (left + 2 column, top + 3 row)."""
    roi = SimpleNamespace(x_offset=4, y_offset=3, width=8, height=6, do_rectify=False)
    camera = info(d=d, roi=roi, binning_x=2, binning_y=3)
    depth = depths(shape=(2, 4))
    points = DepthReader().points(image(depth), camera)
    for index, point in enumerate(points.astype(float)):
        row, column = divmod(index, 4)
        assert project(point, camera.k, d) == pytest.approx((4 + 2 * column, 3 + 3 * row), abs=1e-4)


def test_opencv_sees_the_same_rays() -> None:
    cv2 = pytest.importorskip("cv2")
    random = np.random.default_rng(0)
    tight = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 300, 1e-13)
    for _ in range(20):
        d = random.uniform(-0.1, 0.1, random.choice([4, 5, 8]))
        d[2:4] *= 0.05
        model = "rational_polynomial" if len(d) == 8 else "plumb_bob"
        left, top, column, row = random.integers(1, 5, 4).tolist()
        roi = SimpleNamespace(x_offset=left, y_offset=top, width=5 * column, height=4 * row)
        camera = info(
            d=d, k=[100.0, 0, 9.0, 0, 110.0, 8.0, 0, 0, 1], roi=roi, distortion_model=model,
            binning_x=column, binning_y=row,
        )  # fmt: skip
        pixels = [[(left + x * column, top + y * row)] for y in range(4) for x in range(5)]
        k = np.array(camera.k).reshape(3, 3)
        seen = cv2.undistortPoints(np.array(pixels, float), k, d, None, None, None, tight)
        rays = DepthCamera.from_message(camera).rays().reshape(-1, 3)
        np.testing.assert_allclose(rays[:, :2], seen[:, 0], atol=1e-6)


def test_a_rectified_image_has_p_and_no_distortion() -> None:
    points = DepthReader(rectified=True).points(image(depths()), info(d=[0.3, 0, 0, 0, 0]))
    assert_return(points, depths(), [20.0, 0, 8.0, 0, 21.0, 6.0, 0, 0, 1], [])


def test_ros1_writes_matrices_large() -> None:
    camera = vars(info())
    large = SimpleNamespace(**{key.upper() if key in "dkp" else key: value
                               for key, value in camera.items()})  # fmt: skip
    assert DepthCamera.from_message(large) == DepthCamera.from_message(info())


def test_rays_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    rays = DepthCamera.rays
    monkeypatch.setattr(DepthCamera, "rays", lambda self: computed.append(self) or rays(self))
    reader = DepthReader()
    first = [reader.points(image(depths(seed)), info()) for seed in range(3)]
    assert len(computed) == 1
    moved = reader.points(image(depths(2)), info(k=[FX, 0, CX + 1, 0, FY, CY, 0, 0, 1]))
    assert len(computed) == 2 and not np.allclose(first[2], moved)


def test_the_message_is_not_changed() -> None:
    depth = np.full((HEIGHT, WIDTH), np.inf, "<f4")
    message = image(depth)
    before = bytes(message.data)
    DepthReader().points(message, info())
    assert message.data == before


BAD = [
    ({"k": [0.0] * 9}, "not calibrated", "got 0 and 0"),
    ({"k": [math.nan] * 9}, "not calibrated", "nan"),
    ({"k": [1.0] * 4}, "bad k", "expected 9 numbers, got 4"),
    ({"k": None}, "bad k", "expected numbers"),
    ({"d": [0.1] * 4, "distortion_model": "equidistant"}, "unknown distortion", "rectified"),
    ({"d": [0.1] * 3}, "bad d", "expected 5 finite numbers"),
    ({"d": [math.inf] * 5}, "bad d", "inf"),
    ({"binning_x": -1}, "bad binning_x", "from 0, got -1"),
    ({"roi": None}, "not a CameraInfo", "x_offset"),
]


@pytest.mark.parametrize("changes, reason, detail", BAD)
def test_a_bad_camera_info_is_a_line(changes: dict, reason: str, detail: str) -> None:
    with pytest.raises(BadCameraInfo, match=detail) as caught:
        DepthReader().points(image(depths()), info(**changes))
    assert caught.value.reason == reason and "\n" not in str(caught.value)


def test_an_image_of_another_camera_is_a_line() -> None:
    with pytest.raises(BadImage, match="expected 16 x 12 as its CameraInfo has it, got 5 x 7"):
        DepthReader().points(image(depths(shape=(7, 5))), info())
    with pytest.raises(BadImage, match="not a depth encoding"):
        DepthReader().points(SimpleNamespace(encoding="rgb8"), info())
