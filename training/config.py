"""What a training run is: everything that `config/training/*.yaml` may say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

from fourd_perception.parameters import param
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig
from training import datasets
from training.image_views import ImageViewConfig

TASKS = ("action_recognition", "action_segmentation", "semantic_segmentation")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the videos come from, and who is kept out of training."""

    dataset: str = param(MISSING, "its name", choices=datasets.NAMES)
    root: str = param("", "folder of the raw release; the studio needs none")
    prepared: str = param(MISSING, "folder of the prepared form; made if it is not there")
    protocol: str = param("", "which split, where the data set has several; '': its usual one")
    points_at_most: int = param(
        0, "a random choice of so many points of a frame is prepared; 0: all", at_least=0
    )
    image_size: tuple[int, ...] = param(
        (), "height and width of the prepared images; none are prepared without it",
        unit="px", at_least=1,
    )  # fmt: skip
    holdout: tuple[str, ...] = param(
        (), "groups (subjects) of the training split that are kept for choosing, not trained on"
    )
    train_groups: tuple[str, ...] = param(
        (), "groups of the training split that are trained on; (): all that are not held out"
    )
    train_share: float = param(
        1.0, "share of the training videos that is trained on, of each action as nearly as can be; "
        "a smaller share is part of a larger one of the same seed",
        at_least=0.001, at_most=1,
    )  # fmt: skip
    share_seed: int = param(0, "seed of the draw of that share", at_least=0, at_most=2**31 - 1)
    recordings: int = param(64, "studio: recordings to train on", at_least=1)
    test_recordings: int = param(8, "studio: recordings of unseen seeds", at_least=1)

    def __post_init__(self) -> None:
        if len(self.image_size) not in (0, 2):
            raise ValueError(f"image_size: expected height and width, got {self.image_size}")


@dataclass(frozen=True)
class SamplingConfig:
    """How a clip is cut from a training video.

    Segments (VG4D, section III-C) cover the whole action at any speed; a window has the fixed
    duration that the robot's sliding window has. A model that is to do both sees both.
    """

    window_share: float = param(
        0.5, "share of the clips cut as windows; the rest by segments", at_least=0, at_most=1
    )
    speed: float = param(
        1.25, "windows are played up to so many times faster or slower", at_least=1, at_most=4
    )
    clips_per_video: int = param(
        1, "clips that are cut from a training video in an epoch", at_least=1, at_most=1000
    )
    epoch_share: float = param(
        1.0, "share of the training videos, drawn anew, that an epoch sees", at_least=0.001,
        at_most=1,
    )  # fmt: skip
    one_group: bool = param(
        False, "each batch has the clips of one group (a person) alone; then what is contrasted "
        "in it cannot be told apart by who it is",
    )  # fmt: skip


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training clip, one draw for all its frames."""

    scale: float = param(0.1, "each axis is scaled by 1 +- this", at_least=0, at_most=0.9)
    uniform_scale: bool = param(False, "scale all axes by one factor, as HOI4D's code does")
    rotation: float = param(
        0.0, "about the camera's vertical axis, +- this", unit="degrees", at_least=0, at_most=180
    )
    tilt: float = param(
        0.0, "about the camera's sideways axis, +- this", unit="degrees", at_least=0, at_most=90
    )
    jitter: float = param(
        0.0, "standard deviation of each coordinate's noise", unit="model units", at_least=0
    )
    mirror: float = param(0.0, "probability of swapping left and right", at_least=0, at_most=1)


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule."""

    kind: str = param("adamw", "its name", choices=("adamw", "sgd"))
    learning_rate: float = param(1e-3, "peak learning rate", at_least=0)
    weight_decay: float = param(
        1e-4, "weight decay of matrices; VG4D prints 0.1, a thousand times PSTNet's", at_least=0
    )
    momentum: float = param(0.9, "sgd: momentum", at_least=0, at_most=1)
    schedule: str = param(
        "cosine", "how the learning rate falls after the warm-up", choices=("cosine", "steps")
    )
    final_learning_rate: float = param(0.0, "cosine: the rate that it ends at", at_least=0)
    milestones: tuple[int, ...] = param(
        (), "steps: the epochs after which the rate is multiplied by gamma", at_least=1
    )
    gamma: float = param(0.1, "steps: see milestones", at_least=0, at_most=1)
    warmup_epochs: float = param(2.0, "linear warm-up", unit="epochs", at_least=0)
    accumulate: int = param(
        1, "batches whose gradients make one step, as if they were one batch (but for statistics "
        "and losses across a batch's samples)", at_least=1, at_most=4096,
    )  # fmt: skip
    label_smoothing: float = param(0.0, "label smoothing", at_least=0, at_most=0.9)
    gradient_clip: float = param(0.0, "norm at which gradients are cut; 0: never", at_least=0)
    average: float = param(
        0.0, "decay of the moving average of weights that is kept; 0: the weights themselves",
        at_least=0, at_most=0.99999,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("milestones: schedule 'steps' needs at least one epoch")
        if self.schedule != "steps" and self.milestones:
            raise ValueError("milestones: they are for schedule 'steps'")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected them to rise, got {self.milestones}")
        if self.schedule != "cosine" and self.final_learning_rate:
            raise ValueError("final_learning_rate: it is for schedule 'cosine'")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate: {self.final_learning_rate:g} is above the peak, "
                f"learning_rate {self.learning_rate:g}"
            )
        if self.kind != "sgd" and self.momentum != OptimiserConfig.momentum:
            raise ValueError("momentum: it is for kind 'sgd'")
        if self.schedule != "steps" and self.gamma != OptimiserConfig.gamma:
            raise ValueError("gamma: it is for schedule 'steps'")

    def check_epochs(self, epochs: int) -> None:
        """Raises ValueError if the schedule is longer than a run of so many epochs.

        A warm-up of the default length is let pass, so that a run may be cut to one epoch.
        """
        if self.milestones and self.milestones[-1] > epochs:
            raise ValueError(
                f"optimiser: milestones: {self.milestones[-1]} is beyond the run's {epochs} epochs"
            )
        if self.warmup_epochs > max(epochs, OptimiserConfig.warmup_epochs):
            raise ValueError(
                f"optimiser: warmup_epochs: {self.warmup_epochs:g} are more than "
                f"the run's {epochs} epochs"
            )


