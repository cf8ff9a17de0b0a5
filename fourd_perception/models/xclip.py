"""X-CLIP (ECCV 2022), VG4D's model of video and language, on transformers' XCLIPModel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class XClipVisual(nn.Module):
    """X-CLIP without its text encoder: images to features, and features with texts to logits.

    (B, L, 3, S, S) images and (K, D) texts -> (B, K) logits. The steps are those of
    XCLIPModel.forward, which computes the texts again with every clip.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: Any, mean: Sequence[float], deviation: Sequence[float], *, prompts: bool
    ) -> None:
        """model: an XCLIPModel, whose parts become this module's. mean, deviation: (3,), of RGB.

        prompts: whether texts are changed by the patches of the video that they are compared with.
        """
        super().__init__()
        self.config, vision = model.config, model.config.vision_config
        self.frames, self.image_size = int(vision.num_frames), int(vision.image_size)
        self.embed_dim, self.prompts = int(model.config.projection_dim), prompts
        self.vision_model, self.visual_projection = model.vision_model, model.visual_projection
        self.mit, self.logit_scale = model.mit, model.logit_scale
        if prompts:
            self.prompts_visual_layernorm = model.prompts_visual_layernorm
            self.prompts_visual_projection = model.prompts_visual_projection
            self.prompts_generator = model.prompts_generator
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        embeddings = self.vision_model.embeddings
        # On no meta device: they are not saved, so that no file would bring them to life.
        places = torch.arange(embeddings.num_positions, device="cpu").expand(1, -1)
        embeddings.register_buffer("position_ids", places, persistent=False)

    def features(self, images: Tensor) -> VideoFeatures:
        """images: (B, L, 3, S, S) float32 RGB in 0 to 1. Raises InputError on another size."""
        check_images(images, self.frames, self.image_size, "X-CLIP")
        pixels = (images - self.mean.view(3, 1, 1)) / self.deviation.view(3, 1, 1)
        seen = self.vision_model(pixel_values=pixels.flatten(0, 1))
        frames = self.visual_projection(seen.pooler_output).unflatten(0, images.shape[:2])
        video = self.mit(frames)[1]  # by its place: some versions 4 give a bare tuple
        if not self.prompts:
            return VideoFeatures(video)
        patches = self.prompts_visual_layernorm(seen.last_hidden_state[:, 1:])
        patches = patches @ self.prompts_visual_projection
        return VideoFeatures(video, patches.unflatten(0, images.shape[:2]).mean(1))

    def logits(self, video: VideoFeatures, texts: Tensor) -> Tensor:
        """(B, K): scaled cosines of videos and texts (K, D)."""
        if video.patches is not None:
            texts = texts.expand(len(video.video), -1, -1)
            texts = texts + self.prompts_generator(texts, video.patches)
        return cosine_logits(video.video, texts, self.logit_scale.exp())

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """images: (B, L, 3, S, S), texts: (K, D), as `features` and `logits` take them."""
        return self.logits(self.features(images), texts)


class XClipScorer(PretrainedScorer):
    """A `VideoTextScorer`, frozen: (B, L, 3, S, S) images and K texts -> (B, K) logits."""

    def __init__(
        self, visual: XClipVisual, text_model: nn.Module, text_projection: nn.Module,
        tokenizer: Tokenizer, name: str,
    ) -> None:  # fmt: skip
        super().__init__(text_model, text_projection, tokenizer, name)
        self.visual = visual
        self.frames, self.image_size = visual.frames, visual.image_size
        self.embed_dim = visual.embed_dim
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path, *, prompts: bool = True) -> XClipScorer:
        """From a folder as XCLIPModel.save_pretrained and its tokenizer leave it.

        prompts: condition the texts on the video, as X-CLIP does (its section 3.3). Raises
        InputError if transformers is not there, or the folder is not whole, or of something else.
        """
        folder = Path(folder)
        transformers = transformers_module("X-CLIP")
        told = read_config(folder, "xclip")
        config = transformers.XCLIPConfig.from_dict(told)
        model = transformers.XCLIPModel(config)
        load_weights(model, folder)
        statistics = image_statistics(folder, IMAGENET_MEAN, IMAGENET_DEVIATION)
        return cls(
            XClipVisual(model, *statistics, prompts=prompts),
            model.text_model, model.text_projection,
            Tokenizer(folder, config.text_config),
            model_name(folder, told),
        )  # fmt: skip

    @property
    def logit_scale(self) -> float:
        """See `VideoTextScorer`; about 100 in trained models."""
        return math.exp(float(self.visual.logit_scale))

    def visual_state(self) -> dict[str, Tensor]:
        """See `PretrainedScorer`."""
        return self.visual.state_dict()

    @torch.no_grad()
    def video_features(self, images: Tensor) -> VideoFeatures:
        """See `VideoTextScorer`: (B, D) of (B, L, 3, S, S) images."""
        return self.visual.features(images)

    @torch.no_grad()
    def logits(self, video: VideoFeatures, texts: Tensor) -> Tensor:
        """See `VideoTextScorer`: (B, K) of B videos and (K, D) texts."""
        return self.visual.logits(video, texts)
