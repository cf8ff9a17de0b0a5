"""`torch.nn.Linear`, through the operation of ours."""

from __future__ import annotations

from torch import Tensor, nn

from fourd_perception.ops.linear import linear


class Linear(nn.Linear):
    """A linear map of the last axis, (..., C) to (..., C'); its weights are torch.nn.Linear's."""

    def forward(self, values: Tensor) -> Tensor:
        """values: (..., C) float32."""
        return linear(values, self.weight, self.bias)
