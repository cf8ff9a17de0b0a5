"""Folders of video-text models of a few thousand weights, made when they are first asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_model
import torch

from fourd_perception import checkpoint, models
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.preprocess import PreprocessConfig
from training import tiny_xclip
from training.tiny_xclip import TinyConfig

SIZES = TinyConfig(image_size=16, patch_size=8, frames=4, width=16, depth=2, heads=2, embed_dim=8)
TEXTS = ("wave hand", "sit down", "drink")


def make(folder: Path, kind: str = "xclip", sizes: TinyConfig = SIZES) -> Path:
    """A model whose tokens are single bytes. Skips the test where transformers is not there."""
    pytest.importorskip("transformers", reason="transformers is not installed (pip install .[vlm])")
    return tiny_xclip.make(folder / kind, sizes, merges=[], kind=kind)


def save_aligned(path: Path, folder: Path, **changes: object) -> Path:
    """A checkpoint of points that was aligned with a folder; changes: of its card."""
    scorer = XClipScorer.load(folder)
    sizes = {
        "encoder": "im_pstnet", "encoder_sizes": small_model.card().model,
        "embed_dim": scorer.embed_dim, "prompts": list(TEXTS),
    }  # fmt: skip
    torch.manual_seed(0)
    model = models.build("aligned", sizes, len(TEXTS))
    model.set_texts(scorer.text_features(TEXTS))
    told = {
        "architecture": "aligned", "model": sizes, "classes": TEXTS,
        "preprocess": PreprocessConfig(points=32, image_size=scorer.image_size), **changes,
    }  # fmt: skip
    checkpoint.save(path, model, small_model.card(**told))
    return path


def clips(batch: int = 2, sizes: TinyConfig = SIZES) -> torch.Tensor:
    """(batch, frames, 3, S, S) float32 in 0 to 1."""
    random = torch.Generator().manual_seed(1)
    size = sizes.image_size
    return torch.rand(batch, sizes.frames, 3, size, size, generator=random)
