"""PointCloud2 to points and back, for any object that has the message's attributes.

The reader is our own because the stock one (sensor_msgs_py) ignores row_step, swaps big-endian data
inside the message, keeps infinities, and fails by accident on malformed messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.messages.reading import BadMessage, attribute, buffer, row_stride, whole

_UINT32, _FLOAT32, _FLOAT64 = 6, 7, 8  # sensor_msgs/PointField
_AXES = ("x", "y", "z")


class BadCloud(BadMessage):
    """A PointCloud2 that cannot be read; `reason` is for counting."""

    kind = "PointCloud2"


@dataclass(frozen=True)
class Field:
    """A sensor_msgs/PointField."""

    name: str
    offset: int
    datatype: int
    count: int = 1


@dataclass(frozen=True)
class CloudLayout:
    """The attributes of a PointCloud2, all but its header; the data is little-endian."""

    height: int
    width: int
    fields: tuple[Field, ...]
    point_step: int
    row_step: int
    data: bytes
    is_dense: bool
    is_bigendian: bool = False


def from_message(message: Any) -> NDArray[np.float32]:
    """The points of a sensor_msgs/PointCloud2: (H * W, 3) float32, metres, in the message's order.

    What is not finite comes out as NaN; `is_dense` is not believed. `x`, `y`, `z` may lie anywhere
    in a point, as float32 or float64, in either byte order; other fields are ignored. An empty
    cloud gives (0, 3). Padded rows and data beyond the last point are stepped over. The message is
    neither changed nor kept.
    Raises BadCloud.
    """
    height, width = whole(message, "height", BadCloud), whole(message, "width", BadCloud)
    if height * width == 0:
        return np.empty((0, 3), np.float32)
    point_step = whole(message, "point_step", BadCloud)
    order = ">" if attribute(message, "is_bigendian", BadCloud) else "<"
    columns = _columns(attribute(message, "fields", BadCloud), point_step, order)
    data = buffer(message, BadCloud)
    row = width * point_step
    row_step = row_stride(message, "row_step", height, row, data.size, BadCloud)

    points = np.empty((height, width, 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 beyond float32 becomes infinite
        for axis, (kind, offset) in enumerate(columns):
            points[:, :, axis] = np.ndarray(
                (height, width), kind, data, offset, (row_step, point_step)
            )
    points[np.isinf(points)] = np.nan
    return points.reshape(-1, 3)


def _columns(fields: Any, point_step: int, order: str) -> list[tuple[np.dtype[Any], int]]:
    """Type and offset of x, y and z, each checked to lie inside a point."""
    try:
        names = [field.name for field in fields]
    except (TypeError, AttributeError):
        raise BadCloud("bad fields", f"expected a list of PointField, got {fields!r:.40}") from None
    columns = []
    for axis in _AXES:
        found = [field for field, name in zip(fields, names) if name == axis]
        if len(found) != 1:
            reason = f"field {axis} twice" if found else f"no field {axis}"
            raise BadCloud(reason, f"expected x, y and z once each, got {names!r:.200}")
        count, datatype = (whole(found[0], name, BadCloud) for name in ("count", "datatype"))
        if count != 1:
            raise BadCloud(f"field {axis} is not one number", f"expected count 1, got {count}")
        if datatype not in (_FLOAT32, _FLOAT64):
            raise BadCloud(
                f"field {axis} is not a float",
                f"expected datatype 7 (FLOAT32) or 8 (FLOAT64), got {datatype}",
            )
        kind = np.dtype(order + ("f4" if datatype == _FLOAT32 else "f8"))
        offset = whole(found[0], "offset", BadCloud)
        if offset + kind.itemsize > point_step:
            raise BadCloud(
                f"field {axis} outside the point",
                f"it ends at byte {offset + kind.itemsize}, point_step is {point_step}",
            )
        columns.append((kind, offset))
    return columns


def to_fields(
    points: NDArray[np.float32],
    rgb: NDArray[np.uint8] | None = None,
    extra: Mapping[str, NDArray[Any]] | None = None,
) -> CloudLayout:
    """Lay out points as x y z [rgb] [extra...], four bytes each and no padding.

    points: (H, W, 3), an organised cloud, or (N, 3), a flat one, of height 1; metres, NaN where
    there is no return. rgb: (H, W, 3) or (N, 3) uint8, packed into a float32 as PCL and RViz have
    it. extra: further fields by name, (H, W) or (N,), float32 or uint32.
    Raises ValueError on shapes or types that do not fit.
    """
    if points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise ValueError(f"points: expected (H, W, 3) or (N, 3), got {points.shape}")
    columns: dict[str, NDArray[Any]] = {
        axis: points[..., index].astype(np.float32) for index, axis in enumerate(_AXES)
    }
    if rgb is not None:
        if rgb.shape != points.shape or rgb.dtype != np.uint8:
            raise ValueError(f"rgb: expected {points.shape} uint8, got {rgb.shape} {rgb.dtype}")
        red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
        columns["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    for name, values in (extra or {}).items():
        if values.shape != points.shape[:-1] or values.dtype not in (np.float32, np.uint32):
            raise ValueError(
                f"{name}: expected {points.shape[:-1]} float32 or uint32, "
                f"got {values.shape} {values.dtype}"
            )
        if name in columns:
            raise ValueError(f"{name}: there is a field of this name already")
        columns[name] = values
    table = np.empty(
        points.shape[:-1],
        [(name, values.dtype.newbyteorder("<")) for name, values in columns.items()],
    )
    for name, values in columns.items():
        table[name] = values
    height, width = (1, *points.shape[:-1])[-2:]
    fields = tuple(
        Field(name, 4 * index, _FLOAT32 if values.dtype == np.float32 else _UINT32)
        for index, (name, values) in enumerate(columns.items())
    )
    return CloudLayout(
        height=height,
        width=width,
        fields=fields,
        point_step=table.itemsize,
        row_step=width * table.itemsize,
        data=table.tobytes(),
        is_dense=bool(np.isfinite(points).all()),
    )
