"""Align an encoder of clouds with texts: python training/align.py --config config/training/....yaml

VG4D, section III-B: the encoder (begun with what finetune.py or pretrain.py has made, --init) is
drawn to the videos and texts of a frozen X-CLIP. The run lives in out/train/<name>, as those of
finetune.py do; at its end there is <name>.safetensors, with the weights of all four scores in it,
and, where X-CLIP was fine-tuned first, the folder video_text, an X-CLIP for the recognizer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError, command
from fourd_perception.models.aligned import AlignedConfig, AlignedModel
from fourd_perception.models.video_text import VideoTextScorer, prompt_of
from fourd_perception.parameters import load_yaml, to_mapping
from training import command_line, tasks
from training.align_clips import AlignBatch, joined, training_clip
from training.align_config import AlignConfig
from training.aligned_with import begin_encoder, load_scorer
from training.alignment_losses import Aligned, alignment_loss
from training.data import split
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import Processes
from training.fit_fusion import fit
from training.identity import identity
from training.pretrain_figures import Means
from training.run_folder import (
    batch_numbers,
    begin,
    check_negatives,
    clip_random,
    opened,
    steps_in_epoch,
)
from training.seen import refuse_seen
from training.source_scores import accuracies, source_logits
from training.trainer import Trainer
from training.xclip_weights import VIDEO_TEXT, digest, history, write_folder


@dataclass(frozen=True)
class Labels:
    """The classes that are trained on, and the number of each of the data set's among them."""

    classes: tuple[str, ...]
    numbers: dict[int, int]

    def of(self, chosen: Sequence[Video]) -> NDArray[np.int64]:
        """(V,) int64: the class of each video, or NO_LABEL."""
        return np.array([self.numbers.get(video.label, NO_LABEL) for video in chosen], np.int64)


def labels_of(videos: PreparedVideos, config: AlignConfig) -> Labels:
    """All classes but those left out. Raises InputError if one of these is none."""
    everything = tasks.label_names(videos, "action_recognition")
    unknown = set(config.left_out) - set(everything)
    if unknown:
        raise InputError(
            f"left_out: {', '.join(sorted(unknown))} not among the classes, which are "
            f"{', '.join(everything)}"
        )
    kept = [number for number, name in enumerate(everything) if name not in config.left_out]
    return Labels(
        tuple(everything[number] for number in kept),
        {number: place for place, number in enumerate(kept)},
    )


def build_model(
    config: AlignConfig, classes: Sequence[str], scorer: VideoTextScorer
) -> AlignedModel:
    """The model with random weights, and the scorer's features of the classes' texts.

    Raises InputError if the encoder cannot take clips of the configuration, or prompts do not fit.
    """
    prompts = config.video_text.prompts or tuple(map(prompt_of, classes))
    if len(prompts) != len(classes):
        raise InputError(
            f"video_text.prompts: {len(prompts)} texts for {len(classes)} classes "
            f"({', '.join(classes)}): give one for each"
        )
    kind = models.architecture(config.architecture)
    sizes = AlignedConfig(
        encoder=config.architecture,
        encoder_sizes=to_mapping(load_yaml(kind.config, config.model)),
        embed_dim=scorer.embed_dim,
        logit_scale=config.loss.logit_scale or scorer.logit_scale,
        prompts=prompts,
        text_model=scorer.name,
        visual=scorer.visual_digest(),
        conditioned=config.video_text.conditioned,
        image_frames=scorer.frames,
    )
    torch.manual_seed(config.seed)
    model = models.build("aligned", to_mapping(sizes), len(classes))
    model.check_input(config.clip.frames, config.preprocess.points)
    aligned = cast(AlignedModel, model)
    aligned.set_texts(scorer.text_features(prompts))
    return aligned


