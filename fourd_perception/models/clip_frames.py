"""A model of images and texts (CLIP), made one of video by the mean over frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fourd_perception.models.pretrained_folder import (
    Tokenizer,
    image_statistics,
    load_weights,
    model_name,
    read_config,
    transformers_module,
)
from fourd_perception.models.pretrained_scorer import PretrainedScorer
from fourd_perception.models.video_text import (
    VideoFeatures,
    check_images,
    cosine_logits,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ClipFramesScorer(PretrainedScorer):
    """A `VideoTextScorer`, frozen: (B, L, 3, S, S) images and K texts -> (B, K) logits.

    A video is the mean of its frames' embeddings of unit length (CLIP4Clip's mean pooling): it
    shows that other models than X-CLIP fit, and does not see the order of frames.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: Any, tokenizer: Tokenizer, name: str, frames: int,
        mean: Sequence[float], deviation: Sequence[float],
    ) -> None:  # fmt: skip
        """model: transformers' CLIPModel. mean, deviation: (3,), of RGB in 0 to 1."""
        super().__init__(model.text_model, model.text_projection, tokenizer, name)
        self.frames = frames
        self._vision_model, self._visual_projection = model.vision_model, model.visual_projection
        self._logit_scale = model.logit_scale
        self.image_size = int(model.config.vision_config.image_size)
        self.embed_dim = int(model.config.projection_dim)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path, *, frames: int = 8) -> ClipFramesScorer:
        """From a folder as CLIPModel.save_pretrained and its tokenizer leave it.

        frames: in a clip, 8 as VG4D has them. Raises InputError as `XClipScorer.load`.
        """
        folder = Path(folder)
        transformers = transformers_module("CLIP")
        told = read_config(folder, "clip")
        config = transformers.CLIPConfig.from_dict(told)
        model = transformers.CLIPModel(config)
        load_weights(model, folder)
        return cls(
            model, Tokenizer(folder, config.text_config), model_name(folder, told), frames,
            *image_statistics(folder, CLIP_MEAN, CLIP_DEVIATION),
        )  # fmt: skip

    @property
    def logit_scale(self) -> float:
        """See `VideoTextScorer`."""
        return math.exp(float(self._logit_scale))

    def visual_state(self) -> dict[str, Tensor]:
        """See `PretrainedScorer`."""
        parts = {"vision": self._vision_model, "projection": self._visual_projection}
        state = {
            f"{name}.{key}": tensor
            for name, part in parts.items()
            for key, tensor in part.state_dict().items()
        }
        return state | {"mean": self.mean, "deviation": self.deviation}

    @torch.no_grad()
    def video_features(self, images: Tensor) -> VideoFeatures:
        """See `VideoTextScorer`: (B, D) of (B, L, 3, S, S) images."""
        check_images(images, self.frames, self.image_size, "CLIP")
        pixels = ((images - self.mean) / self.deviation).flatten(0, 1)
        seen = self._vision_model(pixel_values=pixels)
        frames = normalize(self._visual_projection(seen.pooler_output), dim=-1)
        return VideoFeatures(frames.unflatten(0, images.shape[:2]).mean(1))

    @torch.no_grad()
    def logits(self, video: VideoFeatures, texts: Tensor) -> Tensor:
        """See `VideoTextScorer`: (B, K) of B videos and (K, D) texts."""
        return cosine_logits(video.video, texts, self.logit_scale)
