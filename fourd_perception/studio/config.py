"""What the studio can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from fourd_perception.parameters import param
from fourd_perception.recordings.recording import Intrinsics
from fourd_perception.studio.camera import SensorConfig, pinhole


@dataclass(frozen=True)
class StudioConfig:
    """What is filmed, from where, with which camera."""

    width: int = param(320, "columns of the image", unit="px", at_least=8, at_most=4096)
    height: int = param(240, "rows of the image", unit="px", at_least=8, at_most=4096)
    field_of_view: float = param(
        58.6, "from the left to the right border", unit="degrees", at_least=10, at_most=150
    )
    rate: float = param(30.0, "frames a second", unit="Hz", at_least=0.1, at_most=1000)
    room: bool = param(True, "a furnished room; else the person alone, and no return elsewhere")
    empty_seconds: float = param(
        0.0, "the room is empty for so long before the person is there", unit="s", at_least=0.0
    )
    passer_by: bool = param(False, "somebody else walks to and fro behind the person")
    companions: int = param(
        0, "others who do actions of their own beside the person and behind", at_least=0, at_most=2
    )
    noise: bool = param(True, "a real sensor's faults; else what is there is measured")
    sensor: SensorConfig = field(default_factory=SensorConfig)
    seconds_least: float = param(3.0, "shortest action", unit="s", at_least=0.5)
    seconds_most: float = param(5.0, "longest action", unit="s", at_least=0.5)
    facing: float = param(
        60.0, "the person looks past the camera by up to this, to either side", unit="degrees",
        at_least=0, at_most=180,
    )  # fmt: skip
    camera_lowest: float = param(0.6, "lowest camera", unit="m", at_least=0.2, at_most=2.5)
    camera_highest: float = param(1.9, "highest camera", unit="m", at_least=0.2, at_most=2.5)
    camera_nearest: float = param(
        2.4, "nearest camera; it stands back as far as the person needs", unit="m", at_least=1.5
    )
    camera_farthest: float = param(3.8, "farthest camera, likewise", unit="m", at_least=1.5)

    def __post_init__(self) -> None:
        for least, most in (
            ("seconds_least", "seconds_most"), ("camera_lowest", "camera_highest"),
            ("camera_nearest", "camera_farthest"),
        ):  # fmt: skip
            if getattr(self, least) > getattr(self, most):
                raise ValueError(f"{least} is above {most}")

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera; colour and depth share it."""
        return pinhole(self.width, self.height, self.field_of_view)