def epoch_batches(
    videos: PreparedVideos,
    chosen: Sequence[Video],
    config: AlignConfig,
    epoch: int,
    frames: int,
    labels: Labels,
    processes: Processes | None = None,
) -> list[Callable[[], AlignBatch]]:
    """An epoch's clips in random order, `frames` images each; a batch is made when it is called.

    Of several processes each makes its share of every batch.
    """
    alone_or_shared = processes or Processes()

    def make(numbers: NDArray[np.int64]) -> AlignBatch:
        clips = [
            training_clip(
                videos, chosen[number % len(chosen)], config, frames,
                clip_random(config, epoch, number),
            )
            for number in alone_or_shared.shard(numbers.tolist())
        ]  # fmt: skip
        return joined(clips, labels.numbers)

    return [partial(make, numbers) for numbers in batch_numbers(chosen, config, epoch)]


def align(
    config: AlignConfig, folder: Path, *, fresh: bool = False, init: Path | None = None
) -> Path:
    """Train to the end; returns the checkpoint's path.

    Goes on from `folder/state.pt` if it is there, unless `fresh`. Under torchrun, in all processes.
    init: a checkpoint of finetune.py, or the weights of pretrain.py, that the encoder begins with.
    Raises InputError, before anything is trained, on what does not fit, and on weights that have
    seen videos that are held out.
    """
    with opened(config, folder) as (processes, videos):
        return _align(config, folder, videos, fresh, init, processes)


def _align(
    config: AlignConfig,
    folder: Path,
    videos: PreparedVideos,
    fresh: bool,
    init: Path | None,
    processes: Processes,
) -> Path:
    labels = labels_of(videos, config)
    parts = {
        name: [video for video in part if video.label in labels.numbers]
        for name, part in split(videos, config.data).items()
    }
    check_videos(videos, parts, config)
    scorer, weights = load_scorer(config.video_text, config.preprocess.image_size)
    scorer.to(processes.device)
    model = build_model(config, labels.classes, scorer)
    begun = None
    if init is not None:
        begin_encoder(model.encoder, init, config, labels.classes, says=processes.is_main)
        begun = digest(init)
    for before in (init, config.video_text.finetuned):
        if before:
            refuse_seen(Path(before), config.data, parts["holdout"])
    means = Means()

    def loss(model: nn.Module, batch: AlignBatch) -> Tensor:
        torch.set_float32_matmul_precision("medium" if config.fast_products else "highest")
        value, figures = loss_of(cast(AlignedModel, model), scorer, batch, config)
        means.add(figures)
        return value

    def holdout(model: AlignedModel, sizes: AlignedConfig) -> dict[str, float]:
        if not parts["holdout"]:
            return {}
        said = source_logits(model, scorer, videos, parts["holdout"], config)
        found = accuracies(said, labels.of(parts["holdout"]), sizes.fusion)
        return {f"holdout_{name}": value for name, value in found.items()}

    def validate(model: AlignedModel, epoch: int) -> dict[str, float]:
        due = epoch % config.validate_every == 0 or epoch == config.epochs
        return means.take() | (holdout(model, model.config) if due else {})

    run = Trainer(
        model, loss, config.optimiser, folder,
        epochs=config.epochs,
        steps_per_epoch=steps_in_epoch(parts["train"], config),
        seed=config.seed,
        identity=identity(
            config, sizes=to_mapping(model.config), classes=labels.classes,
            videos=len(videos.videos), initial_weights=begun, video_text_weights=weights,
        ),
        compute=config.compute, processes=processes,
    )  # fmt: skip
    path = folder / f"{config.name}.safetensors"
    if not begin(run, config, path, fresh=fresh):
        return path
    batches = partial(
        epoch_batches, videos, parts["train"], config,
        frames=scorer.frames, labels=labels, processes=processes,
    )  # fmt: skip
    run.fit(batches, validate)
    if processes.is_main:
        card = model_card(config, model.config, labels.classes, parts["train"], init)
        # Under its name only when it is measured: what has that name is finished.
        new = path.with_name(path.name + ".new")
        checkpoint.save(new, run.result, card)
        # Of the weights as they are in the file, in half precision.
        loaded = cast(AlignedModel, checkpoint.load(new, processes.device).model)
        sizes, figures = fitted(loaded, scorer, videos, parts["holdout"], labels, config)
        figures |= holdout(loaded, sizes)
        checkpoint.replace_card(new, replace(card, model=to_mapping(sizes), accuracy=figures))
        if config.video_text.finetuned:
            write_folder(Path(config.video_text.folder), scorer, folder / VIDEO_TEXT)
        new.replace(path)
        print(path)
    return path


