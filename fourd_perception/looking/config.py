"""Where a robot is to look: its own parameters, for a model that knows people cut out alone."""

from __future__ import annotations

from dataclasses import dataclass

from fourd_perception.parameters import param

_NO_BOX = (0.0,) * 6


@dataclass(frozen=True)
class LookConfig:
    """Which points of a frame the models are shown. By its defaults: all of them."""

    min_range: float = param(
        0.0, "points nearer to the cloud's origin than this are left out", unit="m",
        at_least=0.0, at_most=1e3,
    )  # fmt: skip
    max_range: float = param(
        0.0, "points farther from the cloud's origin than this are left out; 0: none is too far",
        unit="m", at_least=0.0, at_most=1e3,
    )  # fmt: skip
    crop_box: tuple[float, ...] = param(
        _NO_BOX, "x y z of the smallest, then of the largest corner of the box outside of which "
        "points are left out; all 0: no box", unit="m",
    )  # fmt: skip
    crop_frame: str = param(
        "", "the tf frame that crop_box is in, at each cloud's stamp; empty: the cloud's own"
    )
    transform_timeout: float = param(
        0.2, "longest wait, in stamps of clouds, for a cloud's transform to crop_frame; then that "
        "cloud is left out", unit="s", at_least=0.0, at_most=10.0,
    )  # fmt: skip
    background_seconds: float = param(
        0.0, "how long the still background is learnt, before the first answer, to be left out "
        "afterwards; 0: it stays", unit="s", at_least=0.0, at_most=600.0,
    )  # fmt: skip
    background_method: str = param(
        "auto", "pixels: the range of each pixel of an organised cloud; voxels: cubes of space; "
        "auto: pixels where the cloud is organised", choices=("auto", "pixels", "voxels"),
    )  # fmt: skip
    background_margin: float = param(
        0.05, "what is nearer than the background by more than this is none of it", unit="m",
        at_least=0.001, at_most=1.0,
    )  # fmt: skip
    background_noise: float = param(
        0.005, "the margin grows by this times the range squared, as a depth camera's noise does",
        unit="1/m", at_least=0.0, at_most=1.0,
    )  # fmt: skip
    background_absorb: float = param(
        0.0, "what is new and stands still for so long becomes background; 0: never", unit="s",
        at_least=0.0, at_most=86400.0,
    )  # fmt: skip
    background_voxel: float = param(
        0.1, "edge of the cubes of the method voxels", unit="m", at_least=0.01, at_most=1.0
    )
    person: str = param(
        "all", "whom to show to the models: all points that are left; or one person, and the same "
        "one for as long as they are seen: the nearest, or the largest",
        choices=("all", "nearest", "largest"),
    )  # fmt: skip
    people: int = param(
        1, "people who are followed at most, each with windows and answers of their own (the "
        "recognizer); more than 1 needs `person` to say whose answer is ~/action",
        at_least=1, at_most=8,
    )  # fmt: skip
    person_gap: float = param(
        0.1, "points that are nearer to each other than this belong to one body", unit="m",
        at_least=0.01, at_most=1.0,
    )  # fmt: skip
    person_smallest: float = param(
        0.7, "a body that is smaller than this in all directions is no person", unit="m",
        at_least=0.0, at_most=10.0,
    )  # fmt: skip
    person_largest: float = param(
        2.6, "a body that is larger than this in any direction is no person", unit="m",
        at_least=0.1, at_most=100.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if len(self.crop_box) != 6:
            raise ValueError(f"crop_box: expected 6 numbers, got {len(self.crop_box)}")
        low, high = self.crop_box[:3], self.crop_box[3:]
        if self.has_box and not all(one < other for one, other in zip(low, high)):
            raise ValueError(
                f"crop_box: the smallest corner {list(low)} is not below the largest {list(high)}"
            )
        if self.crop_frame and not self.has_box:
            raise ValueError(f"crop_frame: '{self.crop_frame}' needs a crop_box to be in it")
        if self.max_range and self.max_range <= self.min_range:
            raise ValueError(
                f"max_range: expected more than min_range, {self.min_range:g} m; "
                f"got {self.max_range:g} m"
            )
        if self.people > 1 and self.person == "all":
            raise ValueError(
                f"people: to follow {self.people} needs bodies to be told apart: set person to "
                "nearest or largest, or people to 1"
            )
        if self.person_smallest >= self.person_largest:
            raise ValueError(
                f"person_smallest: expected less than person_largest, {self.person_largest:g} m; "
                f"got {self.person_smallest:g} m"
            )

    @property
    def has_box(self) -> bool:
        """Whether there is a crop_box."""
        return tuple(self.crop_box) != _NO_BOX

    @property
    def looks(self) -> bool:
        """Whether any point may be left out."""
        return bool(
            self.min_range or self.max_range or self.has_box or self.background_seconds
        ) or self.person != "all"  # fmt: skip
