"""Depth Image and CameraInfo to points, for any objects that have the messages' attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.messages import compressed_depth
from fourd_perception.messages.images import BadImage, depth_from_message
from fourd_perception.messages.reading import BadMessage, attribute, whole

_COEFFICIENTS = {"": (0,), "none": (0,), "plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8)}
_STEPS = 20
_CLOSE = 1e-9
"""A ray is found when it is distorted back to its pixel this closely, in units of z = 1."""
_REMEDY = "publish the rectified depth image (image_proc)"


class BadCameraInfo(BadMessage):
    """A CameraInfo that cannot be used; `reason` is for counting."""

    kind = "CameraInfo"


@dataclass(frozen=True)
class DepthCamera:
    """What the pixels of a depth image look at; equal ones have equal rays.

    width, height: of the image that is published, after region of interest and binning. fx, fy, cx,
    cy: its pixels. distortion: k1 k2 p1 p2 [k3 [k4 k5 k6]] as OpenCV has them; empty: none.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    @classmethod
    def from_message(cls, info: Any, *, rectified: bool = False) -> DepthCamera:
        """The camera of a sensor_msgs/CameraInfo; of a rectified image by P, else by K and D.

        The matrices are those of the whole sensor: the region's corner is taken off, and all is
        divided by the binning, as image_geometry does. Raises BadCameraInfo.
        """
        fx, fy, cx, cy = _focus(info, rectified=rectified)
        roi = attribute(info, "roi", BadCameraInfo)
        width, height = whole(info, "width", BadCameraInfo), whole(info, "height", BadCameraInfo)
        left, top = whole(roi, "x_offset", BadCameraInfo), whole(roi, "y_offset", BadCameraInfo)
        width = whole(roi, "width", BadCameraInfo) or width  # a region of 0 is the whole image
        height = whole(roi, "height", BadCameraInfo) or height
        binning_x = whole(info, "binning_x", BadCameraInfo) or 1
        binning_y = whole(info, "binning_y", BadCameraInfo) or 1
        return cls(
            width // binning_x,
            height // binning_y,
            fx / binning_x,
            fy / binning_y,
            (cx - left) / binning_x,
            (cy - top) / binning_y,
            () if rectified else _distortion(info),
        )

    def rays(self) -> NDArray[np.float32]:
        """(H, W, 3) float32: x, y and z = 1 of what each pixel's centre sees.

        NaN where the distortion has no inverse: such a pixel is outside of what was calibrated.
        """
        x = np.broadcast_to((np.arange(self.width) - self.cx) / self.fx, (self.height, self.width))
        y = ((np.arange(self.height) - self.cy) / self.fy)[:, None]
        seen = np.stack((x, np.broadcast_to(y, x.shape)), axis=-1)
        if any(self.distortion):
            seen = _undistort(seen, self.distortion)
        forward = np.where(np.isnan(seen[..., :1]), np.nan, 1)
        return np.concatenate((seen, forward), axis=-1).astype(np.float32)


_DECODERS: dict[str, Callable[[Any], NDArray[np.float32]]] = {
    "raw": depth_from_message,
    compressed_depth.TRANSPORT: compressed_depth.from_message,
}


class DepthReader:
    """Depth images of one camera to points; the rays are computed once per CameraInfo.

    rectified: the images are rectified: their camera is P, without distortion. transport: how they
    come, as image_transport names it: `raw`, or `compressedDepth`. Not thread-safe.
    """

    def __init__(self, *, rectified: bool = False, transport: str = "raw") -> None:
        self._rectified = rectified
        self._decode = _DECODERS[transport]
        self._camera: DepthCamera | None = None
        self._rays: NDArray[np.float32] = np.empty((3, 0, 0), np.float32)

    @property
    def rows(self) -> int:
        """H of the last image; 0 before the first."""
        return self._rays.shape[1]

    def points(self, image: Any, info: Any) -> NDArray[np.float32]:
        """The points of a depth sensor_msgs/Image: (H * W, 3) float32, metres, row by row.

        In the camera's optical frame (x right, y down, z forward: REP-103); NaN where there is no
        return. 16UC1 is in millimetres, 32FC1 in metres (REP-118).
        Raises BadImage, also where the image is not of the camera's size, and BadCameraInfo.
        """
        camera = DepthCamera.from_message(info, rectified=self._rectified)
        depth = self._decode(image)
        if depth.shape != (camera.height, camera.width):
            raise BadImage(
                "not of the camera's size",
                f"expected {camera.width} x {camera.height} as its CameraInfo has it, "
                f"got {depth.shape[1]} x {depth.shape[0]}; give the camera_info of this image",
            )
        if camera != self._camera:
            self._camera = camera
            self._rays = np.ascontiguousarray(np.moveaxis(camera.rays(), -1, 0))  # fast to go along
        with np.errstate(invalid="ignore"):
            depth *= depth / depth  # 0 becomes NaN, all else stays; a mask takes ten times as long
        # x, y and z each in one piece: four times as fast to write as in turns, and to go along.
        return np.multiply(self._rays, depth).reshape(3, -1).T


