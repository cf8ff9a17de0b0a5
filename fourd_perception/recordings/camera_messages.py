"""What the driver of a depth camera would publish for a recorded frame, as rosbags messages."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from fourd_perception.messages import clouds
from fourd_perception.recordings.recording import Intrinsics, RecordedFrame
from fourd_perception.stream.frame import SECOND

POINTS = "/camera/points"
DEPTH = "/camera/depth/image_raw"
DEPTH_INFO = "/camera/depth/camera_info"
COLOR = "/camera/color/image_raw"
COLOR_INFO = "/camera/color/camera_info"
TF = "/tf"
TF_STATIC = "/tf_static"
"""Topics, named as the drivers of common cameras name them."""

MESSAGE_TYPES = {
    POINTS: "sensor_msgs/msg/PointCloud2",
    DEPTH: "sensor_msgs/msg/Image",
    DEPTH_INFO: "sensor_msgs/msg/CameraInfo",
    COLOR: "sensor_msgs/msg/Image",
    COLOR_INFO: "sensor_msgs/msg/CameraInfo",
    TF_STATIC: "tf2_msgs/msg/TFMessage",
}

OPTICAL_FRAME = "camera_optical_frame"
BODY_FRAME = "camera_link"
ROOM_FRAME = "room"
"""Depth and colour are registered: one optical frame for both."""

TYPES = get_typestore(Stores.ROS2_JAZZY)

_MILLIMETRES = 1000.0
_OPTICAL_IN_BODY = (-0.5, 0.5, -0.5, 0.5)
"""Quaternion x y z w: z forward, x right, y down in a body of x forward, y left, z up (REP-103)."""


def make(kind: str, **fields: Any) -> Any:
    """A message of the rosbags type store, such as make("std_msgs/msg/String", data="")."""
    return TYPES.types[kind](**fields)


def header(stamp: int, frame_id: str = OPTICAL_FRAME) -> Any:
    """A std_msgs/Header; stamp in nanoseconds."""
    sec, nanosec = divmod(stamp, SECOND)
    time = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)


def points(
    frame: RecordedFrame,
    camera: Intrinsics,
    stamp: int,
    *,
    whole_room: bool,
    with_labels: bool = False,
) -> Any:
    """A PointCloud2, with rgb where the frame has colour, and labels where it has and they are
    asked for.

    whole_room: every pixel, organised, NaN where there is no return; else the foreground alone,
    unorganised, as masked data sets keep it.
    """
    cloud, rgb = camera.back_project(frame.depth), frame.colour
    labels = frame.labels if with_labels else None
    if not whole_room:
        keep = frame.foreground & (frame.depth > 0)
        cloud = cloud[keep]
        rgb = rgb[keep] if rgb is not None else None
        labels = labels[keep] if labels is not None else None
    extra = {} if labels is None else {"label": labels.astype(np.uint32)}
    return cloud_message(clouds.to_fields(cloud, rgb, extra), header(stamp))


def cloud_message(layout: clouds.CloudLayout, head: Any) -> Any:
    """A PointCloud2 of this layout and std_msgs/Header."""
    fields = [
        make("sensor_msgs/msg/PointField", **dataclasses.asdict(field)) for field in layout.fields
    ]
    return make(
        MESSAGE_TYPES[POINTS],
        header=head,
        height=layout.height,
        width=layout.width,
        fields=fields,
        is_bigendian=layout.is_bigendian,
        point_step=layout.point_step,
        row_step=layout.row_step,
        data=np.frombuffer(layout.data, np.uint8),
        is_dense=layout.is_dense,
    )


def depth_image(depth: NDArray[np.float32], stamp: int) -> Any:
    """depth: (H, W) float32, metres. A 16UC1 Image in millimetres, 0 where there is no return."""
    millimetres = np.clip(np.rint(depth * _MILLIMETRES), 0, np.iinfo(np.uint16).max)
    return _image(millimetres.astype("<u2"), "16UC1", stamp)


def color_image(colour: NDArray[np.uint8], stamp: int) -> Any:
    """colour: (H, W, 3) uint8 RGB. An rgb8 Image."""
    return _image(colour, "rgb8", stamp)


def camera_info(camera: Intrinsics, stamp: int) -> Any:
    """The CameraInfo of an ideal pinhole."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    whole_image = make(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
    )  # fmt: skip
    return make(
        MESSAGE_TYPES[DEPTH_INFO],
        header=header(stamp),
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array(k),
        r=np.eye(3).ravel(),
        p=np.array(p),
        binning_x=0,
        binning_y=0,
        roi=whole_image,
    )


def static_transforms(stamp: int, viewpoint: NDArray[np.float64] | None = None) -> Any:
    """The TFMessage that places the optical frame in the camera's body, and, where the viewpoint
    is known (as in Recording), the body in the room."""
    placed = [_placed(stamp, BODY_FRAME, OPTICAL_FRAME, np.zeros(3), np.array(_OPTICAL_IN_BODY))]
    if viewpoint is not None:
        turn = Rotation.from_matrix(viewpoint[:, :3]) * Rotation.from_quat(_OPTICAL_IN_BODY).inv()
        placed.append(_placed(stamp, ROOM_FRAME, BODY_FRAME, viewpoint[:, 3], turn.as_quat()))
    return make(MESSAGE_TYPES[TF_STATIC], transforms=placed)


def _placed(
    stamp: int, parent: str, child: str, place: NDArray[np.float64], turn: NDArray[np.float64]
) -> Any:
    x, y, z = place.tolist()
    qx, qy, qz, qw = turn.tolist()
    transform = make(
        "geometry_msgs/msg/Transform",
        translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
        rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
    )
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp, parent),
        child_frame_id=child,
        transform=transform,
    )


def _image(pixels: NDArray[Any], encoding: str, stamp: int) -> Any:
    height, width = pixels.shape[:2]
    return make(
        MESSAGE_TYPES[DEPTH],
        header=header(stamp),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=pixels.strides[0] if pixels.flags.c_contiguous else pixels[0].nbytes,
        data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
    )
