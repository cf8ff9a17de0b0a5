"""What a run of training/pretrain.py is: everything that its YAML file may say."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from fourd_perception.parameters import param
from training.config import AugmentConfig, RunConfig
from training.crossvideo import ProjectionConfig
from training.image_views import ImageViewConfig
from training.losses import CrossVideoConfig
from training.views import ViewConfig


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(RunConfig):
    """One run of training/pretrain.py."""

    image_model: str = param(
        MISSING, "YAML file with the image encoder's sizes; without loss.cross there is none: ''"
    )
    epochs: int = param(100, "passes over the training videos; the paper does not say", at_least=1)
    batch_size: int = param(
        8, "clips in a batch, all of them each other's negatives", at_least=2
    )  # fmt: skip
    clips_at_once: int = param(
        0, "clips of a batch that an encoder takes at once; 0: all. With fewer, what it computed "
        "is computed again for the gradients: a third more time, and memory does not grow with "
        "the batch",
        at_least=0,
    )  # fmt: skip
    first_view: AugmentConfig = param(
        AugmentConfig(scale=0.0), "the first view; the paper's is the clip as it is"
    )
    view: ViewConfig = param(ViewConfig(), "the second view")
    image_view: ImageViewConfig = param(ImageViewConfig(), "the images")
    resample: bool = param(
        True, "draw the second view's points anew; the same ones are easy to tell, and the paper "
        "does not say",
    )  # fmt: skip
    projection: ProjectionConfig = param(ProjectionConfig(), "the projection heads")
    loss: CrossVideoConfig = param(CrossVideoConfig(), "what is contrasted")
    neighbours_among: int = param(
        256, "training videos, at most, whose nearest ones to a held-out video tell its label",
        at_least=0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.loss.cross:
            return
        self._check_images("the contrast of points with images (loss.cross)")
        if not self.image_model:
            raise ValueError("image_model: loss.cross wants an image encoder; name a file of sizes")
