"""Which of the studio's seeds are for what, so that what is shown is never what was trained on.

A seed is a performer, a room and a camera. Importing this needs no MuJoCo.
"""

from __future__ import annotations

TRAINING = 0
"""Models are trained on seeds from here on."""

TEST = 1_000_000
"""Models are evaluated on seeds from here on; no training uses them."""

DEMO = 2_000_000
"""Seeds from here on are used by no training and no evaluation."""

SHIPPED_MODEL = range(TRAINING, TRAINING + 96)
"""What `models/studio.safetensors` was trained on."""


def parts(training: int, test: int) -> list[tuple[int, str]]:
    """(seed, "train" or "test") of so many recordings for training and for the test."""
    return [(TRAINING + number, "train") for number in range(training)] + [
        (TEST + number, "test") for number in range(test)
    ]
