from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fourd_perception.looking.transforms import TransformBuffer
from fourd_perception.messages.transforms import BadTransform, put_message
from fourd_perception.recordings import camera_messages as camera
from fourd_perception.stream.frame import SECOND


def test_what_a_camera_says_of_itself_is_found_again() -> None:
    """z of the optical frame is x of the body, whose x looks along the room's y at (1, 2, 3)."""
    viewpoint = np.array([[1.0, 0, 0, 1], [0, 0, 1, 2], [0, -1, 0, 3]])
    buffer = TransformBuffer()
    put_message(camera.static_transforms(5 * SECOND, viewpoint), buffer, static=True)
    to_body = buffer.lookup(camera.BODY_FRAME, camera.OPTICAL_FRAME, 0)
    assert np.allclose(to_body.rotation @ (0, 0, 1), (1, 0, 0))
    to_room = buffer.lookup(camera.ROOM_FRAME, camera.OPTICAL_FRAME, 0)
    assert np.allclose(to_room.rotation, viewpoint[:, :3])
    assert np.allclose(to_room.translation, (1, 2, 3))


def test_a_bad_transform_is_said_and_the_others_are_taken() -> None:
    message = camera.static_transforms(0, np.eye(3, 4))
    message.transforms[0].transform.rotation.w = float("nan")
    buffer = TransformBuffer()
    with pytest.raises(BadTransform, match="from camera_optical_frame to camera_link: expected"):
        put_message(message, buffer, static=True)
    buffer.lookup(camera.ROOM_FRAME, camera.BODY_FRAME, 0)


@pytest.mark.parametrize(
    "message", [SimpleNamespace(), SimpleNamespace(transforms=[SimpleNamespace(transform=1)])]
)
def test_what_is_no_tf_message_is_refused(message) -> None:
    with pytest.raises(BadTransform):
        put_message(message, TransformBuffer(), static=True)
