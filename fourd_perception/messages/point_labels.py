"""The truth that a cloud may bring with it: a label for each of its points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_perception.messages.clouds import BadCloud
from fourd_perception.messages.reading import attribute, buffer, row_stride, whole

_FIELD = "label"
# sensor_msgs/PointField: the datatypes that are whole numbers.
_WHOLE = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}


def labels_of(message: Any) -> NDArray[np.int64] | None:
    """The field `label` of a sensor_msgs/PointCloud2: (H * W,) int64, in the message's order.

    None where the cloud has no such field. Raises BadCloud where it is no field of whole numbers.
    """
    fields = [one for one in attribute(message, "fields", BadCloud) if one.name == _FIELD]
    if not fields:
        return None
    height, width = whole(message, "height", BadCloud), whole(message, "width", BadCloud)
    if height * width == 0:
        return np.empty(0, np.int64)
    datatype, offset = (whole(fields[0], name, BadCloud) for name in ("datatype", "offset"))
    if datatype not in _WHOLE or len(fields) > 1 or whole(fields[0], "count", BadCloud) != 1:
        raise BadCloud(
            "field label is not a whole number", "expected one of datatype 1 to 6 (INT8 to UINT32)"
        )
    order = ">" if attribute(message, "is_bigendian", BadCloud) else "<"
    kind = np.dtype(order + _WHOLE[datatype])
    point_step = whole(message, "point_step", BadCloud)
    if offset + kind.itemsize > point_step:
        raise BadCloud(
            "field label outside the point",
            f"it ends at byte {offset + kind.itemsize}, point_step is {point_step}",
        )
    data = buffer(message, BadCloud)
    step = row_stride(message, "row_step", height, width * point_step, data.size, BadCloud)
    labels: NDArray[Any] = np.ndarray((height, width), kind, data, offset, (step, point_step))
    return labels.astype(np.int64).ravel()
