"""The field `label` of a cloud."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fourd_perception.messages.clouds import BadCloud
from fourd_perception.messages.point_labels import labels_of

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}


def cloud(labels: np.ndarray, kind: int, *, big: bool = False, padding: int = 0, **field):
    """labels: (H, W). A cloud with nothing but labels, at byte 3 of its points."""
    height, width = labels.shape
    order = ">" if big else "<"
    table = np.zeros(
        (height, width),
        {"names": ["label"], "formats": [order + TYPES[kind]], "offsets": [3],
         "itemsize": 11},
    )  # fmt: skip
    table["label"] = labels
    given = {"name": "label", "offset": 3, "datatype": kind, "count": 1}
    return SimpleNamespace(
        height=height, width=width, point_step=11, row_step=width * 11 + padding,
        is_bigendian=big, fields=[SimpleNamespace(**(given | field))],
        data=b"".join(row.tobytes() + b"\xab" * padding for row in table),
    )  # fmt: skip


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
def test_every_kind_of_whole_number(datatype: int, big: bool, padding: int) -> None:
    most = np.iinfo(TYPES[datatype]).max
    labels = np.array([[0, 1, 2], [most, 3, 4]])
    found = labels_of(cloud(labels, datatype, big=big, padding=padding))
    assert found is not None and found.dtype == np.int64
    assert found.tolist() == labels.ravel().tolist()


def test_no_labels() -> None:
    assert labels_of(cloud(np.zeros((1, 2)), 6, name="intensity")) is None
    empty = labels_of(cloud(np.zeros((0, 2)), 6))
    assert empty is not None and empty.shape == (0,)


@pytest.mark.parametrize(
    "field, reason",
    [
        ({"datatype": 8}, "field label is not a whole number"),
        ({"count": 3}, "field label is not a whole number"),
        ({"offset": 9}, "field label outside the point"),
    ],
)
def test_labels_that_cannot_be_read(field: dict, reason: str) -> None:
    with pytest.raises(BadCloud) as caught:
        labels_of(cloud(np.zeros((1, 2)), 6, **field))
    assert caught.value.reason == reason


def test_data_that_is_too_short() -> None:
    message = cloud(np.zeros((2, 2)), 6)
    message.data = message.data[:-12]
    with pytest.raises(BadCloud, match="data too short"):
        labels_of(message)
