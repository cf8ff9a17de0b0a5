"""CrossVideo: points and images of one video learn from each other (section III)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fourd_perception.errors import InputError
from fourd_perception.models import VideoModel
from fourd_perception.models.batch_norm import rectified
from fourd_perception.models.linear import Linear
from fourd_perception.models.video_model import Features
from fourd_perception.parameters import param
from training.losses import CrossVideoConfig, Projected, crossvideo_loss
from training.trainer import Batch
from training.views import ViewConfig, frames_kept


@dataclass(frozen=True)
class ProjectionConfig:
    """The two projection heads."""

    hidden: int = param(
        0, "channels inside; 0: as many as the encoder's features, as in CrossPoint", at_least=0
    )
    channels: int = param(
        256,
        "of the space in which is contrasted; the paper says 256 of the heads, and 2048 of 'the "
        "features used to calculate the contrastive loss', which we take for the encoders' own",
        at_least=1,
    )
    norm: bool = param(
        True,
        "normalise over the batch between the layers, as CrossPoint does; the paper does not say. "
        "Without it, features that begin almost parallel (a transformer's do) can stay so, at the "
        "loss of a guess",
    )


@dataclass(frozen=True, kw_only=True)
class CrossBatch(Batch):
    """Clips of points in two views, and their images where these are contrasted with them.

    clips: (B, L, N, 3) float32, the first view; second: (B, L2, N, 3), the second.
    images: (B, L3, 3, H, W) float32. frames (B, L), second_frames (B, L2), image_frames (B, L3):
    int64, rising in each row: which frames of the same clip these are.
    Raises InputError if they do not fit together, or a coordinate is no number.
    """

    second: Tensor
    frames: Tensor
    second_frames: Tensor
    images: Tensor | None = None
    image_frames: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.images is None) != (self.image_frames is None):
            raise InputError("images and the numbers of their frames belong together")
        for name, stream, frames in self.streams:
            if stream.shape[:2] != frames.shape or len(stream) != len(self.clips):
                raise InputError(
                    f"{name}: {tuple(stream.shape[:2])} clips and frames, for frame numbers "
                    f"{tuple(frames.shape)} and {len(self.clips)} clips of points"
                )
        if self.clips.device.type == "cpu":  # on a GPU each look would wait for it
            for number in range(len(self.clips)):
                self._check_clip(number)

    @property
    def streams(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        """Name, content and frame numbers of the two views and of the images, if there are any."""
        views = (
            ("first view", self.clips, self.frames),
            ("second view", self.second, self.second_frames),
        )
        if self.images is None or self.image_frames is None:
            return views
        return (*views, ("images", self.images, self.image_frames))

    def name_of(self, number: int) -> str:
        """A clip's name, for messages."""
        return self.names[number] if number < len(self.names) else f"clip {number}"

    def _check_clip(self, number: int) -> None:
        where, common = self.name_of(number), set(self.frames[number].tolist())
        for name, _, frames in self.streams:
            if (frames[number].diff() <= 0).any():
                raise InputError(
                    f"{where}, {name}: frame numbers do not rise: {frames[number].tolist()}"
                )
            common &= set(frames[number].tolist())
        if not common:
            spans = ", ".join(
                f"{name} {frames[number, 0]} to {frames[number, -1]} ({frames.shape[1]})"
                for name, _, frames in self.streams
            )
            what = "the two views" if self.images is None else "points and images"
            raise InputError(f"{where}: {what} have no frame in common: {spans}")
        for name, points in (("first view", self.clips), ("second view", self.second)):
            bad = int((~torch.isfinite(points[number])).any(-1).sum())
            if bad:
                raise InputError(
                    f"{where}, {name}: {bad} of {points[number, ..., 0].numel()} points have a "
                    "coordinate that is NaN or infinite"
                )


class ProjectionHead(nn.Module):
    """A two-layer MLP into the space in which is contrasted: (..., C) to (..., C')."""

    def __init__(self, channels: int, hidden: int, out: int, *, norm: bool = True) -> None:
        super().__init__()
        self.channels = channels
        self.expand = Linear(channels, hidden, bias=not norm)  # a norm takes it away again
        self.norm = nn.BatchNorm1d(hidden) if norm else None
        self.project = Linear(hidden, out)

    def forward(self, features: Tensor) -> Tensor:
        """features: (..., C) float32. The norm is over all axes but the last, and all processes."""
        inside = self.expand(features)
        inside = torch.relu(inside) if self.norm is None else rectified(self.norm, inside)
        return self.project(inside)


