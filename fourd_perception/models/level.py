"""What the layers of an encoder pass on: frames of points with their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Level:
    """F frames at one depth of an encoder. Frames of a batch of clips lie one after another.

    points: (F, N, 3) float32, model units.
    features: (F, N, C) float32, or None where a point has nothing but its place.
    order: (F, M) int64, the first M points in the order of farthest point sampling; None where the
    points lie in that order already, so that any prefix of them is a sample.
    primitives: (F, N) int64, the primitive that a point belongs to, -1 for none (PPTr); or None.
    values: (F, N, C') float32, what the next layer makes of each point whichever anchor it is a
    neighbour of (PSTConv); or None where that layer has not been told to do so first.
    below: the same frames at the depth before, kept for the way back to all points; or None.
    """

    points: Tensor
    features: Tensor | None = None
    order: Tensor | None = None
    primitives: Tensor | None = None
    below: Level | None = None
    values: Tensor | None = None

    def __len__(self) -> int:
        return self.points.shape[0]

    def __getitem__(self, frames: slice) -> Level:
        """Some of the frames, not copied."""
        return self._each(lambda tensor: tensor[frames])

    def at(self, frames: Tensor) -> Level:
        """Some of the frames, (G,) int64; on a CPU not copied where they are all of them, in order.

        A GPU would have to be waited for, to see that.
        """
        if frames.device.type == "cpu" and torch.equal(frames, torch.arange(len(self))):
            return self
        return self._each(lambda tensor: tensor[frames])

    @staticmethod
    def stack(levels: Sequence[Level]) -> Level:
        """The frames of several levels of one depth, one after another."""
        if len(levels) == 1:
            return levels[0]
        below = [level.below for level in levels if level.below is not None]
        return Level(
            torch.cat([level.points for level in levels]),
            _cat([level.features for level in levels]),
            _cat([level.order for level in levels]),
            _cat([level.primitives for level in levels]),
            Level.stack(below) if below else None,
            _cat([level.values for level in levels]),
        )

    def with_frame_of_zeros(self) -> Level:
        """One more frame, last, in which everything is zero: the padding of PSTNet's code."""
        return self._each(lambda tensor: pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, 1)))

    def anchors(self, frames: Tensor, count: int) -> Level:
        """The first `count` points, by farthest point sampling, of each of these frames.

        frames: (G,) int64. Returns a level of G frames of `count` points in sampling order.
        """
        if self.order is None:
            alone = replace(self, below=None, values=None)
            return alone._each(lambda tensor: tensor[:, :count].index_select(0, frames))
        chosen = self.order[frames, :count]
        alone = replace(self, order=None, below=None, values=None)
        return alone._each(lambda tensor: tensor[frames[:, None], chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Level:
        return Level(
            change(self.points),
            None if self.features is None else change(self.features),
            None if self.order is None else change(self.order),
            None if self.primitives is None else change(self.primitives),
            None if self.below is None else self.below._each(change),
            None if self.values is None else change(self.values),
        )


def _cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Of all of them, or none: levels of one depth have the same parts."""
    there = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(there) if there else None
