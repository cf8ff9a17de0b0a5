"""NTU RGB+D 60 and 120: what the name of a sample says, the actions, and the four protocols.

Shahroudy, Liu, Ng, Wang: "NTU RGB+D: A large scale dataset for 3D human activity analysis", CVPR
2016; Liu et al.: "NTU RGB+D 120", TPAMI 2020.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fourd_perception.errors import InputError

ACTIONS = (
    "drink water", "eat meal/snack", "brushing teeth", "brushing hair", "drop", "pickup", "throw",
    "sitting down", "standing up (from sitting position)", "clapping", "reading", "writing",
    "tear up paper", "wear jacket", "take off jacket", "wear a shoe", "take off a shoe",
    "wear on glasses", "take off glasses", "put on a hat/cap", "take off a hat/cap", "cheer up",
    "hand waving", "kicking something", "reach into pocket", "hopping (one foot jumping)",
    "jump up", "make a phone call/answer phone", "playing with phone/tablet",
    "typing on a keyboard", "pointing to something with finger", "taking a selfie",
    "check time (from watch)", "rub two hands together", "nod head/bow", "shake head", "wipe face",
    "salute", "put the palms together", "cross hands in front (say stop)", "sneeze/cough",
    "staggering", "falling", "touch head (headache)", "touch chest (stomachache/heart pain)",
    "touch back (backache)", "touch neck (neckache)", "nausea or vomiting condition",
    "use a fan (with hand or paper)/feeling warm", "punching/slapping other person",
    "kicking other person", "pushing other person", "pat on back of other person",
    "point finger at the other person", "hugging other person", "giving something to other person",
    "touch other person's pocket", "handshaking", "walking towards each other",
    "walking apart from each other", "put on headphone", "take off headphone",
    "shoot at the basket", "bounce ball", "tennis bat swing", "juggling table tennis balls",
    "hush (quite)", "flick hair", "thumb up", "thumb down", "make ok sign", "make victory sign",
    "staple book", "counting money", "cutting nails", "cutting paper (using scissors)",
    "snapping fingers", "open bottle", "sniff (smell)", "squat down", "toss a coin", "fold paper",
    "ball up paper", "play magic cube", "apply cream on face", "apply cream on hand back",
    "put on bag", "take off bag", "put something into a bag", "take something out of a bag",
    "open a box", "move heavy objects", "shake fist", "throw up cap/hat", "hands up (both hands)",
    "cross arms", "arm circles", "arm swings", "running on the spot", "butt kicks (kick backward)",
    "cross toe touch", "side kick", "yawn", "stretch oneself", "blow nose",
    "hit other person with something", "wield knife towards other person",
    "knock over other person (hit with body)", "grab other person's stuff",
    "shoot at other person with a gun", "step on foot", "high-five", "cheers and drink",
    "carry something with other person", "take a photo of other person", "follow other person",
    "whisper in other person's ear", "exchange things with other person",
    "support somebody with hand", "finger-guessing game (playing rock-paper-scissors)",
)  # fmt: skip
"""Action 1 to 120, as the owners write them; the first 60 are NTU RGB+D 60's."""

SAMPLE = r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})"
"""What the name of every sample is."""

_NUMBERS = {"setup": 32, "camera": 3, "performer": 106, "replication": 2, "action": len(ACTIONS)}
_SETUPS_OF_60 = 17

_TRAIN_PERFORMERS_60 = frozenset(
    (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
)
_TRAIN_PERFORMERS_120 = _TRAIN_PERFORMERS_60 | {
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89,
    91, 92, 93, 94, 95, 97, 98, 100, 103,
}  # fmt: skip
_TRAIN_CAMERAS = (2, 3)


@dataclass(frozen=True, order=True)
class SampleId:
    """One sample, as the names count: from 1."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int

    @property
    def release(self) -> int:
        """60, or 120 for what the second release added."""
        return 60 if self.action <= 60 else 120

    @property
    def group(self) -> str:
        """Who performs it (first): "P001" to "P106"."""
        return f"P{self.performer:03d}"

    def __str__(self) -> str:
        return (
            f"S{self.setup:03d}C{self.camera:03d}{self.group}"
            f"R{self.replication:03d}A{self.action:03d}"
        )


@dataclass(frozen=True)
class Protocol:
    """One of the owners' ways to split. expected: how many samples they have."""

    release: int
    trains: Callable[[SampleId], bool]
    expected: Mapping[str, int]

    @property
    def classes(self) -> tuple[str, ...]:
        """The actions of its release."""
        return ACTIONS[: self.release]

    def part(self, sample: SampleId) -> str:
        """Train or test; "" for a sample that is not of its release."""
        if sample.release > self.release:
            return ""
        return "train" if self.trains(sample) else "test"


PROTOCOLS = {
    "ntu60_cross_subject": Protocol(
        60, lambda one: one.performer in _TRAIN_PERFORMERS_60, {"train": 40320, "test": 16560}
    ),
    "ntu60_cross_view": Protocol(
        60, lambda one: one.camera in _TRAIN_CAMERAS, {"train": 37920, "test": 18960}
    ),
    "ntu120_cross_subject": Protocol(
        120, lambda one: one.performer in _TRAIN_PERFORMERS_120, {"train": 63360, "test": 51120}
    ),
    "ntu120_cross_setup": Protocol(
        120, lambda one: one.setup % 2 == 0, {"train": 54720, "test": 59760}
    ),
}
"""By name; the first is the usual one."""


def parse(name: str) -> SampleId:
    """The sample of a name such as S001C002P003R002A013. Raises InputError on any other."""
    match = re.fullmatch(SAMPLE, name)
    if not match:
        raise InputError(f"{name}: not a sample; expected a name such as S001C002P003R002A013")
    numbers = [int(number) for number in match.groups()]
    for (what, highest), number in zip(_NUMBERS.items(), numbers):
        if not 1 <= number <= highest:
            raise InputError(f"{name}: {what}: expected 1 to {highest}, got {number}")
    sample = SampleId(*numbers)
    if (sample.setup <= _SETUPS_OF_60) != (sample.release == 60):
        raise InputError(
            f"{name}: no such sample; setups 1 to {_SETUPS_OF_60} have the actions 1 to 60, "
            "the others the rest"
        )
    return sample


def protocol(name: str) -> Protocol:
    """By its name; '' is the usual one. Raises InputError on an unknown one."""
    known = list(PROTOCOLS)
    if name and name not in PROTOCOLS:
        raise InputError(f"data.protocol: expected one of {', '.join(known)}; got '{name}'")
    return PROTOCOLS[name or known[0]]