class CrossVideo(nn.Module):
    """One encoder of points for both views, one of images, and a projection head for each.

    Where points are not contrasted with images, there need be no encoder of them.

    The point encoder is what is wanted; the rest is discarded after the pre-training.
    """

    def __init__(
        self,
        points: VideoModel,
        images: nn.Module | None,
        config: CrossVideoConfig,
        projection: ProjectionConfig | None = None,
        clips_at_once: int = 0,
    ) -> None:
        """images: (B, L, 3, H, W) float32 -> `Features`, with a feature for each of the L frames.

        Both have `feature_channels`. clips_at_once: what an encoder is given in training; what it
        computed is forgotten and computed again for the gradients, so that memory does not grow
        with the batch; 0: all, once. Raises InputError if an encoder normalises over its batch,
        which then has to be whole; ValueError if there is no image encoder, and `cross` wants one.
        """
        if images is None and config.cross:
            raise ValueError("images: cross wants an encoder of them")
        super().__init__()
        projection = projection or ProjectionConfig()
        self.clips_at_once = clips_at_once
        encoders = {"point": points} | ({} if images is None else {"image": images})
        for kind, encoder in encoders.items() if clips_at_once else ():
            if any(isinstance(one, nn.BatchNorm1d) for one in encoder.modules()):
                raise InputError(
                    f"clips_at_once: the {kind} encoder ({type(encoder).__name__}) normalises over "
                    "its batch, so it has to see all of it: set 0, or take a smaller batch_size"
                )
        self.config = config
        self.points, self.images = points, images

        def head(encoder: nn.Module) -> ProjectionHead:
            width = _width(encoder)
            inside = projection.hidden or width
            return ProjectionHead(width, inside, projection.channels, norm=projection.norm)

        self.point_head = head(points)
        self.image_head = None if images is None else head(images)

    def forward(self, batch: CrossBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (), with its gradient, and figures () to show: its terms, without.

        moment_gap: how far paired moments lie apart, in frames of the clip; 0 unless the point
        encoder has temporal strides. Raises InputError if a feature is no number, points and images
        have too little time in common, or there are no negatives.
        """
        (first, second, image), gap = self._aligned(batch)
        terms = crossvideo_loss(first, second, image, self.config)
        figures = {name: term.detach() for name, term in terms.kept.items()}
        return terms.total, figures | {"moment_gap": gap}

    def project(self, batch: CrossBatch) -> tuple[Projected, Projected, Projected | None]:
        """Of the first view, the second, and the images if `cross` wants them, aligned in time.

        Frame t of all three is the same moment, or as near as temporal strides let it be; there are
        as many as the stream with the fewest has. A video is the maximum over all its projected
        frames, aligned or not (section III-D). Raises InputError as `forward`.
        """
        return self._aligned(batch)[0]

    def _aligned(
        self, batch: CrossBatch
    ) -> tuple[tuple[Projected, Projected, Projected | None], Tensor]:
        """As `project`; and the gap as `forward`."""
        moments = [self._anchor_frames(batch.frames), self._anchor_frames(batch.second_frames)]
        if batch.image_frames is not None:
            moments.append(batch.image_frames)
        chosen, gap = paired_moments(moments, batch)
        features = [
            self._frames(self.points.encode, batch.clips),
            self._frames(self.points.encode, batch.second),
        ]
        heads = [self.point_head, self.point_head]
        if self.config.cross:
            if batch.images is None:
                raise ValueError("images: wanted are clips that have them")
            assert self.images is not None and self.image_head is not None  # as it was made
            features.append(self._frames(self.images, batch.images))
            heads.append(self.image_head)
        self._check_features(batch, heads, features)
        clips = torch.arange(len(batch.clips), device=gap.device)[:, None]
        projected = [head(one) for head, one in zip(heads, features)]
        first, second, *image = [
            Projected(frames[clips, at], frames.amax(1)) for frames, at in zip(projected, chosen)
        ]
        return (first, second, image[0] if image else None), gap

    def _frames(self, encode: Callable[[Tensor], Features], clips: Tensor) -> Tensor:
        """The clips' frame features (B, L', C), of as many clips at once as may be."""
        parts = clips.split(self.clips_at_once or len(clips))
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([encode(one).frames for one in parts])

        def frames(part: Tensor) -> Tensor:
            return encode(part).frames

        return torch.cat([checkpoint(frames, one, use_reentrant=False) for one in parts])

    def _anchor_frames(self, frames: Tensor) -> Tensor:
        """(B, L) frames of the clip that are encoded -> (B, L') that the features are of."""
        return frames[:, frame_times(self.points, frames.shape[1]).to(frames.device)]

    def _check_features(
        self, batch: CrossBatch, heads: Sequence[ProjectionHead], features: Sequence[Tensor]
    ) -> None:
        """features: (B, L', C) each, of both views and any images, before the heads' norms."""
        for head, given, kind in zip(heads, features, ("point", "point", "image")):
            if given.shape[-1] != head.channels:
                raise InputError(
                    f"the {kind} encoder's frames have {given.shape[-1]} features, its projection "
                    f"head takes {head.channels}: take an encoder whose feature_channels are those "
                    "of its frames"
                )
        for given, (_, images, _) in zip(features[2:], batch.streams[2:]):
            if given.shape[:2] != images.shape[:2]:
                raise InputError(
                    f"the image encoder gives features of {tuple(given.shape[:2])} clips and "
                    f"frames for images of {tuple(images.shape[:2])}: it must keep every frame"
                )
        if features[0].device.type != "cpu":
            return  # a GPU would be waited for; the loss tells, too
        finite = torch.stack([torch.isfinite(one).flatten(1).all(1) for one in features]).all(0)
        if not finite.all():
            bad = (~finite).nonzero()[:, 0].tolist()
            raise InputError(
                f"the features of {len(bad)} of {len(finite)} clips are not finite "
                f"({', '.join(map(batch.name_of, bad))}): lower the learning rate, or look at them"
            )


def frame_times(model: VideoModel, length: int) -> Tensor:
    """(L',) int64: the frames of a clip of `length` that the model's frame features are of.

    That is the frame in the middle of what each feature looks at, layer by layer.
    """
    times = torch.arange(length)
    for layer in model.chain:
        times = times[layer.reach.frames(len(times))[:, layer.reach.kernel // 2]]
    return times


def nearest_in_order(wanted: Tensor, moments: Tensor) -> Tensor:
    """For each of `wanted` (B, T) the place of the nearest of `moments` (B, M), each taken once.

    Both int64 and rising in each row, T <= M. Returns (B, T) int64, rising: where two would take
    the same one, the later takes the next. So as many are paired in every clip.
    """
    count, there = wanted.shape[1], moments.shape[1]
    nearest = (wanted[:, :, None] - moments[:, None]).abs().argmin(2)
    number = torch.arange(count, device=wanted.device)
    # Rising is the same as: by how much a place is past its number never falls.
    return (nearest - number).clamp(0, there - count).cummax(1).values + number


def paired_moments(moments: Sequence[Tensor], batch: CrossBatch) -> tuple[list[Tensor], Tensor]:
    """Which moments of the two views and any images belong together.

    moments: of each stream, (B, M) int64, as frame numbers of the clip, M of their own. Returns for
    each the places (B, T) int64 of its partners, T the smallest M; and the mean (), over all pairs,
    of the largest distance in them. Raises InputError where a distance is more frames than a
    feature stands for: the clip's, shared out among M.
    """
    fewest = min(moments, key=lambda one: one.shape[1])
    chosen = [nearest_in_order(fewest, one) for one in moments]
    gaps = [(one.gather(1, at) - fewest).abs() for one, at in zip(moments, chosen)]
    given = torch.cat([frames for _, _, frames in batch.streams], 1)
    span = given.amax(1) - given.amin(1) + 1
    # As integers: distance <= ceil(span / M).
    far = torch.stack([(gap.amax(1) - 1) * one.shape[1] >= span for gap, one in zip(gaps, moments)])
    if far.any():
        stream, clip = (int(one) for one in far.nonzero()[0])
        raise InputError(
            f"{batch.name_of(clip)}, {batch.streams[stream][0]}: its features are of frames "
            f"{moments[stream][clip].tolist()}, up to {int(gaps[stream][clip].max())} away from "
            f"{fewest[clip].tolist()}, with which they are to be paired: "
            "give points and images of the same frames"
        )
    return chosen, torch.stack(gaps).amax(0).float().mean()


def check_views(model: VideoModel, frames: int, points: int, config: ViewConfig) -> None:
    """Whether the model can take both views of clips of `frames` frames of `points` points.

    Raises InputError if one is too small for it, or the second keeps fewer frames than one of its
    layers looks at.
    """
    model.check_input(frames, points)
    kept, kernel = frames_kept(frames, config), max(layer.reach.kernel for layer in model.chain)
    told = f"view: it keeps {kept} of a clip's {frames} frames"
    if kept < kernel:
        raise InputError(
            f"{told}, but the encoder looks at {kernel} at once: keep more, or give longer clips"
        )
    try:
        model.check_input(kept, points)
    except InputError as error:
        raise InputError(f"{told}: {error}") from None


def _width(encoder: nn.Module) -> int:
    width = getattr(encoder, "feature_channels", None)
    if not isinstance(width, int):
        raise TypeError(f"{type(encoder).__name__} does not say its feature_channels")
    return width
