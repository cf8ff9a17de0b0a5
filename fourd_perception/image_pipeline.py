"""The images' branch of VG4D on a stream: its own window, its own rate, scores for the fusion."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.checkpoint import Checkpoint, ModelCard
from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.video_text import VideoTextScorer
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.parameters import param
from fourd_perception.preprocess import preprocess_image
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import Clip, ClipConfig, SlidingWindow
from fourd_perception.vocabulary import Vocabulary, own_vocabulary


@dataclass(frozen=True)
class VlmConfig:
    """The vision-language model beside the clouds."""

    video_text_model: str = param(
        "", "the folder of the X-CLIP that `model` was aligned with, to fuse the images' scores, "
        "which needs use_image, and to understand `prompts`"
    )  # fmt: skip
    prompts: tuple[str, ...] = param(
        ("",), "classes in words, in place of the model's own, each its text: scored by the texts "
        "alone, without training; [''] for the model's own; needs video_text_model",
        changeable=True,
    )  # fmt: skip
    image_rate: float = param(
        2.0, "how often the images are scored, at most", unit="Hz", at_least=0.01, at_most=100.0
    )
    image_max_age: float = param(
        2.0, "the images' scores take part for so long; without newer ones the cloud's are left",
        unit="s", at_least=0.0, at_most=3600.0,
    )  # fmt: skip


_NO_POINTS = np.empty((0, 3), np.float32)


@dataclass(frozen=True, eq=False)
class ImageScores:
    """What the images of a window say, for the fusion. logits: (K,) by source, rgb and rgb_text.

    stamp: of the window's newest image, nanoseconds. vocabulary: what their K columns are.
    """

    stamp: int
    logits: dict[str, Tensor]
    processing_ms: float
    vocabulary: Vocabulary


@dataclass(frozen=True, eq=False)
class _Picture(Frame):
    """What the window keeps of a frame. pixels: (3, S, S) float32 in 0 to 1."""

    pixels: NDArray[np.float32] | None = None


def load_scorer(folder: str, aligned: Checkpoint) -> XClipScorer:
    """The X-CLIP of a folder, for a model that was aligned with one, and where that model is.

    Raises InputError as XClipScorer.load.
    """
    model = aligned.model
    conditioned = not isinstance(model, AlignedModel) or model.config.conditioned
    scorer = XClipScorer.load(os.path.expanduser(folder), prompts=conditioned)
    return scorer.to(next(model.parameters()).device)


class ImagePipeline:
    """Frames with images in, scores of the classes out. Its verb is `score`.

    Its window lasts as long as that of the clouds, of which an aligned model's X-CLIP sees one
    image in each of so many segments. Frames without an image are not for it: where they are many,
    its window empties, and no more scores come until it is full again. `offer` and `score` are each
    to be called from one thread only, as those of the clouds' pipelines.
    """

    def __init__(
        self, checkpoint: Checkpoint, scorer: VideoTextScorer, clip: ClipConfig, rate: float
    ) -> None:
        """clip: the window of the clouds. rate: scores a second, at most.

        Raises InputError if the model was not aligned with this scorer.
        """
        if not isinstance(checkpoint.model, AlignedModel):
            raise InputError(
                f"{checkpoint.card.name} was not aligned with images and texts; take a checkpoint "
                "of training/align.py"
            )
        checkpoint.model.check_scorer(scorer)
        checkpoint.model.check_visual(scorer)
        wanted = checkpoint.card.preprocess.image_size
        if wanted != scorer.image_size:
            raise InputError(
                f"{scorer.name}: sees images of {scorer.image_size} pixels, {checkpoint.card.name} "
                f"was trained with {wanted}: take the folder that it was aligned with"
            )
        self.card: ModelCard = checkpoint.card
        self.vocabulary = own_vocabulary(self.card)
        """What is scored. May be replaced from another thread; a clip is of one or the other."""
        self._model, self._scorer = checkpoint.model, scorer
        self._device = checkpoint.model.texts.device
        # Not those in the weights: of unit length they would be conditioned on the video otherwise.
        self._own_texts = scorer.text_features(checkpoint.model.config.prompts)
        seconds = clip.frames * clip.period / SECOND
        own = ClipConfig(frames=scorer.frames, frame_step=1, rate=scorer.frames / seconds)
        stride = max(1, round(own.rate / rate))
        self.window = SlidingWindow(own, stride, self._keep)

    def offer(self, frame: Frame) -> Clip | None:
        """Put a frame into the window. A clip comes back if it completes one."""
        return None if frame.image is None else self.window.push(frame)

    def score(self, clip: Clip) -> ImageScores:
        """Run the images' branch on a clip. Raises ValueError where a score is no number."""
        started = time.perf_counter()
        pictures = [one.pixels for one in clip.frames if isinstance(one, _Picture)]
        images = torch.from_numpy(np.stack([one for one in pictures if one is not None]))
        vocabulary = self.vocabulary
        with torch.inference_mode():
            video = self._scorer.video_features(images[None].to(self._device))
            if vocabulary.texts is None:
                said = {
                    "rgb": self._model.rgb_logits(video),
                    "rgb_text": self._scorer.logits(video, self._own_texts),
                }
            else:
                said = {"rgb_text": self._scorer.logits(video, vocabulary.texts)}
        logits = {name: one[0].float() for name, one in said.items()}
        if not all(bool(torch.isfinite(one).all()) for one in logits.values()):
            raise ValueError(f"{self._scorer.name}: scores that are not finite numbers")
        took = (time.perf_counter() - started) * 1e3
        return ImageScores(clip.newest.stamp, logits, took, vocabulary)

    def warm_up(self) -> float:
        """Run the branch once on black images; milliseconds it took."""
        pixels = np.zeros((3, self._scorer.image_size, self._scorer.image_size), np.float32)
        count = self.window.clip.frames
        black = tuple(_Picture(stamp, "", _NO_POINTS, pixels=pixels) for stamp in range(count))
        return self.score(Clip(black)).processing_ms

    def forget(self) -> None:
        """Nothing is kept from one window to the next."""

    def _keep(self, frame: Frame) -> _Picture:
        assert frame.image is not None  # others are not offered
        pixels = preprocess_image(frame.image, self.card.preprocess)
        return _Picture(frame.stamp, frame.frame_id, _NO_POINTS, pixels=pixels)
