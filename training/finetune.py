"""Train a model on labelled videos: python training/finetune.py --config config/training/....yaml

The run lives in out/train/<name>: state.pt (from which it goes on if it was stopped),
metrics.jsonl, TensorBoard events, and at the end <name>.safetensors, which the nodes take. With
--init it begins with the encoder that training/pretrain.py has trained without labels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError, command
from fourd_perception.models import ClipModel
from fourd_perception.models.xclip_video import XClipVideoModel
from fourd_perception.parameters import load_yaml, to_mapping
from training import command_line, initial_weights, scoring, tasks, xclip_weights
from training.config import FinetuneConfig
from training.data import split
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import Processes
from training.identity import identity
from training.image_views import ImageClip, cut_image_clip
from training.left_out import without
from training.run_folder import batch_numbers, begin, clip_random, opened, steps_in_epoch
from training.seen import refuse_seen
from training.trainer import Batch, Trainer
from training.transforms import Clip, augment, cut_clip, segment_indices, window_indices


def build_model(config: FinetuneConfig, classes: int) -> tuple[ClipModel, dict[str, object]]:
    """The model with random weights, and its sizes as the card keeps them."""
    sizes = to_mapping(load_yaml(models.architecture(config.architecture).config, config.model))
    torch.manual_seed(config.seed)
    model = models.build_any(config.architecture, sizes, classes)
    model.check_input(config.clip.frames, config.preprocess.points)
    if model.task != config.task:
        raise InputError(
            f"{config.model}: a model for {model.task}, but the task is {config.task}: "
            "take another model, or change the task"
        )
    return model, sizes


def epoch_batches(
    videos: PreparedVideos,
    chosen: Sequence[Video],
    config: FinetuneConfig,
    epoch: int,
    processes: Processes | None = None,
) -> list[Callable[[], Batch]]:
    """An epoch's training clips in random order; each batch is made when it is called.

    Of several processes each makes its share of every batch.
    """
    alone_or_shared = processes or Processes()
    sees_images = config.architecture in models.IMAGE_ARCHITECTURES
    step = scoring.video_step(videos, config.clip)

    def cut(number: int) -> tuple[Clip | ImageClip, Video]:
        video = chosen[number % len(chosen)]
        random = clip_random(config, epoch, number)
        as_window = random.random() < config.sampling.window_share
        if as_window or config.task != "action_recognition":
            speed = config.sampling.speed ** random.uniform(-1, 1)
            indices = window_indices(video.frames, config.clip.frames, step * speed, random)
        else:
            indices = segment_indices(video.frames, config.clip.frames, random)
        if sees_images:
            size = config.preprocess.image_size
            return cut_image_clip(videos, video, indices, size, config.image_view, random), video
        clip = cut_clip(videos, video, indices, config.preprocess, random)
        return replace(clip, points=augment(clip.points, config.augment, random)), video

    def make(numbers: NDArray[np.int64]) -> Batch:
        pairs = [cut(number) for number in alone_or_shared.shard(numbers.tolist())]
        if all(isinstance(clip, Clip) and clip.is_empty for clip, _ in pairs):
            raise InputError(
                f"no point of {', '.join(video.name for _, video in pairs)[:80]} is inside of "
                f"preprocess.crop {list(config.preprocess.crop)}: is it in metres, of the camera's "
                "own frame?"
            )
        clips = np.stack([clip.content for clip, _ in pairs])
        labels = np.stack([tasks.labels(clip, video, config.task) for clip, video in pairs])
        names = tuple(video.name for _, video in pairs)
        weight = float((labels != NO_LABEL).sum())
        return Batch(torch.from_numpy(clips), torch.from_numpy(labels), names, weight)

    return [partial(make, numbers) for numbers in batch_numbers(chosen, config, epoch)]


def finetune(
    config: FinetuneConfig, folder: Path, *, fresh: bool = False, init: Path | None = None
) -> Path:
    """Train to the end; returns the checkpoint's path.

    Goes on from `folder/state.pt` if it is there, unless `fresh`. Under torchrun, in all processes.
    init: a file of `initial_weights` that the encoder begins with. Raises InputError, before
    anything is trained, if it does not fit or has seen videos that are held out.
    """
    with opened(config, folder) as (processes, videos):
        return _finetune(config, folder, videos, fresh, init, processes)


def _finetune(
    config: FinetuneConfig,
    folder: Path,
    videos: PreparedVideos,
    fresh: bool,
    init: Path | None,
    processes: Processes,
) -> Path:
    videos = without(videos, config.left_out)
    parts = split(videos, config.data)
    classes = tasks.label_names(videos, config.task)
    model, sizes = build_model(config, len(classes))
    if not any(tasks.labelled(video, config.task) for video in parts["train"]):
        raise InputError(
            f"{config.data.prepared}: none of {len(parts['train'])} training videos has a label "
            f"for {config.task}: take another task or data set"
        )
    begun = None
    if init is not None:
        begun = begin_with(model, init, config, sizes, processes.is_main, classes)
        refuse_seen(init, config.data, parts["holdout"])
    elif isinstance(model, XClipVideoModel):
        raise InputError(
            "xclip_video: the classes' texts come from a pre-trained model: --init FOLDER"
        )
    try:
        card = model_card(config, sizes, classes, parts["train"], init)
    except ValueError as error:  # before the hours of training
        raise InputError(f"{config.name}: {error}") from None

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        torch.set_float32_matmul_precision("medium" if config.fast_products else "highest")
        smoothing = config.optimiser.label_smoothing
        return tasks.cross_entropy(model(batch.clips), batch.labels, smoothing)

    def validate(model: ClipModel, epoch: int) -> dict[str, float]:
        due = epoch % config.validate_every == 0 or epoch == config.epochs
        return tasks.holdout_figures(model, videos, parts["holdout"], config) if due else {}

    run = Trainer(
        model, loss, config.optimiser, folder,
        epochs=config.epochs,
        steps_per_epoch=steps_in_epoch(parts["train"], config),
        seed=config.seed,
        identity=identity(
            config, sizes=sizes, classes=classes, videos=len(videos.videos), initial_weights=begun
        ),
        compute=config.compute, processes=processes,
        rate_of=None if init is None else partial(_rate, config),
    )  # fmt: skip
    path = folder / f"{config.name}.safetensors"
    if not begin(run, config, path, fresh=fresh):
        return path
    batches = partial(epoch_batches, videos, parts["train"], config, processes=processes)
    run.fit(batches, validate)
    if processes.is_main:
        # Under its name only when it is measured: what has that name is finished.
        new = path.with_name(path.name + ".new")
        checkpoint.save(new, run.result, card)
        # Of the weights as they are in the file, in half precision.
        loaded = checkpoint.load(new, processes.device).model
        figures = tasks.holdout_figures(loaded, videos, parts["holdout"], config)
        checkpoint.replace_card(new, replace(card, accuracy=figures))
        new.replace(path)
        print(path)
    return path


def _rate(config: FinetuneConfig, name: str) -> float:
    return 1.0 if initial_weights.is_of_classifier(name) else config.encoder_rate


def begin_with(
    model: ClipModel,
    init: Path,
    config: FinetuneConfig,
    sizes: dict[str, object],
    says: bool,
    classes: Sequence[str] = (),
) -> str:
    """Give a model the weights of a file, but for its classifier; returns the file's digest.

    An X-CLIP takes those of a folder, and its features of the classes' texts. says: whether to
    print how many tensors were taken. Raises InputError as `initial_weights.load_into`, and as
    XClipScorer.load.
    """
    if isinstance(model, XClipVideoModel):
        return xclip_weights.begin_with(model, init, classes, says=says)
    loaded = initial_weights.load_into(model, init, config.architecture, sizes, config.preprocess)
    if says:
        kept = f"; not in it, so left as they are: {', '.join(loaded.kept)}" if loaded.kept else ""
        print(f"{len(loaded.taken)} tensors taken from {init}{kept}")
    return xclip_weights.digest(init)


def model_card(
    config: FinetuneConfig,
    sizes: dict[str, object],
    classes: tuple[str, ...],
    train: Sequence[Video],
    init: Path | None = None,
) -> checkpoint.ModelCard:
    """What the run's checkpoint says of itself.

    Raises ValueError on colours, or a background, that do not fit.
    """
    begun: dict[str, object] = {}
    if init is not None:
        begun = {"initial_weights": xclip_weights.history(init)}
    return checkpoint.ModelCard(
        name=config.name,
        architecture=config.architecture,
        task=config.task,
        classes=classes,
        model=sizes,
        clip=config.clip,
        preprocess=config.preprocess,
        trained_on={
            "dataset": config.data.dataset,
            "protocol": config.data.protocol,
            "videos": len(train),
            "groups": sorted({video.group for video in train}),
            **({"left_out": list(config.left_out)} if config.left_out else {}),
            "epochs": config.epochs,
            "seed": config.seed,
            **begun,
        },
        accuracy={},
        colours=config.colours_of(classes),
        background=config.background,
    )


@command
def main() -> int:
    """The command line."""
    asked = command_line.parse(
        FinetuneConfig, __doc__.splitlines()[0] if __doc__ else "",
        files="see config/training", example="optimiser.learning_rate=0.01",
        init="begin with this encoder, <name>_points.safetensors of training/pretrain.py; "
        "xclip_video: with this folder of a pre-trained model",
    )  # fmt: skip
    finetune(asked.config, asked.folder, fresh=asked.fresh, init=asked.init)
    return 0


if __name__ == "__main__":
    sys.exit(main())
