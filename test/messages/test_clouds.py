from __future__ import annotations

import array
import math
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourd_perception.messages.clouds import BadCloud, Field, from_message, to_fields

SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 8: 8}
CONTAINERS = (
    bytes,
    bytearray,
    memoryview,
    lambda data: array.array("B", data),
    lambda data: np.frombuffer(data, np.uint8),
)
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, 1e-40, 3e38)


def read_point_by_point(message, stride: int) -> list[list[float]]:
    """The oracle: one struct.unpack_from a number."""
    order = ">" if message.is_bigendian else "<"
    fields = {field.name: field for field in message.fields}
    points = []
    for row in range(message.height):
        for column in range(message.width):
            start = row * stride + column * message.point_step
            point = []
            for name in "xyz":
                code = order + {7: "f", 8: "d"}[fields[name].datatype]
                (value,) = struct.unpack_from(code, message.data, start + fields[name].offset)
                with np.errstate(over="ignore"):
                    narrow = float(np.float32(value))
                point.append(math.nan if math.isinf(narrow) else narrow)
            points.append(point)
    return points


@st.composite
def clouds(draw):
    """A valid message in any layout, and the true distance between its rows."""
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    is_bigendian = draw(st.booleans())
    kinds = {name: draw(st.sampled_from((7, 8))) for name in "xyz"}
    kinds |= draw(st.dictionaries(st.sampled_from(("rgb", "i", "ring", "")), st.integers(1, 8)))
    fields, end = [], 0
    for name in draw(st.permutations(sorted(kinds))):
        offset = end + draw(st.integers(0, 5))
        fields.append(Field(name, offset, kinds[name]))
        end = offset + SIZES[kinds[name]]
    point_step = end + draw(st.integers(0, 5))
    row = width * point_step
    padding = draw(st.sampled_from((0, 0, 1, 7, 64)))
    stride = row + padding
    size = height * stride - draw(st.sampled_from((0, padding)))
    size += draw(st.sampled_from((0, 0, 3)))
    data = bytearray(np.random.default_rng(draw(st.integers(0, 99))).bytes(size))
    for name in "xyz":
        field = next(field for field in fields if field.name == name)
        value = draw(st.sampled_from(SPECIAL))
        code = (">" if is_bigendian else "<") + {7: "f", 8: "d"}[field.datatype]
        struct.pack_into(code, data, field.offset, value)
    claims = [stride]
    if padding == 0:
        claims += [0] + [height * row, size] * (height > 1)
    message = SimpleNamespace(
        height=height,
        width=width,
        fields=fields,
        is_bigendian=is_bigendian,
        point_step=point_step,
        row_step=draw(st.sampled_from(claims)),
        data=draw(st.sampled_from(CONTAINERS))(bytes(data)),
        is_dense=draw(st.booleans()),
    )
    return message, stride


def small(**changes) -> SimpleNamespace:
    """A valid cloud of 2 x 3 points, x y z and rgb, with changes."""
    layout = to_fields(np.arange(18, dtype=np.float32).reshape(2, 3, 3), np.zeros((2, 3, 3), "u1"))
    return SimpleNamespace(**(vars(layout) | changes))


@settings(deadline=None)
@given(clouds())
def test_any_layout_reads_as_point_by_point(made):
    message, stride = made
    before = bytes(message.data)
    points = from_message(message)
    assert points.dtype == np.float32 and points.flags.c_contiguous
    assert points.shape == (message.height * message.width, 3)
    np.testing.assert_array_equal(points, np.float32(read_point_by_point(message, stride)))
    assert not np.isinf(points).any()
    assert bytes(message.data) == before
    np.testing.assert_array_equal(from_message(message), points)


@settings(deadline=None)
@given(clouds(), st.data())
def test_data_cut_short_is_refused(made, data):
    message, stride = made
    needed = (message.height - 1) * stride + message.width * message.point_step
    # A row_step of the size of the data says nothing, so the rows may be packed.
    kept = data.draw(st.integers(0, needed - 1).filter(lambda size: size != message.row_step))
    message.data = bytes(message.data)[:kept]
    with pytest.raises(BadCloud) as caught:
        from_message(message)
    assert caught.value.reason == "data too short"
    assert f"got {kept}" in str(caught.value)


def test_the_order_of_an_organised_cloud_is_row_by_row():
    points = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    np.testing.assert_array_equal(from_message(small()), points.reshape(-1, 3))


def test_the_result_outlives_the_message():
    data = bytearray(small().data)
    points = from_message(small(data=data))
    data[:] = bytes(len(data))
    assert points[5, 2] == 17


