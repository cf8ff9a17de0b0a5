"""What scores a video against texts: X-CLIP in VG4D, or any other model of its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fourd_perception.errors import InputError

_MOST_TEXTS = 4096
"""That are remembered; a robot whose prompts change for days must not fill its memory."""


@dataclass(frozen=True)
class VideoFeatures:
    """What a model says of B clips, before it compares them with texts.

    video: (B, D) float32, not of unit length: a classifier reads it as it is.
    patches: (B, P, D), what the prompts of a text are conditioned on; None where there are none.
    """

    video: Tensor
    patches: Tensor | None = None


class VideoTextScorer(Protocol):
    """A model of video and language in one space of D dimensions (VG4D, equation 2)."""

    name: str
    """Of the model, for checkpoints that were aligned with it."""
    frames: int
    """In a clip."""
    image_size: int
    """Height and width of its images, pixels."""
    embed_dim: int
    """D."""

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by to be logits: exp of what was learnt."""

    def visual_digest(self) -> str:
        """Tells its weights for videos from others, such as those before a fine-tuning."""

    def video_features(self, images: Tensor) -> VideoFeatures:
        """images: (B, L, 3, S, S) float32 RGB in 0 to 1, L = frames, S = image_size.

        Raises InputError if they are of another size.
        """

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(K, D) float32 of K texts, not of unit length; each text is computed once, then kept.

        Raises InputError if one is empty, doubled, or longer than the model reads.
        """

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raises InputError as `text_features`, and computes none."""

    def logits(self, video: VideoFeatures, texts: Tensor) -> Tensor:
        """(B, K): scaled cosines of videos and texts, (K, D) as `text_features` gives them."""


class KeptTexts:
    """Features of texts that have been asked for, on the device where they were computed."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        """encode: K texts to (K, D)."""
        self._encode = encode
        self._kept: dict[str, Tensor] = {}

    def features(self, texts: Sequence[str]) -> Tensor:
        """(K, D) of K texts. Raises InputError as `check_texts`, and as what encodes them."""
        check_texts(texts)
        missing = [text for text in texts if text not in self._kept]
        if missing:
            computed = self._encode(missing)
            if len(self._kept) + len(missing) > _MOST_TEXTS:
                self._kept = {text: self._kept[text] for text in texts if text in self._kept}
            self._kept.update(zip(missing, computed))
        return torch.stack([self._kept[text] for text in texts])

    def forget(self) -> None:
        """Compute anew what is asked for next: the model has moved, or changed."""
        self._kept.clear()


def check_texts(texts: Sequence[str]) -> None:
    """Raises InputError if there is no text, one is empty, or two are the same."""
    if isinstance(texts, str) or not texts:
        raise InputError(f"prompts: expected a list of texts, one for each class, got {texts!r}")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise InputError(f"prompts: number {number} of {len(texts)} is empty; say what is done")
        if text in texts[: number - 1]:
            raise InputError(
                f"prompts: '{text}' stands twice (numbers {texts.index(text) + 1} and {number}), "
                "so that neither could win; leave one out, or say how they differ"
            )


def check_images(images: Tensor, frames: int, size: int, name: str) -> None:
    """images: expected (B, frames, 3, size, size) float32. Raises InputError on anything else."""
    expected = (frames, 3, size, size)
    if images.dim() != 5 or images.shape[1:] != expected or images.dtype != torch.float32:
        raise InputError(
            f"{name} wants images (B, {', '.join(map(str, expected))}) float32, got "
            f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}: "
            f"give {frames} frames, scaled to {size} x {size} pixels"
        )


def cosine_logits(video: Tensor, texts: Tensor, scale: Tensor | float) -> Tensor:
    """scale * cosine: video (B, D), texts (K, D) or, for each clip its own, (B, K, D) -> (B, K)."""
    unit = normalize(texts, dim=-1)
    return scale * (normalize(video, dim=-1).unsqueeze(-2) @ unit.transpose(-1, -2)).squeeze(-2)


def prompt_of(class_name: str) -> str:
    """The text of a class: its bare name, as X-CLIP's is, in words ('wave_hand': 'wave hand')."""
    return " ".join(class_name.replace("_", " ").split())
