"""X-CLIP that is trained on the classes of a data set, with their texts in its weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from fourd_perception.errors import InputError
from fourd_perception.models.pretrained_folder import transformers_module
from fourd_perception.models.video_model import ClipModel
from fourd_perception.models.video_text import VideoFeatures
from fourd_perception.models.xclip import IMAGENET_DEVIATION, IMAGENET_MEAN, XClipVisual
from fourd_perception.parameters import param

_NO_TEXTS = {
    "vocab_size": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 1,
    "intermediate_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1,
}  # fmt: skip
"""Of a text encoder that is thrown away."""


@dataclass(frozen=True)
class XClipVideoConfig:
    """Sizes of X-CLIP's visual side; the defaults are those of X-CLIP-B/16 with 8 frames."""

    frames: int = param(8, "frames in a clip", at_least=1, at_most=256)
    image_size: int = param(224, "height and width", unit="px", at_least=8, at_most=1024)
    patch_size: int = param(16, "height and width of a patch", unit="px", at_least=2, at_most=64)
    width: int = param(768, "channels of a frame's transformer", at_least=1, at_most=4096)
    mlp_width: int = param(3072, "channels in its MLPs", at_least=1, at_most=16384)
    depth: int = param(12, "its layers", at_least=1, at_most=64)
    heads: int = param(12, "its heads", at_least=1, at_most=64)
    embed_dim: int = param(512, "channels of the space of videos and texts", at_least=1,
                           at_most=4096)  # fmt: skip
    across_mlp_width: int = param(
        2048, "channels in the MLPs of the transformer across frames", at_least=1, at_most=16384
    )
    across_depth: int = param(1, "its layers", at_least=1, at_most=64)
    across_heads: int = param(8, "its heads", at_least=1, at_most=64)
    prompt_depth: int = param(
        2, "layers that condition texts on the video; 0: texts stay as they are", at_least=0,
        at_most=64,
    )  # fmt: skip
    prompt_heads: int = param(8, "their heads", at_least=1, at_most=64)
    drop_path: float = param(0.0, "share of layers left out in training", at_least=0, at_most=0.9)
    prompts: tuple[str, ...] = param(
        (), "a text for each class, in the classes' order; none: their names, in words"
    )

    def __post_init__(self) -> None:
        for heads, channels in (
            ("heads", "width"), ("across_heads", "embed_dim"), ("prompt_heads", "embed_dim"),
        ):  # fmt: skip
            if getattr(self, channels) % getattr(self, heads):
                raise ValueError(
                    f"{heads}: {getattr(self, heads)} heads cannot share "
                    f"{getattr(self, channels)} channels evenly"
                )
        if self.image_size % self.patch_size:
            raise ValueError(f"patch_size: {self.patch_size} does not divide {self.image_size}")


class XClipVideoModel(ClipModel):
    """X-CLIP's visual side, and the features of the classes' texts, which are not trained.

    (B, L, 3, S, S) images in 0 to 1 -> (B, K) logits, scaled cosines of videos and texts.
    """

    modality = "images"

    def __init__(self, config: XClipVideoConfig, classes: int) -> None:
        """Raises InputError without transformers, and on texts that are not as many as classes."""
        super().__init__()
        if config.prompts and len(config.prompts) != classes:
            raise InputError(
                f"xclip_video: prompts: {len(config.prompts)} texts for {classes} classes"
            )
        transformers = transformers_module("xclip_video")
        model = transformers.XCLIPModel(_sizes(transformers, config))
        self.config, self.feature_channels = config, config.embed_dim
        self.visual = XClipVisual(
            model, IMAGENET_MEAN, IMAGENET_DEVIATION, prompts=config.prompt_depth > 0
        )
        self.texts: Tensor
        self.register_buffer("texts", torch.randn(classes, config.embed_dim))

    def check_input(self, frames: int, points: int) -> None:
        """Raises InputError unless clips have as many frames as the model."""
        if frames != self.config.frames:
            raise InputError(
                f"X-CLIP wants clips of {self.config.frames} frames, got {frames}: set clip.frames"
            )

    def encode(self, images: Tensor) -> VideoFeatures:
        """images: (B, L, 3, S, S) float32 in 0 to 1. Raises InputError on another size."""
        return self.visual.features(images)

    def forward(self, images: Tensor) -> Tensor:
        """images: as `encode` takes them. Returns the logits (B, K)."""
        return self.visual.logits(self.encode(images), self.texts)

    def take(self, visual: XClipVisual, texts: Tensor) -> None:
        """Begin with the weights of a pre-trained model, and its features (K, D) of the classes.

        Raises InputError if it has other sizes.
        """
        check_sizes(self.config, visual)
        self.visual.load_state_dict(visual.state_dict())
        with torch.no_grad():
            self.texts.copy_(texts)


def check_sizes(config: XClipVideoConfig, visual: XClipVisual) -> None:
    """Raises InputError, which names them, where the sizes are not those of the model."""
    wanted, got = config, sizes_of(visual)
    free = ("prompts", "drop_path")
    differing = [
        f"{field.name} is {getattr(got, field.name)}, not {getattr(wanted, field.name)}"
        for field in fields(XClipVideoConfig)
        if field.name not in free and getattr(got, field.name) != getattr(wanted, field.name)
    ]
    if differing:
        raise InputError(f"xclip_video: the weights are of other sizes: {'; '.join(differing)}")


def sizes_of(visual: XClipVisual) -> XClipVideoConfig:
    """What a pre-trained model's own configuration says."""
    whole, vision = visual.config, visual.config.vision_config
    return XClipVideoConfig(
        frames=vision.num_frames,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        width=vision.hidden_size,
        mlp_width=vision.intermediate_size,
        depth=vision.num_hidden_layers,
        heads=vision.num_attention_heads,
        embed_dim=whole.projection_dim,
        across_mlp_width=vision.mit_intermediate_size,
        across_depth=vision.mit_num_hidden_layers,
        across_heads=vision.mit_num_attention_heads,
        prompt_depth=whole.prompt_layers if visual.prompts else 0,
        prompt_heads=whole.prompt_num_attention_heads,
    )


def _sizes(transformers: Any, config: XClipVideoConfig) -> Any:
    vision = {
        "num_frames": config.frames,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "mit_hidden_size": config.embed_dim,
        "mit_intermediate_size": config.across_mlp_width,
        "mit_num_hidden_layers": config.across_depth,
        "mit_num_attention_heads": config.across_heads,
        "drop_path_rate": config.drop_path,
    }
    return transformers.XCLIPConfig(
        text_config=_NO_TEXTS, vision_config=vision, projection_dim=config.embed_dim,
        prompt_layers=max(1, config.prompt_depth), prompt_num_attention_heads=config.prompt_heads,
    )  # fmt: skip
