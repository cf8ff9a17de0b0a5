"""What a training run is: everything that `config/training/*.yaml` may say."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from fourd_perception.parameters import param
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the videos come from, and who is kept out of training."""

    dataset: str = param(MISSING, "its name", choices=("msr_action3d", "studio"))
    root: str = param("", "folder of the raw release; the studio needs none")
    prepared: str = param(MISSING, "folder of the prepared form; made if it is not there")
    holdout: tuple[str, ...] = param(
        (), "groups (subjects) of the training split that are kept for choosing, not trained on"
    )
    recordings: int = param(64, "studio: recordings to train on", at_least=1)
    test_recordings: int = param(8, "studio: recordings of unseen seeds", at_least=1)


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


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training clip, one draw for all its frames."""

    scale: float = param(0.1, "each axis is scaled by 1 +- this", at_least=0, at_most=0.9)
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
    warmup_epochs: float = param(2.0, "linear warm-up", unit="epochs", at_least=0)
    label_smoothing: float = param(0.0, "label smoothing", at_least=0, at_most=0.9)
    gradient_clip: float = param(0.0, "norm at which gradients are cut; 0: never", at_least=0)
    average: float = param(
        0.0, "decay of the moving average of weights that is kept; 0: the weights themselves",
        at_least=0, at_most=0.99999,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One run of training/finetune.py."""

    name: str = param(MISSING, "the run's name: its folder under out/train, its model's name")
    architecture: str = param(MISSING, "the model's kind")
    model: str = param(MISSING, "YAML file with the model's sizes")
    data: DataConfig = param(MISSING, "the data set")
    clip: ClipConfig = param(MISSING, "the clip")
    preprocess: PreprocessConfig = param(MISSING, "from a cloud to the model's input")
    epochs: int = param(60, "passes over the training videos", at_least=1)
    batch_size: int = param(
        16, "clips in a step; an epoch is cut into equal steps of this or a few more", at_least=2
    )
    sampling: SamplingConfig = param(SamplingConfig(), "clips")
    augment: AugmentConfig = param(AugmentConfig(), "augmentation")
    optimiser: OptimiserConfig = param(OptimiserConfig(), "optimiser")
    task: str = param("action_recognition", "the task", choices=("action_recognition",))
    seed: int = param(0, "seed of everything random", at_least=0)
    threads: int = param(0, "CPU threads; 0: as many as there are cores", at_least=0)
    fast_products: bool = param(
        False, "let a CPU that can compute float32 matrix products in bfloat16 do so while training"
    )
    validate_every: int = param(5, "epochs between looks at the hold-out", at_least=1)
