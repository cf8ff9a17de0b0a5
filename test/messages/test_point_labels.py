from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fourd_perception.messages.clouds import BadCloud, to_fields
from fourd_perception.messages.point_labels import labels_of


def cloud(labels=None, shape=(2, 3)):
    extra = {} if labels is None else {"label": np.asarray(labels, np.uint32).reshape(shape)}
    return SimpleNamespace(**vars(to_fields(np.zeros((*shape, 3), np.float32), None, extra)))


def test_labels_come_in_the_order_of_the_points():
    assert labels_of(cloud([5, 0, 65535, 1, 2, 3])).tolist() == [5, 0, 65535, 1, 2, 3]
    assert labels_of(cloud(None)) is None


def test_rows_that_are_padded_and_bytes_that_are_swapped():
    message = cloud([1, 2, 3, 4, 5, 6])
    table = np.frombuffer(message.data, ">u4").reshape(2, -1).byteswap()
    padded = np.hstack([table, np.full((2, 4), 0xFFFFFFFF, np.uint32)]).astype(">u4")
    message.data, message.row_step, message.is_bigendian = padded.tobytes(), padded[0].nbytes, True
    assert labels_of(message).tolist() == [1, 2, 3, 4, 5, 6]


def test_a_label_that_is_no_whole_number_is_refused():
    message = cloud([1] * 6)
    message.fields[-1].__dict__["datatype"] = 7
    with pytest.raises(BadCloud, match="not a whole number"):
        labels_of(message)
