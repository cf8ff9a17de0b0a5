"""What each of VG4D's four sources says of whole videos, and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.fusion import FusionConfig, ScoreFusion
from fourd_perception.models.video_text import VideoTextScorer
from training.align_clips import held_out_clip, joined
from training.align_config import AlignConfig
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video

Logits = dict[str, NDArray[np.float32]]


@torch.no_grad()
def source_logits(
    model: AlignedModel,
    scorer: VideoTextScorer,
    videos: PreparedVideos,
    chosen: Sequence[Video],
    config: AlignConfig,
    prompts: Sequence[str] = (),
) -> Logits:
    """By source (V, K) float32 of V videos, a clip of each.

    prompts: other texts than the classes', of which the two classifiers know nothing: then there
    are only the logits of pc_text and rgb_text. Raises InputError as `held_out_clip`.
    """
    torch.set_float32_matmul_precision("highest")
    model.eval()
    device = model.texts.device
    texts = scorer.text_features(prompts or model.config.prompts)
    found: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(chosen), config.batch_size):
        part = chosen[start : start + config.batch_size]
        clips = [held_out_clip(videos, video, config, scorer.frames) for video in part]
        batch = joined(clips, {}).to(device)
        features = model.encode(batch.clips)
        video = scorer.video_features(batch.images)
        said = {"rgb_text": scorer.logits(video, texts)}
        if prompts:
            said["pc_text"] = model.text_logits(features, texts)
        else:
            said |= model.cloud_logits(features) | {"rgb": model.rgb_logits(video)}
        for name, logits in said.items():
            found.setdefault(name, []).append(logits.float().cpu())
    return {name: torch.cat(found[name]).numpy() for name in sorted(found)}


def accuracies(
    logits: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64], fusion: FusionConfig
) -> dict[str, float]:
    """Percent right of each source, and of all of them `fused`; videos with NO_LABEL left out."""
    known = labels != NO_LABEL
    if not known.any():
        return {}
    answers = {name: one.argmax(1) for name, one in logits.items()}
    tensors = {name: torch.from_numpy(one) for name, one in logits.items()}
    answers["fused"] = ScoreFusion(fusion).fuse(tensors).argmax(1).numpy()
    return {name: float(100 * (answer == labels)[known].mean()) for name, answer in answers.items()}