def test_padded_rows_are_stepped_over_where_a_reader_of_packed_rows_is_wrong():
    rows = [small().data[start : start + 48] for start in (0, 48)]
    padded = small(row_step=50, data=rows[0] + b"\xff\xff" + rows[1] + b"\xff\xff")
    np.testing.assert_array_equal(from_message(padded), from_message(small()))


def test_a_row_step_of_the_whole_size_is_believed_where_the_data_is_that_large():
    rows = [small().data[start : start + 48] for start in (0, 48)]
    padded = small(row_step=96, data=rows[0] + bytes(48) + rows[1])
    np.testing.assert_array_equal(from_message(padded), from_message(small()))


@pytest.mark.parametrize("row_step", [0, 48, 96, 101])
def test_a_row_step_that_says_nothing_means_packed_rows(row_step):
    lying = small(row_step=row_step, data=small().data + b"extra")  # 101 bytes
    np.testing.assert_array_equal(from_message(lying), from_message(small()))


def test_doubles_beyond_float32_are_no_return_and_no_warning():
    fields = [Field(axis, 8 * index, 8) for index, axis in enumerate("xyz")]
    data = struct.pack("<6d", 1e300, -1e300, 0.1, math.inf, 1, 2)
    message = small(height=1, width=2, fields=fields, point_step=24, row_step=48, data=data)
    with np.errstate(all="raise"):
        points = from_message(message)
    np.testing.assert_array_equal(points, np.float32([[np.nan, np.nan, 0.1], [np.nan, 1, 2]]))


@pytest.mark.parametrize("sizes", [{"height": 0}, {"width": 0}, {"height": 0, "width": 0}])
def test_an_empty_cloud_gives_no_points_whatever_else_it_says(sizes):
    for rest in ({}, {"fields": [], "data": b"", "point_step": 0, "row_step": 0}):
        points = from_message(small(**sizes, **rest))
        assert points.shape == (0, 3) and points.dtype == np.float32


def field(axis: str, **changes) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(**(vars(one) | (changes if one.name == axis else {})))
        for one in small().fields
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fields": []}, "no field x"),
        ({"fields": field("y", name="Y")}, "no field y"),
        ({"fields": field("rgb", name="z")}, "field z twice"),
        ({"fields": field("x", count=3)}, "field x is not one number"),
        ({"fields": field("x", count=0)}, "field x is not one number"),
        ({"fields": field("z", datatype=6)}, "field z is not a float"),
        ({"fields": field("z", datatype=99)}, "field z is not a float"),
        ({"fields": field("z", offset=13)}, "field z outside the point"),
        ({"fields": field("z", offset=2**32 - 1)}, "field z outside the point"),
        ({"fields": None}, "bad fields"),
        ({"fields": ["x", "y", "z"]}, "bad fields"),
        ({"point_step": 0}, "field x outside the point"),
        ({"point_step": 11, "row_step": 33}, "field z outside the point"),
        ({"row_step": 47}, "row_step too small"),
        ({"row_step": 49}, "data too short"),
        ({"row_step": 2**32 - 1}, "data too short"),
        ({"width": 2**32 - 1, "row_step": 0}, "data too short"),
        ({"width": 2**16, "height": 2**16, "point_step": 16, "row_step": 0}, "data too short"),
        ({"width": 2**62, "height": 4, "row_step": 0}, "data too short"),
        ({"width": -1}, "bad width"),
        ({"height": 2.0}, "bad height"),
        ({"data": b""}, "data too short"),
        ({"data": None}, "data is not bytes"),
        ({"data": [0] * 96}, "data is not bytes"),
        ({"data": np.zeros((96, 2), np.uint8)[:, 0]}, "data is not bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason_to_count_by(changes, reason):
    with pytest.raises(BadCloud) as caught:
        from_message(small(**changes))
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"PointCloud2: {reason}: ")
    assert "\n" not in str(caught.value)


def test_something_else_is_not_a_cloud():
    with pytest.raises(BadCloud, match="not a PointCloud2"):
        from_message("a text")


WILD = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from((0, 1, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64)),
    st.none(),
    st.floats(),
    st.sampled_from(("", "x", b"", bytes(95), bytes(200))),
)
ATTRIBUTES = ("height", "width", "point_step", "row_step", "fields", "data", "is_bigendian")


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(ATTRIBUTES), WILD, max_size=3),
    st.dictionaries(st.sampled_from(("name", "offset", "datatype", "count")), WILD, max_size=2),
    st.sampled_from("xyz"),
)
def test_no_header_does_more_than_be_refused(changes, field_changes, axis):
    message = small(**({"fields": field(axis, **field_changes)} | changes))
    tracemalloc.start()
    try:
        points = from_message(message)
        assert points.size == 0 or points.nbytes <= 3 * len(message.data)
    except BadCloud:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


