"""A model on a stream: what a window shares with those before it is not computed again."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from fourd_perception.models.frame_layer import FrameLayer, TemporalReach
from fourd_perception.models.level import Level

if TYPE_CHECKING:
    from fourd_perception.models.video_model import Features, VideoModel

Key = TypeVar("Key", bound=Hashable)

_MOSTLY = 0.5
"""With a larger share of new anchor frames than this, a layer is computed anew."""


class _Node:
    """One frame at one depth: what a layer gave for it. Two nodes are the same if they are one.

    frame: the tensor object that a clip's frame is known by, held so that no other gets its id.
    """

    def __init__(self, level: Level, frame: Tensor | None = None) -> None:
        self.level = level
        self.frame = frame


class _Kept(Generic[Key]):
    """Nodes, by what each was made of, until `patience` windows did without it."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._nodes: dict[Key, tuple[_Node, int]] = {}
        self._window = 0

    def window(self, keys: Sequence[Key], make: Callable[[int], _Node]) -> list[_Node]:
        """A window's nodes; `make` makes the missing one of a place in `keys`."""
        self._window += 1
        nodes = []
        for place, key in enumerate(keys):
            kept = self._nodes.get(key)
            node = kept[0] if kept else make(place)
            self._nodes[key] = node, self._window
            nodes.append(node)
        oldest = self._window - self._patience
        self._nodes = {key: kept for key, kept in self._nodes.items() if kept[1] > oldest}
        return nodes

    def __len__(self) -> int:
        return len(self._nodes)


class _Frames:
    """The frames themselves, each sampled once; known by the tensor objects that hold them."""

    def __init__(self, model: VideoModel, patience: int) -> None:
        self._model = model
        self._nodes: _Kept[int] = _Kept(patience)

    def __call__(self, clip: Sequence[Tensor]) -> list[_Node]:
        def sample(place: int) -> _Node:
            return _Node(self._model.sample(clip[place][None]), clip[place])

        return self._nodes.window([id(points) for points in clip], sample)


class _Layer:
    """A layer and what it has computed, by the frames that it was computed from.

    The frames around an anchor frame say all that its output depends on, the repeated or empty
    ones at a window's ends included. So strides, paddings, parities and frames that occur twice in
    a window need no thought: equal inputs, equal output. Each is computed alone, so that its bits
    do not depend on what else was missing.
    """

    def __init__(self, layer: FrameLayer, patience: int, *, anew: bool) -> None:
        """anew: compute all of it for every window, at once."""
        self._layer = layer
        self._anew = anew
        self._nodes: _Kept[tuple[_Node | None, ...]] = _Kept(patience)

    def __call__(self, window: Sequence[_Node], clips: int) -> list[_Node]:
        """The layer's output for a window of several clips, one after the other: one node for each
        anchor frame."""
        length = len(window) // clips
        rows = self._layer.reach.frames(length)
        frames = torch.cat([torch.where(rows < 0, -1, rows + length * n) for n in range(clips)])
        if self._anew:
            out = self._run(window, frames)
            return [_Node(out[index : index + 1]) for index in range(len(out))]
        keys = [
            tuple(None if frame < 0 else window[frame] for frame in row) for row in frames.tolist()
        ]
        return self._nodes.window(keys, lambda place: self._compute(keys[place]))

    def _compute(self, key: tuple[_Node | None, ...]) -> _Node:
        inputs = list(dict.fromkeys(node for node in key if node is not None))
        row = [-1 if node is None else inputs.index(node) for node in key]
        return _Node(self._run(inputs, torch.tensor([row])))

    def _run(self, nodes: Sequence[_Node], frames: Tensor) -> Level:
        level = Level.stack([node.level for node in nodes])
        return self._layer(level, frames.to(level.points.device))


