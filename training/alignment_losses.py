"""VG4D's losses (equations 3 to 6): a cloud's embedding is drawn to its text and to its video.

Processes that share a batch (torchrun) take equation 4's negatives from all of it: each computes
the terms of its own clips, and the mean over processes, weighed by their clips, is one process's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from fourd_perception.errors import InputError
from fourd_perception.parameters import param
from training.datasets.labelled_video import NO_LABEL
from training.losses import of_all_ranks


@dataclass(frozen=True)
class AlignmentConfig:
    """The terms of equations 5 and 6. A term of weight 0 is left out (Table II).

    The paper prints none of the four weights: 1 adds the terms as they are.
    """

    alpha: float = param(1.0, "weight of cloud against video (equation 5)", at_least=0)
    beta: float = param(1.0, "weight of cloud against text (equation 5)", at_least=0)
    theta: float = param(1.0, "weight of the cloud's classifier (equation 6)", at_least=0)
    gamma: float = param(1.0, "weight of the images' classifier (equation 6)", at_least=0)
    logit_scale: float = param(
        0.0, "what cosines are multiplied by in equations 3 and 4; 0: X-CLIP's own, so that the "
        "cloud's scores are as sure as the images'. The paper prints none, which is 1: of K "
        "classes log(1 + (K - 1) / e^2) is then the least that equation 3 can be",
        at_least=0, at_most=1e4,
    )  # fmt: skip
    stop_video: bool = param(
        True, "let no gradient of the contrast into the video's embedding (figure 2: it is frozen)"
    )
    stop_text: bool = param(
        True, "let no gradient of the contrast into the texts' (figure 2: they are frozen)"
    )
    stop_encoder: bool = param(
        False, "let the contrast train the projection alone, and not the encoder of clouds"
    )

    def __post_init__(self) -> None:
        if not (self.alpha or self.beta or self.theta or self.gamma):
            raise ValueError("alpha, beta, theta, gamma: all are 0, and nothing is left to learn")


@dataclass(frozen=True)
class AlignmentTerms:
    """Means over the clips, () each; None for what has no weight.

    pc_video: equation 4. pc_text: 3. pc, rgb: cross-entropies of the two classifiers.
    """

    pc_video: Tensor | None
    pc_text: Tensor | None
    pc: Tensor | None
    rgb: Tensor | None

    @property
    def kept(self) -> dict[str, Tensor]:
        """The terms that have a weight, by name."""
        return {name: term for name, term in vars(self).items() if term is not None}

    def total(self, config: AlignmentConfig) -> Tensor:
        """(): equation 6, with equation 5 in it."""
        weights = {
            "pc_video": config.alpha, "pc_text": config.beta,
            "pc": config.theta, "rgb": config.gamma,
        }  # fmt: skip
        return torch.stack([weights[name] * term for name, term in self.kept.items()]).sum()


@dataclass(frozen=True)
class Aligned:
    """What is compared, of N clips. points, videos: (N, D), embeddings of any length.

    texts: (K, D), or (N, K, D) where each clip has its own. pc_logits, rgb_logits: (N, K).
    """

    points: Tensor
    videos: Tensor
    texts: Tensor
    pc_logits: Tensor
    rgb_logits: Tensor


def alignment_loss(
    batch: Aligned, labels: Tensor, scale: Tensor | float, config: AlignmentConfig
) -> AlignmentTerms:
    """Equations 3 to 6. labels: (N,) int64, NO_LABEL where there is none.

    scale: what cosines are multiplied by, X-CLIP's own, unless config.logit_scale says otherwise.
    Raises as `pc_text_loss` and `pc_video_loss`.
    """
    scale = config.logit_scale or scale
    videos = batch.videos.detach() if config.stop_video else batch.videos
    texts = batch.texts.detach() if config.stop_text else batch.texts
    return AlignmentTerms(
        pc_video=pc_video_loss(batch.points, videos, scale) if config.alpha else None,
        pc_text=pc_text_loss(batch.points, texts, labels, scale) if config.beta else None,
        pc=classifier_loss(batch.pc_logits, labels) if config.theta else None,
        rgb=classifier_loss(batch.rgb_logits, labels) if config.gamma else None,
    )


def pc_text_loss(points: Tensor, texts: Tensor, labels: Tensor, scale: Tensor | float) -> Tensor:
    """Equation 3, (): -log of its own class's share among all K classes, of clouds with a label.

    points: (N, D); texts: (K, D), or (N, K, D) where each clip has its own (X-CLIP's prompts); of
    any length, cosines are taken. labels: (N,) int64, NO_LABEL where there is none. Raises
    InputError on features that are no numbers, ValueError on shapes that do not fit.
    """
    if points.dim() != 2 or texts.shape[-1] != points.shape[1] or texts.dim() not in (2, 3):
        raise ValueError(
            f"points {tuple(points.shape)}, texts {tuple(texts.shape)}: expected (N, D) and (K, D)"
        )
    with _exactly(points):
        points, texts = _unit(points, "clouds"), _unit(texts, "texts")
        logits = scale * (points.unsqueeze(-2) @ texts.transpose(-1, -2)).squeeze(-2)
        return _labelled(logits, labels)


def pc_video_loss(points: Tensor, videos: Tensor, scale: Tensor | float) -> Tensor:
    """Equation 4, (): -log of its own video's share among all N videos of the batch.

    points, videos: (N, D), of any length. In one direction, as printed; and clips of the same
    class are each other's negatives. Raises InputError where there is no other video, or features
    are no numbers; ValueError on shapes that do not fit.
    """
    if points.dim() != 2 or points.shape != videos.shape:
        raise ValueError(
            f"points {tuple(points.shape)}, videos {tuple(videos.shape)}: expected (N, D) of both"
        )
    with _exactly(points):
        everyone, first = of_all_ranks(videos)
        if len(everyone) < 2:
            raise InputError("a batch of one clip has no other videos: give 2 clips or more")
        points, everyone = _unit(points, "clouds"), _unit(everyone, "videos")
        own = torch.arange(len(points), device=points.device) + first
        return cross_entropy(scale * (points @ everyone.T), own)


def classifier_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_pc and L_rgb, (): cross-entropy of (N, K) logits where (N,) labels are not NO_LABEL."""
    with _exactly(logits):
        return _labelled(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


def _labelled(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over clips that have a label; 0, with a gradient of 0, where none has."""
    total = cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)


def _unit(features: Tensor, of: str) -> Tensor:
    bad = ~torch.isfinite(features).all(-1)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} of {bad.numel()} features of {of} are not finite: lower the "
            "learning rate, or look at these samples"
        )
    exact = torch.promote_types(features.dtype, torch.float32)
    return normalize(features.to(exact), dim=-1)


def _exactly(features: Tensor) -> torch.autocast:
    """Half precision would round what the scale then makes a hundred times larger."""
    return torch.autocast(features.device.type, enabled=False)