class TestWriting:
    def test_the_layout_is_packed(self):
        points = np.float32([[1, 2, 3], [4, np.nan, 6]])
        label = np.uint32([7, 65535])
        layout = to_fields(points, np.uint8([[1, 2, 3], [255, 0, 9]]), {"label": label})
        assert (layout.height, layout.width) == (1, 2)
        assert (layout.point_step, layout.row_step, layout.is_dense) == (20, 40, False)
        assert [(one.name, one.offset, one.datatype, one.count) for one in layout.fields] == [
            ("x", 0, 7, 1), ("y", 4, 7, 1), ("z", 8, 7, 1), ("rgb", 12, 7, 1), ("label", 16, 6, 1),
        ]  # fmt: skip
        # rgb lies in memory as blue, green, red, 0
        assert layout.data[:20] == struct.pack("<3f", 1, 2, 3) + bytes((3, 2, 1, 0, 7, 0, 0, 0))
        assert layout.data[32:] == bytes((9, 0, 255, 0, 255, 255, 0, 0))

    def test_without_colours_a_point_is_three_floats(self):
        layout = to_fields(np.zeros((2, 3, 3), np.float32))
        assert (layout.height, layout.width, layout.point_step, layout.row_step) == (2, 3, 12, 36)
        assert layout.is_dense and len(layout.data) == 72

    @pytest.mark.parametrize("shape", [(5, 3), (4, 6, 3), (0, 3), (1, 1, 3), (3, 0, 3)])
    def test_what_is_written_is_read(self, shape):
        points = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        points[..., 0][points[..., 1] > 0] = np.nan
        score = np.ones(shape[:-1], np.float32)
        read = from_message(to_fields(points, np.zeros(shape, np.uint8), {"confidence": score}))
        np.testing.assert_array_equal(read, points.reshape(-1, 3))

    def test_what_does_not_fit_is_refused(self):
        points = np.zeros((2, 3), np.float32)
        with pytest.raises(ValueError, match="points"):
            to_fields(np.zeros((3, 2), np.float32))
        with pytest.raises(ValueError, match="rgb"):
            to_fields(points, np.zeros((2, 3), np.float32))
        with pytest.raises(ValueError, match="label"):
            to_fields(points, extra={"label": np.zeros(2, np.int64)})
        with pytest.raises(ValueError, match="label"):
            to_fields(points, extra={"label": np.zeros(3, np.uint32)})
        with pytest.raises(ValueError, match="x"):
            to_fields(points, extra={"x": np.zeros(2, np.float32)})


def ros_message(layout):
    """The layout as rclpy's own message."""
    sensor_msgs = pytest.importorskip("sensor_msgs.msg")
    fields = [sensor_msgs.PointField(**vars(one)) for one in layout.fields]
    return sensor_msgs.PointCloud2(**(vars(layout) | {"fields": fields, "data": layout.data}))


def random_points() -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(6, 8, 3)).astype(np.float32)
    points[2, 3] = np.nan
    return points


def test_messages_of_rclpy():
    points = random_points()
    message = ros_message(to_fields(points, np.zeros(points.shape, np.uint8)))
    serialization = pytest.importorskip("rclpy.serialization")
    sent = serialization.deserialize_message(
        serialization.serialize_message(message), type(message)
    )
    for one in (message, sent):
        np.testing.assert_array_equal(from_message(one), points.reshape(-1, 3))


def test_messages_of_rosbags():
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types = store.types
    points = random_points()
    layout = to_fields(points)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "camera")
    fields = [types["sensor_msgs/msg/PointField"](**vars(one)) for one in layout.fields]
    data = np.frombuffer(layout.data, np.uint8)
    name = "sensor_msgs/msg/PointCloud2"
    message = types[name](**(vars(layout) | {"header": header, "fields": fields, "data": data}))
    read = store.deserialize_cdr(store.serialize_cdr(message, name), name)
    np.testing.assert_array_equal(from_message(read), points.reshape(-1, 3))


def test_the_stock_reader_agrees_on_what_it_reads_right():
    stock = pytest.importorskip("sensor_msgs_py.point_cloud2")
    points = random_points().reshape(-1, 3)
    message = ros_message(to_fields(points))
    expected = stock.read_points_numpy(message, ["x", "y", "z"])
    np.testing.assert_array_equal(from_message(message), expected)