def is_rectified(topic: str) -> bool:
    """By its name, as image_proc and the drivers have it: image_rect, image_rect_raw."""
    return "rect" in topic.rpartition("/")[2]


def _focus(info: Any, *, rectified: bool) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of K, or of P. ROS 1 writes the names large."""
    name, wanted = ("p", 12) if rectified else ("k", 9)
    matrix = _numbers(info, name)
    if len(matrix) != wanted:
        raise BadCameraInfo(f"bad {name}", f"expected {wanted} numbers, got {len(matrix)}")
    fx, fy, cx, cy = (matrix[0], matrix[5], matrix[2], matrix[6]) if rectified else (
        matrix[0], matrix[4], matrix[2], matrix[5]
    )  # fmt: skip
    if not (fx > 0 and fy > 0 and np.isfinite(matrix).all()):
        raise BadCameraInfo(
            "not calibrated", f"expected focal lengths above 0 in {name}, got {fx:g} and {fy:g}"
        )
    return fx, fy, cx, cy


def _distortion(info: Any) -> tuple[float, ...]:
    model = str(attribute(info, "distortion_model", BadCameraInfo))
    values = _numbers(info, "d")
    if not any(values):
        return ()
    if model not in _COEFFICIENTS:
        known = ", ".join(name for name in _COEFFICIENTS if name)
        raise BadCameraInfo(
            "unknown distortion", f"expected one of {known}, got {model!r:.40}; {_REMEDY}"
        )
    if len(values) not in _COEFFICIENTS[model] or not np.isfinite(values).all():
        raise BadCameraInfo(
            "bad d",
            f"expected {max(_COEFFICIENTS[model])} finite numbers for {model}, "
            f"got {list(values)!r:.80}; {_REMEDY}",
        )
    return values


def _numbers(info: Any, name: str) -> tuple[float, ...]:
    """`info.name`, or as ROS 1 has it `info.NAME`, as Python's own numbers."""
    large = hasattr(info, name.upper()) and not hasattr(info, name)
    values = attribute(info, name.upper() if large else name, BadCameraInfo)
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise BadCameraInfo(f"bad {name}", f"expected numbers, got {values!r:.40}") from None


def _undistort(seen: NDArray[np.float64], d: tuple[float, ...]) -> NDArray[np.float64]:
    """Newton's method on the distortion (Brown-Conrady, rational): (..., 2), at z = 1.

    A solution counts only where the distortion keeps directions upright: beyond a fold of the
    polynomial another point than the seen one is distorted to the same pixel.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, *(0.0,) * (8 - len(d)))
    x, y = seen[..., 0].copy(), seen[..., 1].copy()
    with np.errstate(all="ignore"):  # where there is no inverse, it runs away; that is seen below
        for _ in range(_STEPS):
            r2 = x * x + y * y
            above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
            below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
            radial = above / below
            slope = (  # of `radial` along r2
                (k1 + r2 * (2 * k2 + 3 * r2 * k3)) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))
            ) / below
            miss_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - seen[..., 0]
            miss_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y - seen[..., 1]
            xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
            yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
            xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
            determinant = xx * yy - xy * xy
            upright = (determinant > 0) & (xx + yy > 0)
            found = (np.maximum(abs(miss_x), abs(miss_y)) < _CLOSE) & upright
            if found.all():
                break
            x -= (yy * miss_x - xy * miss_y) / determinant
            y -= (xx * miss_y - xy * miss_x) / determinant
        return np.where(found[..., None], np.stack((x, y), axis=-1), np.nan)