class EncoderStream:
    """A model in evaluation mode and a window of `frames` frames that slides over a stream.

    What a layer computed for an anchor frame is kept for as long as a window may ask for it again:
    with temporal strides of 2 and 2 the windows repeat their pattern every 4 frames, so it is
    forgotten when 4 windows did without. A layer whose anchor frames mostly change with every
    window (padded ends after strides reach all of them) is computed anew, all in one.
    When the model's weights change or move, what was kept is forgotten.
    """

    def __init__(self, model: VideoModel, frames: int) -> None:
        """Raises ValueError if the model is in training mode or frames is not 1 or more."""
        if frames < 1:
            raise ValueError(f"frames: expected 1 or more in a window, got {frames}")
        self.frames = frames
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Forget everything. Raises ValueError if the model is in training mode."""
        if self._model.training:
            raise ValueError("a stream needs a model in evaluation mode: call model.eval() first")
        chain = self._model.chain
        period = math.prod(layer.reach.stride for layer in chain)
        patience = period if period < self.frames else 1  # else no frame is left when it recurs
        reaches = [layer.reach for layer in chain]
        changing = _share_that_changes(reaches, self.frames, patience)
        self._clip: deque[Tensor] = deque(maxlen=self.frames)
        self._frames = _Frames(self._model, patience)
        self._layers = [
            _Layer(layer, patience, anew=share > _MOSTLY) for layer, share in zip(chain, changing)
        ]
        self._weights = _state(self._model)

    def push(self, points: Tensor) -> Features | None:
        """One frame more: (N, 3) float32, model units; copied. None until the window is full.

        Raises ValueError if the shape or type does not fit; the window is then as it was.
        """
        _check([*list(self._clip)[:1], points])
        self._clip.append(points.clone())
        return self.window(tuple(self._clip)) if len(self._clip) == self.frames else None

    def window(self, clip: Sequence[Tensor], memory: Tensor | None = None) -> Features:
        """The features of a clip, a batch of one: those of `encode` of its stacked frames.

        clip: frames (N, 3) float32, model units, all of one N. A frame is known by its tensor
        object: pass the same object again, unchanged, and nothing is computed for it twice.
        memory: as `encode` takes it. Raises as `encode` does, and ValueError if the model is in
        training mode.
        """
        return self.windows([clip], memory)

    def windows(self, clips: Sequence[Sequence[Tensor]], memory: Tensor | None = None) -> Features:
        """The features of several clips of one moment, a batch of them, as `window` has one's.

        clips: of one length, e.g. of several people. What is computed anew for every window is
        computed for all of them at once, so the last bits depend on how many there are.
        """
        if not clips or not clips[0] or any(len(clip) != len(clips[0]) for clip in clips):
            lengths = [len(clip) for clip in clips]
            raise ValueError(f"clip: expected 1 frame or more, as many in each, got {lengths}")
        everything = [points for clip in clips for points in clip]
        _check(everything)
        self._model.check_input(len(clips[0]), len(everything[0]))
        if self._model.training or _state(self._model) != self._weights:
            kept = self._clip
            self.reset()
            self._clip = kept
        with torch.no_grad():
            nodes = self._frames(everything)
            for layer in self._layers:
                nodes = layer(nodes, len(clips))
            level = Level.stack([node.level for node in nodes])
            return self._model.summarise(level, len(clips), memory)


def _state(model: VideoModel) -> list[tuple[int, int]]:
    """What changes when a weight is changed, in place or by another tensor."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        (tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors
    ]


def _share_that_changes(
    reaches: Sequence[TemporalReach], frames: int, patience: int
) -> list[float]:
    """Of each layer's anchor frames, the share that a window has and the ones before have not."""
    seen: list[set[object]] = [set() for _ in reaches]
    shares = [1.0] * len(reaches)
    for start in range(patience + 1):
        window: list[object] = list(range(start, start + frames))
        for number, reach in enumerate(reaches):
            rows = reach.frames(len(window)).tolist()
            keys = [hash(tuple(None if i < 0 else window[i] for i in row)) for row in rows]
            new = [key for key in keys if key not in seen[number]]
            shares[number] = len(new) / max(1, len(keys))
            seen[number].update(keys)
            window = list(keys)
    return shares


def _check(clip: Sequence[Tensor]) -> None:
    for number, points in enumerate(clip):
        fits = points.dim() == 2 and points.shape[1] == 3 and points.dtype == torch.float32
        if not fits or points.shape != clip[0].shape:
            raise ValueError(
                f"frame {number} of the clip: expected (N, 3) float32, of one N in all frames, "
                f"got {tuple(points.shape)} {str(points.dtype).removeprefix('torch.')}; "
                f"the first is {tuple(clip[0].shape)}"
            )
