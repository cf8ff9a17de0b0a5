"""VG4D's cloud branch: an encoder whose videos lie in the space of texts (equation 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fourd_perception.errors import InputError
from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.fusion import FusionConfig
from fourd_perception.models.level import Level
from fourd_perception.models.linear import Linear
from fourd_perception.models.video_model import Features, VideoModel
from fourd_perception.models.video_text import (
    VideoFeatures,
    VideoTextScorer,
    check_texts,
    cosine_logits,
)
from fourd_perception.parameters import param

_SAME = 0.999
"""The cosine of a text's features that were kept in half precision, and of the same ones anew."""


@dataclass(frozen=True, kw_only=True)
class AlignedConfig:
    """All that a checkpoint says of it, besides the weights."""

    encoder: str = param(MISSING, "the architecture of the encoder of clouds")
    encoder_sizes: dict[str, Any] = param(MISSING, "its sizes, as its own configuration has them")
    embed_dim: int = param(
        512, "channels of the space of clouds, videos and texts", at_least=1, at_most=65536
    )
    logit_scale: float = param(
        100.0, "what cosines are multiplied by to be logits; X-CLIP's own", at_least=1e-3,
        at_most=1e4,
    )  # fmt: skip
    prompts: tuple[str, ...] = param((), "the classes' texts, whose features the weights hold")
    text_model: str = param("", "the name of the model of video and texts that it is aligned with")
    visual: str = param("", "a digest of that model's weights for videos; '': not known")
    conditioned: bool = param(True, "whether that model's texts are conditioned on the video")
    image_frames: int = param(
        8, "frames of a window that the images' branch is shown, by segments", at_least=1,
        at_most=512,
    )  # fmt: skip
    fusion: FusionConfig = param(FusionConfig(), "weights of the four scores")


class AlignedModel(VideoModel):
    """(B, L, N, 3) points in model units -> (B, K) logits of the classifier, as its encoder's.

    Beside them stand those of the cloud against texts (`text_logits`), and the classifier of the
    images' features (`rgb_logits`). The classes' texts are in the weights, so that a robot without
    the text model has both of the cloud's scores; new texts want the text model.
    """

    def __init__(self, config: AlignedConfig, encoder: VideoModel, classes: int) -> None:
        """encoder: a model of videos, with its classifier. Raises ValueError on another task, and
        on texts that are not as many as the classes."""
        super().__init__()
        if encoder.task != self.task:
            raise ValueError(f"encoder: a model for {encoder.task}, expected {self.task}")
        if len(config.prompts) != classes:
            raise ValueError(f"prompts: {len(config.prompts)} texts for {classes} classes")
        check_texts(config.prompts)
        self.config, self.encoder = config, encoder
        self.feature_channels = encoder.feature_channels
        self.has_memory = encoder.has_memory
        self.projection = Linear(encoder.feature_channels, config.embed_dim)
        self.rgb_head = Linear(config.embed_dim, classes)
        self.texts: Tensor
        self.register_buffer("texts", torch.zeros(classes, config.embed_dim))

    @property
    def layers(self) -> nn.ModuleList:  # type: ignore[override]
        """The encoder's."""
        return self.encoder.layers

    @property
    def chain(self) -> list[FrameLayer]:
        """The encoder's."""
        return self.encoder.chain

    def sample(self, points: Tensor) -> Level:
        """See VideoModel."""
        return self.encoder.sample(points)

    def summarise(self, level: Level, batch: int, memory: Tensor | None = None) -> Features:
        """See VideoModel."""
        return self.encoder.summarise(level, batch, memory)

    def classify(self, features: Features) -> Tensor:
        """Logits (B, K) of the cloud's classifier: the score `pc`."""
        return self.encoder.classify(features)

    def embed(self, video: Tensor) -> Tensor:
        """The video features (B, C) in the space of texts, (B, D) of unit length (equation 1)."""
        return normalize(self.projection(video), dim=-1)

    def text_logits(self, features: Features, texts: Tensor | None = None) -> Tensor:
        """The score `pc_text`: logits (B, K) against the classes, or against texts (K', D)."""
        wanted = self.texts if texts is None else texts
        return cosine_logits(self.embed(features.video), wanted, self.config.logit_scale)

    def cloud_logits(self, features: Features) -> dict[str, Tensor]:
        """Both scores of the cloud, by source: (B, K) each."""
        return {"pc": self.classify(features), "pc_text": self.text_logits(features)}

    def rgb_logits(self, video: VideoFeatures) -> Tensor:
        """The score `rgb`: logits (B, K) of the images' features (B, D)."""
        return self.rgb_head(video.video)

    def set_texts(self, features: Tensor) -> None:
        """features: (K, D), of the classes' texts; what is kept of them has unit length."""
        with torch.no_grad():
            self.texts.copy_(normalize(features, dim=-1))

    def check_scorer(self, scorer: VideoTextScorer) -> None:
        """Raises InputError unless the scorer's space is the one that it was aligned with."""
        known = f"aligned with {self.config.text_model} ({self.config.embed_dim} channels)"
        if scorer.embed_dim != self.config.embed_dim:
            raise InputError(f"{scorer.name}: {scorer.embed_dim} channels; the model is {known}")
        theirs = normalize(scorer.text_features(self.config.prompts), dim=-1)
        likeness = float((theirs * normalize(self.texts, dim=-1)).sum(-1).min())
        if likeness < _SAME:
            raise InputError(
                f"{scorer.name}: has other features of '{self.config.prompts[0]}' and the other "
                f"classes (cosine {likeness:.3f}); the model is {known}: take that one's folder"
            )

    def check_visual(self, scorer: VideoTextScorer) -> None:
        """Raises InputError unless the scorer sees videos as the one that it was aligned with."""
        known = self.config.visual
        if known and known != scorer.visual_digest():
            raise InputError(
                f"{scorer.name}: sees videos with other weights than those that the model was "
                "aligned with, such as its own from before a fine-tuning: take the folder "
                "video_text that align.py has left beside the checkpoint"
            )

    def unseen(self, prompts: Sequence[str]) -> tuple[str, ...]:
        """Those of the texts that it was not aligned with: their scores are zero-shot."""
        return tuple(text for text in prompts if text not in self.config.prompts)
