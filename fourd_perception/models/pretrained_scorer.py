"""What the scorers of pre-trained folders have in common: their texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fourd_perception.models.pretrained_folder import Tokenizer
from fourd_perception.models.video_text import KeptTexts, VideoFeatures, check_texts

_DIGITS = 16


class PretrainedScorer(nn.Module):
    """The text side of a `VideoTextScorer`: K texts -> (K, D); a subclass sees the videos."""

    def __init__(
        self, text_model: nn.Module, text_projection: nn.Module, tokenizer: Tokenizer, name: str
    ) -> None:
        super().__init__()
        self.name = name
        self._text_model, self._text_projection = text_model, text_projection
        self._tokenizer = tokenizer
        self._texts = KeptTexts(self._encode)

    def video_features(self, images: Tensor) -> VideoFeatures:
        """See `VideoTextScorer`: (B, D) of (B, L, 3, S, S) images."""
        raise NotImplementedError

    def logits(self, video: VideoFeatures, texts: Tensor) -> Tensor:
        """See `VideoTextScorer`: (B, K) of B videos and (K, D) texts."""
        raise NotImplementedError

    def visual_digest(self) -> str:
        """See `VideoTextScorer`."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.visual_state().items()):
            found.update(name.encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:_DIGITS]

    def visual_state(self) -> dict[str, Tensor]:
        """The weights for videos, and the statistics of images, by name."""
        raise NotImplementedError

    def check_texts(self, texts: Sequence[str]) -> None:
        """See `VideoTextScorer`: as `text_features`, without the features."""
        check_texts(texts)
        self._tokenizer(texts)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """See `VideoTextScorer`: (K, D) of K texts."""
        return self._texts.features(texts)

    def forward(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """images: (B, L, 3, S, S) float32 in 0 to 1. Returns the logits (B, K) of K texts."""
        return self.logits(self.video_features(images), self.text_features(texts))

    def _apply(self, fn: Any, recurse: bool = True) -> PretrainedScorer:
        self._texts.forget()  # they are where the model was
        super()._apply(fn, recurse)
        return self

    def _encode(self, texts: Sequence[str]) -> Tensor:
        device = next(self._text_projection.parameters()).device
        tokens, there = (one.to(device) for one in self._tokenizer(texts))
        seen = self._text_model(input_ids=tokens, attention_mask=there)
        features: Tensor = self._text_projection(seen.pooler_output)
        return features