@dataclass(frozen=True)
class ComputeConfig:
    """What is computed on, and how exactly."""

    device: str = param(
        "auto", "where; auto: on a GPU if there is one", choices=("auto", "cpu", "cuda")
    )
    precision: str = param(
        "float32", "of the products while training; float16 needs a GPU",
        choices=("float32", "bfloat16", "float16"),
    )  # fmt: skip
    loaders: int = param(
        0, "threads that make batches ahead of their use, or processes where a GPU computes; 0: "
        "two threads, or six processes if there are cores for them",
        at_least=0, at_most=64,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What every training has; a kind of training that means more by a field says so again."""

    name: str = param(MISSING, "the run's name: its folder under out/train, its files' names")
    architecture: str = param(MISSING, "the kind of the point encoder, or of the whole model")
    model: str = param(MISSING, "YAML file with its sizes")
    data: DataConfig = param(MISSING, "the data set; image_size is that of the prepared images")
    clip: ClipConfig = param(MISSING, "the clip")
    preprocess: PreprocessConfig = param(MISSING, "from clouds and images to what models see")
    epochs: int = param(MISSING, "passes over the training videos", at_least=1)
    batch_size: int = param(MISSING, "clips in a batch", at_least=2)
    sampling: SamplingConfig = param(SamplingConfig(), "clips")
    optimiser: OptimiserConfig = param(OptimiserConfig(), "optimiser")
    compute: ComputeConfig = param(ComputeConfig(), "device and precision")
    seed: int = param(0, "seed of everything random", at_least=0, at_most=2**31 - 1)
    threads: int = param(0, "CPU threads; 0: as many as there are cores", at_least=0)
    fast_products: bool = param(
        False, "let a CPU that can compute products of float32 in bfloat16 do so while training"
    )
    validate_every: int = param(5, "epochs between looks at the hold-out", at_least=1)

    def __post_init__(self) -> None:
        self.optimiser.check_epochs(self.epochs)

    def _check_images(self, whose: str) -> None:
        """Raises ValueError where no images are prepared. whose: the method that needs them."""
        if not self.data.image_size:
            raise ValueError(
                f"data.image_size: no images are prepared without it, and {whose} needs them; "
                f"give height and width, of {self.preprocess.image_size} or a little more"
            )


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(RunConfig):
    """One run of training/finetune.py."""

    task: str = param("action_recognition", "what is labelled: videos, frames or points",
                      choices=TASKS)  # fmt: skip
    left_out: tuple[str, ...] = param(
        (), "actions that are not trained on, for a run of align.py that leaves out the same"
    )
    encoder_rate: float = param(
        1.0, "learning rate of an encoder that --init gives, as a share of its classifier's, which "
        "knows nothing yet",
        at_least=0, at_most=1,
    )  # fmt: skip
    epochs: int = param(60, "passes over the training videos", at_least=1)
    batch_size: int = param(
        16, "clips in a batch; an epoch is cut into equal batches of this or a few more", at_least=2
    )
    augment: AugmentConfig = param(AugmentConfig(), "augmentation where it sees points")
    image_view: ImageViewConfig = param(
        ImageViewConfig(), "augmentation where the model sees images"
    )
    background: tuple[str, ...] = param(
        (), "classes of points that stand around: a closer look at a room leaves them out"
    )
    colours: tuple[str, ...] = param(
        (), "what each class is drawn in, as in 'wall=#b0b0b0'; without, colours far apart"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left_out and self.task != "action_recognition":
            raise ValueError("left_out: it is for the task action_recognition")

    def colours_of(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The colours in the order of the classes; none where none is told.

        Raises ValueError on an unknown class, and where one is left out.
        """
        told = dict(one.split("=", 1) for one in self.colours if "=" in one)
        if self.colours and (set(told) != set(classes) or len(told) != len(self.colours)):
            raise ValueError(
                f"colours: expected one 'class=#rrggbb' for each of {', '.join(classes)}; "
                f"got {', '.join(self.colours)}"
            )
        return tuple(told[name] for name in classes) if told else ()
