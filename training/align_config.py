"""What a run of training/align.py is: everything that its YAML file may say."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from fourd_perception.parameters import param
from fourd_perception.stream.window import ClipConfig
from training.alignment_losses import AlignmentConfig
from training.config import AugmentConfig, OptimiserConfig, RunConfig
from training.fit_fusion import METHODS
from training.image_views import ImageViewConfig

PAPERS_OPTIMISER = OptimiserConfig(
    kind="sgd", learning_rate=1e-3, final_learning_rate=1e-4, warmup_epochs=0.0
)


@dataclass(frozen=True, kw_only=True)
class VideoTextConfig:
    """The model of video and texts that is aligned with; nothing of it is trained."""

    folder: str = param(MISSING, "folder with its weights, configuration and tokenizer")
    kind: str = param("xclip", "what it is; clip: of images, the mean over frames",
                      choices=("xclip", "clip"))  # fmt: skip
    finetuned: str = param(
        "", "xclip: a checkpoint of finetune.py (architecture xclip_video), whose visual side "
        "takes the place of the folder's; the paper's was fine-tuned on the same data",
    )  # fmt: skip
    conditioned: bool = param(
        True, "xclip: condition the texts of the score rgb_text on the video, as X-CLIP does; "
        "equation 3 takes them as they are",
    )  # fmt: skip
    prompts: tuple[str, ...] = param(
        (), "a text for each class, in the classes' order; none: their names, in words"
    )


@dataclass(frozen=True, kw_only=True)
class AlignConfig(RunConfig):
    """One run of training/align.py; the defaults are VG4D's, section IV, where it gives them."""

    video_text: VideoTextConfig = param(MISSING, "the model of video and texts")
    clip: ClipConfig = param(MISSING, "the clip of points; images are taken from its frames")
    left_out: tuple[str, ...] = param(
        (), "classes that are not trained on, so that they can be recognised by their texts alone"
    )
    epochs: int = param(30, "passes over the training videos", at_least=1)
    batch_size: int = param(32, "clips in a batch, each other's negatives", at_least=2)
    augment: AugmentConfig = param(AugmentConfig(), "augmentation of points")
    image_view: ImageViewConfig = param(ImageViewConfig(), "augmentation of images")
    loss: AlignmentConfig = param(AlignmentConfig(), "what is learnt from")
    fusion: str = param(
        "equal", "how the four scores' weights are come by; all but equal are fitted on the "
        "hold-out", choices=METHODS,
    )  # fmt: skip
    optimiser: OptimiserConfig = param(PAPERS_OPTIMISER, "optimiser")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_images("VG4D")
        if self.fusion != "equal" and not self.data.holdout:
            raise ValueError(
                f"fusion: '{self.fusion}' is fitted on the hold-out, and data.holdout names none"
            )
        if self.video_text.kind != "xclip" and self.video_text.finetuned:
            raise ValueError("video_text: finetuned: it is for kind 'xclip'")
