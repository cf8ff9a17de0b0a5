"""The likeliest class at places between points."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_perception.ops.checks import check_float32
from fourd_perception.ops.interpolate import interpolate_at
from fourd_perception.ops.threads import as_many_as_torch

_CHUNK = 256  # targets that one thread takes at a time


def label_at(logits: Tensor, distance: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The class and its softmax where logits are interpolated, for three hundred thousand points.

    logits: (N, K) float32. distance: (M, k) float32 and index: (M, k) int64, as
    `interpolate.k_nearest` gives them. Returns labels (M,) int64 and confidence (M,) float32: of
    softmax(interpolate_at(...)) the largest and where it is, the first of equals; on a CPU without
    ever holding the (M, K) logits. Without gradients.
    Raises ValueError if shapes or types do not fit.
    """
    check_float32("logits", logits)
    if logits.dim() != 2 or logits.shape[1] < 1:
        raise ValueError(f"logits: expected (N, K), K 1 or more, got {tuple(logits.shape)}")
    if distance.dim() != 2 or distance.shape != index.shape:
        raise ValueError(
            "distance, index: expected one shape (M, k), got "
            f"{tuple(distance.shape)} and {tuple(index.shape)}"
        )
    if logits.device.type != "cpu":
        carried = interpolate_at(logits[None].detach(), distance[None], index[None])[0]
        best = torch.softmax(carried, 1).max(1)
        return best.indices, best.values
    as_many_as_torch()
    labels = torch.empty(len(index), dtype=torch.int64)
    confidence = torch.empty(len(index))
    _label_numba(
        logits.detach().contiguous().numpy(),
        distance.contiguous().numpy(),
        index.contiguous().numpy(),
        labels.numpy(),
        confidence.numpy(),
    )
    return labels, confidence


@numba.njit(parallel=True, cache=True)
def _label_numba(
    logits: NDArray[np.float32],
    distance: NDArray[np.float32],
    index: NDArray[np.int64],
    labels: NDArray[np.int64],
    confidence: NDArray[np.float32],
) -> None:
    count, neighbours = index.shape
    classes = logits.shape[1]
    chunks = -(-count // _CHUNK)
    for chunk in numba.prange(chunks):
        carried = np.empty(classes, np.float32)
        for m in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, count)):
            carried[:] = 0
            total = np.float32(0.0)
            for j in range(neighbours):
                weight = np.float32(1) / (distance[m, j] + np.float32(1e-8))
                total += weight
                row = logits[index[m, j]]
                for c in range(classes):
                    carried[c] += weight * row[c]
            best = 0
            for c in range(1, classes):
                if carried[c] > carried[best]:
                    best = c
            share = 0.0
            for c in range(classes):
                share += math.exp((carried[c] - carried[best]) / total)
            labels[m] = best
            confidence[m] = np.float32(1) / share
