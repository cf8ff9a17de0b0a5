"""CrossVideo's contrastive losses (equations 1 to 8), among all clips of a batch.

Processes that share a batch (torchrun) take their negatives from all of it: each computes the terms
of its own clips, and the mean over processes, weighed by their clips, is that of one process.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed
from torch.nn.functional import normalize

from fourd_perception.errors import InputError
from fourd_perception.models.synchronised import ranks, summed_over_ranks
from fourd_perception.parameters import param


@dataclass(frozen=True)
class CrossVideoConfig:
    """What is contrasted with what. Switching all but one off gives the ablation's rows."""

    temperature: float = param(0.07, "of the softmax over similarities (section IV-A)", at_least=0)
    frame_negatives: str = param(
        "same_frame",
        "a frame's negatives: the frames of the same index in other clips (equations 2 and 6 as "
        "printed, whose k counts clips), or all frames of all clips, its own clip's too",
        choices=("same_frame", "all_frames"),
    )
    intra: bool = param(True, "contrast the two views of the points (equation 3)")
    cross: bool = param(True, "contrast the mean of the views with the images (equation 7)")
    frame: bool = param(True, "contrast frames (equations 2 and 6)")
    video: bool = param(True, "contrast videos (equations 1 and 5)")
    symmetric: bool = param(
        False,
        "the mean of both orderings of a pair; the paper prints one, first view against second and "
        "points against images, which gives the other side no negatives of its own as anchors",
    )

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature: expected more than 0, got {self.temperature:g}")
        if not (self.intra or self.cross) or not (self.frame or self.video):
            raise ValueError(
                "intra, cross, frame, video: nothing is left to contrast; "
                "keep intra or cross, and frame or video"
            )


@dataclass(frozen=True)
class Projected:
    """Projected features of N clips. frames: (N, T, C), of T moments. video: (N, C)."""

    frames: Tensor
    video: Tensor


@dataclass(frozen=True)
class Terms:
    """Means over the clips (and their frames), () each; None for what is switched off.

    intra_video: L_v of equation 1. intra_frame: L_f, 2. cross_video: C_v, 5. cross_frame: C_f, 6.
    """

    intra_video: Tensor | None
    intra_frame: Tensor | None
    cross_video: Tensor | None
    cross_frame: Tensor | None

    @property
    def total(self) -> Tensor:
        """(): equation 8, the sum of 3 and 7. Their 1/2 stays where a term is switched off."""
        return torch.stack(list(self.kept.values())).sum() / 2

    @property
    def kept(self) -> dict[str, Tensor]:
        """The terms that are not switched off, by name."""
        return {name: term for name, term in vars(self).items() if term is not None}


def nt_xent(anchors: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Equation 1, of each anchor: -log of its positive's share among the positive and negatives.

    anchors, others: (..., N, C) float; the positive of anchors[i] is others[i], its negatives are
    anchors[k] and others[k] for k != i, of all processes that share the batch (their N may differ,
    the other axes not). Returns (..., N), in single precision at least.
    Raises InputError on a temperature that is not above 0, features that are no numbers, or no
    negatives; ValueError on shapes that do not fit.
    """
    if not temperature > 0:
        raise InputError(f"temperature: expected more than 0, got {temperature:g}")
    if anchors.shape != others.shape or anchors.dim() < 2:
        raise ValueError(
            "expected anchors and others of one shape (..., N, C), got "
            f"{tuple(anchors.shape)} and {tuple(others.shape)}"
        )
    both = torch.stack((anchors, others))
    both = both.to(torch.promote_types(both.dtype, torch.float32))
    # Half precision would round what the temperature then makes fourteen times larger.
    with torch.autocast(both.device.type, enabled=False):
        everyone, first = of_all_ranks(both)
        _check(everyone)
        own = normalize(both[0], dim=-1)
        candidates = normalize(everyone, dim=-1)
        alike, across = (own @ candidates.transpose(-1, -2) / temperature).unbind()
        number = torch.arange(own.shape[-2], device=own.device)
        itself = torch.zeros(alike.shape[-2:], dtype=torch.bool, device=own.device)
        itself[number, number + first] = True
        alike = alike.masked_fill(itself, -torch.inf)
        positive = across[..., number, number + first]
        return torch.cat((alike, across), -1).logsumexp(-1) - positive


def crossvideo_loss(
    first: Projected, second: Projected, image: Projected | None, config: CrossVideoConfig
) -> Terms:
    """Equations 1 to 8. first, second: two views of the same clips; image: their image videos,
    which may be left out where `cross` is off.

    Frame t of all three is the same moment. A clip's L_f and C_f are the means over its frames.
    Raises as `nt_xent`.
    """
    if image is None:
        if config.cross:
            raise ValueError("image: cross wants the image videos")
        image = first  # of which nothing is asked
    shapes = {name: tuple(one.frames.shape) for name, one in
              (("first", first), ("second", second), ("image", image))}  # fmt: skip
    if len(set(shapes.values())) > 1:
        raise ValueError(f"expected frames of one shape (N, T, C), got {shapes}")
    points = Projected((first.frames + second.frames) / 2, (first.video + second.video) / 2)

    def video(wanted: bool, one: Projected, other: Projected) -> Tensor | None:
        return _contrast(one.video, other.video, config) if wanted and config.video else None

    def frame(wanted: bool, one: Projected, other: Projected) -> Tensor | None:
        if not (wanted and config.frame):
            return None
        return _contrast(_as_items(one.frames, config), _as_items(other.frames, config), config)

    return Terms(
        video(config.intra, first, second),
        frame(config.intra, first, second),
        video(config.cross, points, image),
        frame(config.cross, points, image),
    )


def _as_items(frames: Tensor, config: CrossVideoConfig) -> Tensor:
    """(N, T, C) to what is contrasted along the axis before the last: (T, N, C) or (N * T, C)."""
    if config.frame_negatives == "same_frame":
        return frames.transpose(0, 1)
    return frames.flatten(0, 1)


def _contrast(one: Tensor, other: Tensor, config: CrossVideoConfig) -> Tensor:
    loss = nt_xent(one, other, config.temperature).mean()
    if config.symmetric:
        loss = (loss + nt_xent(other, one, config.temperature).mean()) / 2
    return loss


def of_all_ranks(items: Tensor) -> tuple[Tensor, int]:
    """All processes' items (..., N, C), joined in the order of ranks, and where the own ones begin.

    Each puts its own into a field of zeros, which are then summed: that lets their numbers differ,
    and gives the gradient that every process's loss has for them.
    """
    if ranks() == 1:
        return items, 0
    rank, own = distributed.get_rank(), items.shape[-2]
    counts = torch.zeros(ranks(), dtype=torch.int64, device=items.device)
    counts[rank] = own
    shares = summed_over_ranks(counts).tolist()
    before, after = sum(shares[:rank]), sum(shares[rank + 1 :])
    return summed_over_ranks(torch.nn.functional.pad(items, (0, 0, before, after))), before


def _check(items: Tensor) -> None:
    """items: (2, ..., N, C), of all processes: so all of them refuse, and none waits for others."""
    count = items.shape[-2]
    if count < 2:
        raise InputError(
            f"a batch of {count} has no negatives to contrast with: give 2 clips or more"
        )
    if items.device.type != "cpu":
        return  # a GPU would be waited for; the loss tells, too
    bad = ~torch.isfinite(items).all(-1).flatten(0, -2).all(0)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} of {count} features to be contrasted are not finite, "
            f"the first is number {int(bad.nonzero()[0])}"
        )