def loss_of(
    model: AlignedModel, scorer: VideoTextScorer, batch: AlignBatch, config: AlignConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """Equation 6 of a batch, (), with its gradient; and its terms, (), without."""
    features = model.encode(batch.clips)
    drawn = features.video.detach() if config.loss.stop_encoder else features.video
    video = scorer.video_features(batch.images)
    compared = Aligned(
        points=model.embed(drawn),
        videos=video.video,
        texts=model.texts,
        pc_logits=model.classify(features),
        rgb_logits=model.rgb_logits(video),
    )
    terms = alignment_loss(compared, batch.labels, model.config.logit_scale, config.loss)
    return terms.total(config.loss), {name: one.detach() for name, one in terms.kept.items()}


def fitted(
    model: AlignedModel,
    scorer: VideoTextScorer,
    videos: PreparedVideos,
    holdout: Sequence[Video],
    labels: Labels,
    config: AlignConfig,
) -> tuple[AlignedConfig, dict[str, float]]:
    """The model's configuration with its fusion fitted on the hold-out, and calibration errors."""
    if not holdout:
        return model.config, {}
    said = source_logits(model, scorer, videos, holdout, config)
    found = fit(said, labels.of(holdout), config.fusion)
    return replace(model.config, fusion=found.config), found.figures


def check_videos(
    videos: PreparedVideos, parts: dict[str, list[Video]], config: AlignConfig
) -> None:
    """Raises InputError if there are too few videos with a label, or they have no images."""
    if not parts["train"]:
        raise InputError(f"{config.data.prepared}: no training video has a label: take other data")
    check_negatives(parts["train"], config)
    if config.fusion != "equal" and not parts["holdout"]:
        raise InputError(f"fusion: '{config.fusion}' is fitted on the hold-out, which is empty")
    first = parts["train"][0]
    if videos.frame(first, 0).image is None:
        raise InputError(
            f"{config.data.prepared}: {first.name} has no images: name another folder in "
            "data.prepared, so that it is made with data.image_size"
        )


def model_card(
    config: AlignConfig,
    sizes: AlignedConfig,
    classes: tuple[str, ...],
    train: Sequence[Video],
    init: Path | None,
) -> checkpoint.ModelCard:
    """What the run's checkpoint says of itself."""
    tuned = config.video_text.finetuned
    return checkpoint.ModelCard(
        name=config.name,
        architecture="aligned",
        task="action_recognition",
        classes=classes,
        model=to_mapping(sizes),
        clip=config.clip,
        preprocess=config.preprocess,
        trained_on={
            "method": "vg4d",
            "dataset": config.data.dataset,
            "protocol": config.data.protocol,
            "videos": len(train),
            "groups": sorted({video.group for video in train}),
            "left_out": list(config.left_out),
            "epochs": config.epochs,
            "seed": config.seed,
            "loss": to_mapping(config.loss),
            **({} if init is None else {"initial_weights": history(init)}),
            **({"video_text": history(Path(tuned))} if tuned else {}),
        },
        accuracy={},
    )


@command
def main() -> int:
    """The command line."""
    asked = command_line.parse(
        AlignConfig, __doc__.splitlines()[0] if __doc__ else "",
        files="config/training/align_*", example="loss.alpha=0",
        init="begin with this encoder: a checkpoint of finetune.py, or what pretrain.py leaves",
    )  # fmt: skip
    align(asked.config, asked.folder, fresh=asked.fresh, init=asked.init)
    return 0


if __name__ == "__main__":
    sys.exit(main())
