"""The values of neighbours."""

from __future__ import annotations

from torch import Tensor

from fourd_perception.ops.checks import check_batch, check_device, check_index


def group(values: Tensor, index: Tensor) -> Tensor:
    """The values of every centre's neighbours: out[b, m, j] = values[b, index[b, m, j]].

    values: (B, N, C), of any type; index: (B, M, k) int64, as `ball_query` and `k_nearest` give it.
    Returns (B, M, k, C). Differentiable in `values`.
    Raises ValueError if a shape, type or device does not fit, or an index is not in 0..N-1.
    """
    if values.dim() != 3:
        raise ValueError(f"values: expected (B, N, C), got {tuple(values.shape)}")
    check_device("index", index, values.device)
    check_index("index", index, 3, values.shape[1])
    check_batch("index", index, "values", values)
    rows = index.flatten(1)[:, :, None].expand(-1, -1, values.shape[2])
    return values.gather(1, rows).unflatten(1, index.shape[1:])
