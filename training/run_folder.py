"""What every run does around its training: its processes, its folder, where it goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from fourd_perception.errors import InputError
from fourd_perception.parameters import to_mapping
from fourd_perception.whole_file import written
from training.config import RunConfig
from training.data import open_videos
from training.datasets.prepared import PreparedVideos, Video
from training.distributed import Processes, joined
from training.folder_lock import locked
from training.trainer import Trainer


def batches_in_epoch(chosen: Sequence[Video], config: RunConfig) -> int:
    """How many batches an epoch is cut into."""
    return sum(_batches(part, config) for part in _parts(chosen, config))


def steps_in_epoch(chosen: Sequence[Video], config: RunConfig) -> int:
    """How many steps of the optimiser an epoch has."""
    return -(-batches_in_epoch(chosen, config) // config.optimiser.accumulate)


def batch_numbers(
    chosen: Sequence[Video], config: RunConfig, epoch: int
) -> list[NDArray[np.int64]]:
    """The clips of each batch of an epoch, in random order; clip n is cut from video n modulo V."""
    random = np.random.default_rng([config.seed, epoch])
    batches: list[NDArray[np.int64]] = []
    for part in _parts(chosen, config):
        order = random.permutation(len(part) * config.sampling.clips_per_video)
        order = order[: _clips(part, config)]
        numbers = part[order % len(part)] + order // len(part) * len(chosen)
        batches += np.array_split(numbers, _batches(part, config))
    if config.sampling.one_group:
        random.shuffle(batches)
    return batches


def check_negatives(chosen: Sequence[Video], config: RunConfig) -> None:
    """Raises InputError if a batch would have one clip, which has nothing to be contrasted with."""
    for part in _parts(chosen, config):
        if _clips(part, config) < 2:
            whose = f" of {chosen[part[0]].group}" if config.sampling.one_group else ""
            raise InputError(
                f"{config.data.prepared}: {len(part)} training videos{whose} make a batch of one, "
                "which has no negatives: take more videos, or a larger sampling.epoch_share"
            )


def _parts(chosen: Sequence[Video], config: RunConfig) -> list[NDArray[np.int64]]:
    """The videos' numbers: of all of them, or of each group if none is to share a batch."""
    if not config.sampling.one_group:
        return [np.arange(len(chosen))]
    groups = np.array([video.group for video in chosen])
    return [np.flatnonzero(groups == group) for group in np.unique(groups)]


def _clips(part: NDArray[np.int64], config: RunConfig) -> int:
    sampling = config.sampling
    return max(1, round(len(part) * sampling.clips_per_video * sampling.epoch_share))


def _batches(part: NDArray[np.int64], config: RunConfig) -> int:
    return max(1, _clips(part, config) // config.batch_size)


def clip_random(config: RunConfig, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of one clip, which are its own."""
    return np.random.default_rng([config.seed, epoch, number + 1])  # 0 is the order's


@contextmanager
def opened(config: RunConfig, folder: Path) -> Iterator[tuple[Processes, PreparedVideos]]:
    """The processes of a run, alone in its folder, and its videos.

    PyTorch's threads and the exactness of its products are left as they were found.
    """
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(config.threads or threads)
    try:
        with (
            joined(config.compute.device) as processes,
            locked(folder) if processes.is_main else nullcontext(),
        ):
            with processes.main_first():
                videos = open_videos(config.data, alone=processes.world == 1)
            yield processes, videos
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)


def begin(run: Trainer, config: RunConfig, path: Path, *others: Path, fresh: bool) -> bool:
    """Go on with the run in its folder, or start anew; whether there is anything left to train.

    path: what a finished run has made; others: what it makes besides. Raises InputError if `path`
    is there and the run is not finished.
    """
    if fresh:
        run.forget(path, *others)
    resumed = run.resume()
    if path.exists() and run.epoch < config.epochs:
        raise InputError(
            f"{path}: a run that is not finished would replace it; "
            "use another --out to keep it; --fresh starts anew and deletes it"
        )
    main = run.processes.is_main
    if path.exists():
        if main:
            print(f"finished already: {path}")
        return False
    if resumed and main:
        print(f"going on from epoch {run.epoch} of {config.epochs} in {run.folder}")
    if main:
        with written(run.folder / "config.yaml") as part:
            part.write_text(yaml.safe_dump(to_mapping(config), sort_keys=False), encoding="utf-8")
    return True
