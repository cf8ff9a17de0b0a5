"""Layers that look at a few frames around each anchor frame, and no further."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourd_perception.models.level import Level

PADDING_MODES = ("replicate", "zeros")
"""At a clip's ends: its first and last frame again, or frames of zeros (PSTNet's code)."""


@dataclass(frozen=True)
class TemporalReach:
    """Which frames of a clip an anchor frame's output depends on."""

    kernel: int = 1
    stride: int = 1
    padding: tuple[int, ...] = (0, 0)
    padding_mode: str = "replicate"

    def anchor_frames(self, frames: int) -> int:
        """The number of anchor frames in a clip of `frames`; 0 if the clip is too short."""
        return max(0, (frames + sum(self.padding) - self.kernel) // self.stride + 1)

    def frames(self, length: int) -> Tensor:
        """(L', kernel) int64: for each anchor frame of a clip of `length`, the frames it looks at.

        The middle one is the anchor frame itself. -1 is a frame of zeros.
        """
        first = torch.arange(self.anchor_frames(length)) * self.stride - self.padding[0]
        frames = first[:, None] + torch.arange(self.kernel)
        if self.padding_mode == "replicate":
            return frames.clamp(0, length - 1)
        return torch.where((frames < 0) | (frames >= length), -1, frames)


class FrameLayer(nn.Module):
    """A layer whose output in an anchor frame depends on the frames in its reach alone.

    That is what makes a stream cheap: an anchor frame's output is the same in every window that
    holds those frames. By itself this class is a layer that looks at each frame alone.
    """

    reach = TemporalReach()

    def output_points(self, points: int) -> int:
        """The number of points in a frame of the output, for `points` in one of the input."""
        return points

    def padded(self, level: Level, frames: Tensor) -> tuple[Level, Tensor]:
        """level and frames as `forward` has them, -1 made a frame of zeros at the level's end."""
        if self.reach.padding_mode != "zeros":
            return level, frames
        if frames.device.type == "cpu" and not (frames < 0).any():  # a GPU would be waited for
            return level, frames
        return level.with_frame_of_zeros(), torch.where(frames < 0, len(level), frames)

    def forward(self, level: Level, frames: Tensor) -> Level:
        """level: F frames. frames: (G, kernel) int64 in 0..F-1, as `TemporalReach.frames` has them.

        -1, a frame of zeros, is given to layers only whose padding mode says so.
        Returns a level of G frames.
        """
        raise NotImplementedError
