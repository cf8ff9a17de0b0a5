"""What a run of training/pretrain.py is: everything that its YAML file may say."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from fourd_perception.parameters import param
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from training.config import (
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    OptimiserConfig,
    SamplingConfig,
)
from training.crossvideo import ProjectionConfig
from training.image_views import ImageViewConfig
from training.losses import CrossVideoConfig
from training.views import ViewConfig


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One run of training/pretrain.py."""

    name: str = param(MISSING, "the run's name: its folder under out/train, its files' names")
    architecture: str = param(MISSING, "the kind of the point encoder")
    model: str = param(MISSING, "YAML file with the point encoder's sizes")
    image_model: str = param(MISSING, "YAML file with the image encoder's sizes")
    data: DataConfig = param(MISSING, "the data set; image_size is that of the prepared images")
    clip: ClipConfig = param(MISSING, "the clip")
    preprocess: PreprocessConfig = param(MISSING, "from clouds and images to what encoders see")
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
    sampling: SamplingConfig = param(SamplingConfig(), "clips")
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
    optimiser: OptimiserConfig = param(OptimiserConfig(), "optimiser")
    compute: ComputeConfig = param(ComputeConfig(), "device and precision")
    seed: int = param(0, "seed of everything random", at_least=0, at_most=2**31 - 1)
    threads: int = param(0, "CPU threads; 0: as many as there are cores", at_least=0)
    fast_products: bool = param(
        False, "let a CPU that can compute float32 matrix products in bfloat16 do so while training"
    )
    validate_every: int = param(5, "epochs between looks at the hold-out", at_least=1)
    neighbours_among: int = param(
        256, "training videos, at most, whose nearest ones to a held-out video tell its label",
        at_least=0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.optimiser.check_epochs(self.epochs)
        if not self.data.image_size:
            raise ValueError(
                "data.image_size: no images are prepared without it, and CrossVideo needs them; "
                f"give height and width, of {self.preprocess.image_size} or a little more"
            )
