"""The encoder of image video (CrossVideo, section III-C): 3D convolutions, then ASFormer over time.

The paper gives no sizes and no code. ASFormer (BMVC 2021) normalises over the whole video; here it
is done frame by frame, so that a frame's feature depends on the frames within reach alone, and on
no other clip of the batch.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from fourd_perception.models.linear import Linear
from fourd_perception.models.p4_transformer import ACTION_TASKS
from fourd_perception.models.video_model import ClipModel, Features
from fourd_perception.ops.attention import attention
from fourd_perception.ops.linear import products_may_be_rounded
from fourd_perception.parameters import param

_NORM_GROUPS = 8


@dataclass(frozen=True)
class ImageVideoConfig:
    """The architecture: config/models/image_video.yaml has the paper's width."""

    task: str = param("action_segmentation", "a label for the video or for each frame",
                      choices=ACTION_TASKS)  # fmt: skip
    stem: tuple[int, ...] = param(
        (16, 32, 64, 128), "channels of the 3D convolutions, each of which halves height and width",
        at_least=1, at_most=65536,
    )  # fmt: skip
    temporal_kernel: int = param(
        3, "frames that each of them looks at, an odd number", at_least=1, at_most=31
    )
    grid: int = param(
        1, "cells to each side that the last convolution is averaged over; 1: what is in a frame "
        "is known, and not where",
        at_least=1, at_most=32,
    )  # fmt: skip
    channels: int = param(128, "width of the transformer", at_least=1, at_most=65536)
    depth: int = param(
        5, "its layers; the first looks one frame to each side, every next one twice as far",
        at_least=1, at_most=20,
    )  # fmt: skip
    heads: int = param(4, "heads of its attention", at_least=1, at_most=64)
    dropout: float = param(0.0, "dropout in its layers", at_least=0.0, at_most=0.95)
    features: int = param(256, "width of the features", at_least=1, at_most=65536)

    def __post_init__(self) -> None:
        if not self.stem:
            raise ValueError("stem: expected one convolution or more, got none")
        if self.temporal_kernel % 2 == 0:
            raise ValueError(f"temporal_kernel: expected an odd number, got {self.temporal_kernel}")
        if self.channels % self.heads:
            raise ValueError(
                f"heads: {self.heads} heads cannot share {self.channels} channels evenly"
            )

    @property
    def reach(self) -> int:
        """How many frames to each side a frame's feature depends on."""
        in_stem = len(self.stem) * (self.temporal_kernel // 2)
        return in_stem + 2 * (2**self.depth - 1)  # a convolution and an attention in each layer


def _rounded_products(device: torch.device) -> AbstractContextManager[object]:
    """Where products may be rounded, those of convolutions too; PyTorch rounds matrices alone."""
    if device.type == "cpu" and products_may_be_rounded() and _rounds_convolutions():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _rounds_convolutions() -> bool:
    """Whether this processor, and this build of PyTorch, has products of bfloat16."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class StemConv(nn.Module):
    """A 3D convolution with a stride of 2 in height and width, a norm of each frame, and a ReLU."""

    def __init__(self, channels: int, out_channels: int, temporal_kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            channels, out_channels, (temporal_kernel, 3, 3), stride=(1, 2, 2),
            padding=(temporal_kernel // 2, 1, 1), bias=False,
        )  # fmt: skip
        # Not a batch norm: its statistics would let clips tell each other who they are.
        self.norm = nn.GroupNorm(math.gcd(_NORM_GROUPS, out_channels), out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, C, L, H, W). Returns (B, C', L, H', W'), H' = ceil(H / 2)."""
        with _rounded_products(images.device):
            convolved = self.conv(images)
        frames = convolved.to(images.dtype).transpose(1, 2).flatten(0, 1)
        normed = torch.relu_(self.norm(frames))
        return normed.unflatten(0, (len(images), -1)).transpose(1, 2)


class LocalAttention(nn.Module):
    """Each frame attends to those at most `reach` frames away, itself among them.

    Nothing stands for frames before the first and after the last: they are not attended to.
    """

    def __init__(self, channels: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.norm = nn.LayerNorm(channels)
        self.to_qkv = Linear(channels, 3 * channels, bias=False)
        self.project = Linear(channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        """frames: (B, L, C). Returns the same shape."""
        batch, length, _ = frames.shape
        qkv = self.to_qkv(self.norm(frames)).view(batch, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        time = torch.arange(length, device=frames.device)
        near = (time[:, None] - time).abs() <= self.reach
        out = attention(query, key, value, near)
        return self.project(out.transpose(1, 2).flatten(2))


class TemporalLayer(nn.Module):
    """A layer of ASFormer's encoder: x + W(h + attention(h)), h a dilated convolution of x.

    The convolution of three frames, `reach` apart, takes the place of a transformer's MLP.
    """

    def __init__(self, config: ImageVideoConfig, reach: int) -> None:
        super().__init__()
        channels = config.channels
        self.norm = nn.LayerNorm(channels)
        self.conv = nn.Conv1d(channels, channels, 3, padding=reach, dilation=reach)
        self.attention = LocalAttention(channels, config.heads, reach)
        self.project = Linear(channels, channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """frames: (B, L, C). Returns the same shape."""
        inside = torch.relu(self.conv(self.norm(frames).transpose(1, 2)).transpose(1, 2))
        inside = inside + self.attention(inside)
        return frames + self.dropout(self.project(inside))


class ImageVideoEncoder(ClipModel):
    """(B, L, 3, H, W) images -> a feature of each frame, and their maximum for the video."""

    modality = "images"

    def __init__(self, config: ImageVideoConfig) -> None:
        super().__init__()
        self.config = config
        self.feature_channels = config.features
        widths = (3, *config.stem)
        self.stem = nn.ModuleList(
            StemConv(channels, out_channels, config.temporal_kernel)
            for channels, out_channels in zip(widths, config.stem)
        )
        self.embed = Linear(config.stem[-1] * config.grid**2, config.channels)
        self.layers = nn.ModuleList(TemporalLayer(config, 2**at) for at in range(config.depth))
        self.out = nn.Sequential(
            nn.LayerNorm(config.channels), Linear(config.channels, config.features)
        )

    def forward(self, images: Tensor) -> Features:
        """images: (B, L, 3, H, W) float32, values of about 0 to 1, frames at the clip's rate.

        Returns video (B, C) and frames (B, L, C) float32. Raises ValueError if the shape or the
        type does not fit.
        """
        if images.dim() != 5 or images.shape[2] != 3 or images.dtype != torch.float32:
            raise ValueError(
                "images: expected (B, L, 3, H, W) float32, "
                f"got {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            )
        if not images.numel():
            raise ValueError(f"images: expected 1 pixel or more, got {tuple(images.shape)}")
        # Channels last in memory: its frames, each normalised by itself, are views of it.
        volume = images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 4, 1, 2, 3)
        for conv in self.stem:
            volume = conv(volume)
        cells = adaptive_avg_pool2d(volume.transpose(1, 2).flatten(0, 1), self.config.grid)
        frames = self.embed(cells.flatten(1).unflatten(0, (len(images), -1)))
        for layer in self.layers:
            frames = layer(frames)
        frames = self.out(frames)
        return Features(frames.amax(1), frames)


class ImageVideoModel(ImageVideoEncoder):
    """The encoder with a classifier of the clip, or of each frame (CrossVideo, table III).

    (B, L, 3, H, W) images -> (B, classes) or (B, L, classes) logits.
    """

    def __init__(self, config: ImageVideoConfig, classes: int) -> None:
        super().__init__(config)
        self.task = config.task
        self.head = Linear(config.features, classes)

    def encode(self, images: Tensor) -> Features:
        """images: (B, L, 3, H, W) float32 in 0 to 1. Raises ValueError as the encoder."""
        return super().forward(images)

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        """images: as `encode` takes them. Returns the logits."""
        features = self.encode(images)
        return self.head(features.video if self.task == "action_recognition" else features.frames)
