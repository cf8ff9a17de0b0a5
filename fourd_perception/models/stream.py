"""A model on a stream: each window costs what its new frames cost, and equals the full forward."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fourd_perception.models.frame_layer import FrameLayer
from fourd_perception.models.level import Level

if TYPE_CHECKING:
    from fourd_perception.models.video_model import Features, VideoModel


class _Node:
    """One frame at one depth: what a layer gave for it. Two nodes are the same if they are one."""

    def __init__(self, level: Level) -> None:
        self.level = level


class _Frames:
    """The frames themselves, each sampled once; known by the tensor objects that hold them."""

    def __init__(self, model: VideoModel, patience: int) -> None:
        self._model = model
        self._patience = patience
        self._nodes: dict[int, tuple[Tensor, _Node, int]] = {}
        self._window = 0

    def __call__(self, clip: Sequence[Tensor]) -> list[_Node]:
        self._window += 1
        for points in clip:
            kept = self._nodes.get(id(points))
            node = kept[1] if kept else _Node(self._model.sample(points[None]))
            self._nodes[id(points)] = points, node, self._window
        oldest = self._window - self._patience
        nodes = [self._nodes[id(points)][1] for points in clip]
        self._nodes = {key: kept for key, kept in self._nodes.items() if kept[2] > oldest}
        return nodes


class _Layer:
    """A layer and what it has computed, by the frames that it was computed from.

    The frames around an anchor frame say all that its output depends on, the repeated or empty
    ones at a window's ends included. So strides, paddings, parities and frames that occur twice in
    a window need no thought: equal inputs, equal output. Each is computed alone, so that its bits
    do not depend on what else was missing.
    """

    def __init__(self, layer: FrameLayer, patience: int) -> None:
        self._layer = layer
        self._patience = patience
        self._nodes: dict[tuple[_Node | None, ...], tuple[_Node, int]] = {}
        self._window = 0

    def __call__(self, window: Sequence[_Node]) -> list[_Node]:
        """The layer's output for a window: one node for each anchor frame."""
        self._window += 1
        nodes = []
        for row in self._layer.reach.frames(len(window)).tolist():
            key = tuple(None if frame < 0 else window[frame] for frame in row)
            kept = self._nodes.get(key)
            node = kept[0] if kept else self._compute(key)
            self._nodes[key] = node, self._window
            nodes.append(node)
        oldest = self._window - self._patience
        self._nodes = {key: kept for key, kept in self._nodes.items() if kept[1] > oldest}
        return nodes

    def _compute(self, key: tuple[_Node | None, ...]) -> _Node:
        inputs = list(dict.fromkeys(node for node in key if node is not None))
        level = Level.stack([node.level for node in inputs])
        frames = torch.tensor([[-1 if node is None else inputs.index(node) for node in key]])
        return _Node(self._layer(level, frames.to(level.points.device)))


class EncoderStream:
    """A model in evaluation mode and a window of `frames` frames that slides over a stream.

    A layer's output for an anchor frame is kept for as long as a window may ask for it again:
    with temporal strides of 2 and 2 the windows repeat their pattern every 4 frames, so it is
    forgotten when 4 windows did without. What is kept is bounded by the window.
    """

    def __init__(self, model: VideoModel, frames: int) -> None:
        """Raises ValueError if the model is in training mode."""
        if model.training:
            raise ValueError("a stream needs a model in evaluation mode: call model.eval() first")
        self.frames = frames
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        patience = math.prod(layer.reach.stride for layer in self._model.chain)
        self._clip: deque[Tensor] = deque(maxlen=self.frames)
        self._layers = [_Layer(layer, patience) for layer in self._model.chain]
        self._frames = _Frames(self._model, patience)

    def push(self, points: Tensor) -> Features | None:
        """One frame more: (N, 3) float32, model units. None until the window is full."""
        self._clip.append(points)
        return self.window(tuple(self._clip)) if len(self._clip) == self.frames else None

    def window(self, clip: Sequence[Tensor], memory: Tensor | None = None) -> Features:
        """The features of a clip, a batch of one: equal to `encode` of its stacked frames.

        clip: frames (N, 3) float32, model units, all of one N. A frame is known by its tensor
        object: pass the same object again, unchanged, and nothing is computed for it twice.
        memory: as `encode` takes it. Raises as `encode` does.
        """
        _check(clip)
        self._model.check_input(len(clip), len(clip[0]))
        with torch.no_grad():
            nodes = self._frames(clip)
            for layer in self._layers:
                nodes = layer(nodes)
            level = Level.stack([node.level for node in nodes])
            return self._model.summarise(level, 1, memory)


def _check(clip: Sequence[Tensor]) -> None:
    for number, points in enumerate(clip):
        fits = points.dim() == 2 and points.shape[1] == 3 and points.dtype == torch.float32
        if not fits or points.shape != clip[0].shape:
            raise ValueError(
                f"frame {number} of the clip: expected (N, 3) float32, of one N in all frames, "
                f"got {tuple(points.shape)} {str(points.dtype).removeprefix('torch.')}; "
                f"the first is {tuple(clip[0].shape)}"
            )
