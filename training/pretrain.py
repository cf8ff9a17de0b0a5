"""Train encoders without labels: python training/pretrain.py --config config/training/....yaml

CrossVideo: what two views of a point-cloud video and its image video have in common. The run lives
in out/train/<name>, as those of finetune.py do. At its end there are <name>_points.safetensors,
with which `finetune.py --init` begins, and <name>_images.safetensors; with loss.cross=false, which
wants no images, the points' alone. With --init the point encoder begins with the
<name>_points.safetensors of another run, on other videos, say.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.results_file import write_result
from fourd_perception import models
from fourd_perception.errors import InputError, command
from fourd_perception.models.image_video import ImageVideoConfig, ImageVideoEncoder
from fourd_perception.parameters import load_yaml, to_mapping
from training import command_line, initial_weights, scoring
from training.crossvideo import CrossBatch, CrossVideo, check_views
from training.data import split
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import Processes
from training.identity import identity
from training.initial_weights import EncoderCard
from training.pretrain_clips import joined as joined_clips
from training.pretrain_clips import training_clip
from training.pretrain_config import PretrainConfig
from training.pretrain_figures import Means, holdout_figures
from training.run_folder import (
    batch_numbers,
    begin,
    check_negatives,
    clip_random,
    opened,
    steps_in_epoch,
)
from training.seen import refuse_seen
from training.trainer import Trainer
from training.xclip_weights import digest, history

IMAGE_ARCHITECTURE = "image_video"


def build_model(config: PretrainConfig) -> tuple[CrossVideo, dict[str, dict[str, Any]]]:
    """The model with random weights, and the sizes of its encoders: `points`, and any `images`.

    Raises InputError if the point encoder cannot take clips or views of the configuration.
    """
    kind = models.architecture(config.architecture)
    sizes = {"points": to_mapping(load_yaml(kind.config, config.model))}
    torch.manual_seed(config.seed)
    points = models.build(config.architecture, sizes["points"], classes=1)  # which none will use
    check_views(points, config.clip.frames, config.preprocess.points, config.view)
    images = None
    if config.loss.cross:
        of_images = load_yaml(ImageVideoConfig, config.image_model)
        sizes["images"] = to_mapping(of_images)
        images = ImageVideoEncoder(of_images)
    made = CrossVideo(points, images, config.loss, config.projection, config.clips_at_once)
    return made, sizes


def epoch_batches(
    videos: PreparedVideos,
    chosen: Sequence[Video],
    config: PretrainConfig,
    epoch: int,
    processes: Processes | None = None,
) -> list[Callable[[], CrossBatch]]:
    """An epoch's clips in random order; each batch is made when it is called.

    Of several processes each makes its share of every batch.
    """
    alone_or_shared = processes or Processes()

    def make(numbers: NDArray[np.int64]) -> CrossBatch:
        return joined_clips(
            [
                training_clip(
                    videos, chosen[number % len(chosen)], config,
                    clip_random(config, epoch, number),
                )
                for number in alone_or_shared.shard(numbers.tolist())
            ]
        )  # fmt: skip

    return [partial(make, numbers) for numbers in batch_numbers(chosen, config, epoch)]


def pretrain(
    config: PretrainConfig,
    folder: Path,
    *,
    fresh: bool = False,
    init: Path | None = None,
    judged: bool = False,
) -> Path:
    """Train to the end; returns the path of the point encoder's weights.

    Goes on from `folder/state.pt` if it is there, unless `fresh`. Under torchrun, in all processes.
    init: a file of `initial_weights` that the point encoder begins with. Raises InputError, before
    anything is trained, if it does not fit or has seen videos that are held out, on what cannot be
    learnt from, or, if it is to be `judged`, on too few videos held out to judge it by.
    """
    with opened(config, folder) as (processes, videos):
        parts = split(videos, config.data)
        if judged and len(parts["holdout"]) < 2:
            raise InputError(
                f"--results: {len(parts['holdout'])} videos are held out, and it is judged by "
                "those: name groups in data.holdout"
            )
        return _pretrain(config, folder, videos, parts, fresh, init, processes)


def _pretrain(
    config: PretrainConfig,
    folder: Path,
    videos: PreparedVideos,
    parts: dict[str, list[Video]],
    fresh: bool,
    init: Path | None,
    processes: Processes,
) -> Path:
    check_videos(videos, parts, config)
    model, sizes = build_model(config)
    begun: dict[str, Any] = {}
    if init is not None:
        begun = begin_with(model, init, config, sizes["points"], parts["holdout"])
        if processes.is_main:
            print(f"the point encoder begins with {init}")
    means = Means()

    def loss(model: nn.Module, batch: CrossBatch) -> Tensor:
        torch.set_float32_matmul_precision("medium" if config.fast_products else "highest")
        value, figures = model(batch)
        means.add(figures)
        return value

    def figures(model: nn.Module) -> dict[str, float]:
        learnt = cast(CrossVideo, model)
        return holdout_figures(learnt, videos, parts["holdout"], parts["train"], config)

    def validate(model: CrossVideo, epoch: int) -> dict[str, float]:
        due = epoch % config.validate_every == 0 or epoch == config.epochs
        return means.take() | (figures(model) if due else {})

    run = Trainer(
        model, loss, config.optimiser, folder,
        epochs=config.epochs,
        steps_per_epoch=steps_in_epoch(parts["train"], config),
        seed=config.seed,
        identity=identity(config, sizes=sizes, videos=len(videos.videos), **begun),
        compute=config.compute, processes=processes,
    )  # fmt: skip
    kinds = {"images": IMAGE_ARCHITECTURE, "points": config.architecture}
    products = {branch: folder / f"{config.name}_{branch}.safetensors" for branch in kinds}
    path = products["points"]
    if not begin(run, config, path, products["images"], fresh=fresh):
        return path
    batches = partial(epoch_batches, videos, parts["train"], config, processes=processes)
    run.fit(batches, validate)
    if processes.is_main:
        measured = figures(run.result)
        # The points last: with them it is finished.
        for branch in (one for one in kinds if one in sizes):
            card = _card(config, kinds[branch], sizes[branch], parts, measured, init)
            initial_weights.save(products[branch], getattr(run.result, branch), card)
            print(products[branch])
    return path


def begin_with(
    model: CrossVideo,
    init: Path,
    config: PretrainConfig,
    sizes: Mapping[str, Any],
    holdout: Sequence[Video],
) -> dict[str, Any]:
    """Give the point encoder the weights of a file; returns what they add to a run's identity.

    Raises InputError as `initial_weights.load_into`, and as `refuse_seen`.
    """
    refuse_seen(init, config.data, holdout)
    initial_weights.load_into(model.points, init, config.architecture, sizes, config.preprocess)
    return {"initial_weights": digest(init)}


def check_videos(
    videos: PreparedVideos, parts: dict[str, list[Video]], config: PretrainConfig
) -> None:
    """Raises InputError if there are too few videos, they lack images, or clips do not fit."""
    scoring.video_step(videos, config.clip)
    check_negatives(parts["train"], config)
    if not config.loss.cross:
        return
    for video in [part[0] for part in parts.values() if part]:
        if videos.frame(video, 0).image is None:
            raise InputError(
                f"{config.data.prepared}: {video.name} has no images: name another folder in "
                "data.prepared, so that it is made with data.image_size"
            )


def _card(
    config: PretrainConfig,
    architecture: str,
    sizes: dict[str, Any],
    parts: dict[str, list[Video]],
    figures: dict[str, float],
    init: Path | None,
) -> EncoderCard:
    return EncoderCard(
        name=config.name,
        architecture=architecture,
        model=sizes,
        clip=config.clip,
        preprocess=config.preprocess,
        trained_on={
            "method": "crossvideo",
            "dataset": config.data.dataset,
            "protocol": config.data.protocol,
            "videos": len(parts["train"]),
            "holdout_videos": len(parts["holdout"]),
            "groups": sorted({video.group for video in parts["train"]}),
            "epochs": config.epochs,
            "seed": config.seed,
            "figures": figures,
            **({} if init is None else {"initial_weights": history(init)}),
        },
    )


def record(config: PretrainConfig, card: EncoderCard, path: str) -> None:
    """Write the figures of the videos held out, as the encoder's card has them."""
    held_out, trained_on = card.trained_on["holdout_videos"], card.trained_on
    retrieval = (
        "; holdout_retrieval: percent of the held-out clips of points whose own images are the "
        "nearest of all, _points: the other way round; retrieval_chance: what a guess gets"
    )
    write_result(
        path,
        name=config.name,
        command=shlex.join(["python", *sys.argv]),
        data=f"{config.data.dataset}, {held_out} clips that are held out: "
        + (", ".join(config.data.holdout) or "the protocol's"),
        protocol=f"CrossVideo, {card.architecture}, {config.epochs} epochs on "
        f"{trained_on['videos']} clips without labels{_begun(trained_on)}"
        + (retrieval if config.loss.cross else ""),
        seeds=[config.seed],
        figures={
            **{name: round(value, 3) for name, value in trained_on["figures"].items()},
            **({"retrieval_chance": round(100 / held_out, 3)} if config.loss.cross else {}),
        },
    )


def _begun(trained_on: Mapping[str, Any]) -> str:
    before = trained_on.get("initial_weights")
    return f", begun with {before['name']}, of {before['dataset']}" if before else ""


@command
def main() -> int:
    """The command line."""
    asked = command_line.parse(
        PretrainConfig, __doc__.splitlines()[0] if __doc__ else "",
        files="config/training/crossvideo_*", example="loss.temperature=0.1",
        init="begin the point encoder with this one, <name>_points.safetensors of another run",
        results="write the figures of the clips held out to this file",
    )  # fmt: skip
    path = pretrain(
        asked.config, asked.folder, fresh=asked.fresh, init=asked.init, judged=bool(asked.results)
    )
    if asked.results:
        record(asked.config, initial_weights.read_card(path), asked.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
