"""What each of two processes does in test_crossvideo.py; and alone, what it is compared with.

python -m torch.distributed.run --nproc_per_node 2 shared_crossvideo.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fourd_perception.errors import InputError
from fourd_perception.models import VideoModel
from fourd_perception.models.video_model import Features
from training import learning_curve
from training.config import ComputeConfig, OptimiserConfig
from training.crossvideo import CrossBatch, CrossVideo, ProjectionConfig
from training.distributed import Processes, joined
from training.losses import CrossVideoConfig, Projected, crossvideo_loss
from training.trainer import Trainer
from training.views import ViewConfig, view

SAMPLES, FRAMES, POINTS, SIZE = 5, 9, 64, 4
CONFIGS = {
    "printed": CrossVideoConfig(),
    "every way": CrossVideoConfig(frame_negatives="all_frames", symmetric=True, temperature=0.3),
}


class TinyImages(nn.Module):
    """Stands in for an image encoder: what a frame's colours are, and nothing of other frames."""

    feature_channels = 10

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * SIZE * SIZE, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, images: Tensor) -> Features:
        frames = self.layers(images.flatten(2))
        return Features(frames.amax(1), frames)


def case_named(name: str):
    from model_cases import CASES

    return next(case for case in CASES if case.name == name)


def model_of(
    name: str, config: CrossVideoConfig = CONFIGS["printed"], clips_at_once: int = 0
) -> CrossVideo:
    encoder: VideoModel = case_named(name).build()
    torch.manual_seed(1)
    return CrossVideo(encoder, TinyImages(), config, ProjectionConfig(channels=8), clips_at_once)


def cross_batch(count: int, seed: int = 0) -> CrossBatch:
    """So many clips, each of a cloud of its own size, moved and thinned out, and of its own colour.

    seed: of the views.
    """
    of_clips = np.random.default_rng(7)
    random = np.random.default_rng(seed)
    clouds = of_clips.random((count, FRAMES, POINTS, 3), np.float32)
    clouds *= np.linspace(0.4, 1.6, count, dtype=np.float32)[:, None, None, None]
    colours = of_clips.random((count, 1, 3, 1, 1), np.float32)
    noise = of_clips.normal(0, 0.02, (count, FRAMES, 3, SIZE, SIZE)).astype(np.float32)
    views = [view(clip, ViewConfig(every=2), random) for clip in clouds]
    everything = torch.arange(FRAMES).expand(count, -1)
    return CrossBatch(
        clips=torch.from_numpy(clouds),
        labels=torch.full((count,), -1),
        names=tuple(f"clip {number}" for number in range(count)),
        second=torch.from_numpy(np.stack([one.points for one in views])),
        images=torch.from_numpy(colours + noise),
        frames=everything,
        second_frames=torch.from_numpy(np.stack([one.frames for one in views])),
        image_frames=everything,
    )


def share(batch: CrossBatch, processes: Processes) -> CrossBatch:
    mine = processes.shard(range(len(batch.clips)))
    part = slice(mine.start, mine.stop)
    tensors = {name: one[part] for name, one in vars(batch).items() if isinstance(one, Tensor)}
    return CrossBatch(**tensors, names=batch.names[part])


def streams() -> list[Tensor]:
    """Frames and video of two views and the images, of 5 clips at 3 moments."""
    random = torch.Generator().manual_seed(3)
    return [
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for _ in range(3) for shape in ((SAMPLES, 3, 4), (SAMPLES, 4))
    ]  # fmt: skip


def contrasted(config: CrossVideoConfig, processes: Processes, count: int = SAMPLES):
    """The total and every term of this process's clips, and the gradients of them."""
    mine = processes.shard(range(count))
    own = [one[mine.start : mine.stop].clone().requires_grad_() for one in streams()]
    terms = crossvideo_loss(*map(Projected, own[::2], own[1::2]), config)
    weighed = terms.total * len(mine) / count
    weighed.backward()
    values = {
        name: torch.tensor(processes.sum(float(term.detach()) * len(mine) / count))
        for name, term in terms.kept.items()
    }
    return values | {f"gradient {number}": one.grad for number, one in enumerate(own)}


def refused(processes: Processes) -> str:
    """What is said where one clip's features, the last process's, are no numbers."""
    mine = processes.shard(range(SAMPLES))
    own = streams()
    own[3][4, 1] = torch.nan
    own = [one[mine.start : mine.stop] for one in own]
    try:
        crossvideo_loss(*map(Projected, own[::2], own[1::2]), CONFIGS["printed"])
    except InputError as error:
        return str(error)
    return "nothing"


def learnt(name: str, folder: Path, processes: Processes) -> dict[str, Tensor]:
    """Gradients and weights after one step of the optimiser, and the loss."""
    run = Trainer(
        model_of(name, CONFIGS["every way"]),
        lambda model, batch: model(batch)[0],
        OptimiserConfig(kind="sgd", learning_rate=0.05, warmup_epochs=0.0),
        folder, epochs=1, steps_per_epoch=1, seed=0, identity={"name": "shared"},
        compute=ComputeConfig(device="cpu"), processes=processes,
    )  # fmt: skip
    run.fit(lambda epoch: [lambda: share(cross_batch(SAMPLES), processes)], lambda *_: {})
    found = {
        f"gradient of {key}": one.grad
        for key, one in run.model.named_parameters() if one.grad is not None
    }  # fmt: skip
    return found | {key: one.clone() for key, one in run.model.state_dict().items()}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    # Neither is what this is about, and both take seconds.
    sys.modules["torch.utils.tensorboard"] = None  # type: ignore[assignment]
    learning_curve.draw = lambda *_, **__: Path()
    with joined("cpu") as processes:
        found: dict[str, object] = {
            name: contrasted(config, processes) for name, config in CONFIGS.items()
        }
        found["one each"] = contrasted(CONFIGS["printed"], processes, 2)
        found["refused"] = refused(processes)
        for name in ("im_pstnet", "p4_transformer"):
            found[name] = learnt(name, folder / name, processes)
        torch.save(found, folder / f"rank{processes.rank}.pt")


if __name__ == "__main__":
    main()
