"""The encoders that are measured: ours, and the textbook's with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from textbook import p4transformer, pptr, pstnet
from torch import Tensor, nn

from benchmarks.bench_people import clips
from fourd_perception import models
from fourd_perception.models import upstream

ROOT = Path(__file__).resolve().parents[1]
NTU_UNIT, MSR_UNIT = 1.526, 0.641  # model units to the metre, see the configurations


@dataclass(frozen=True)
class Encoder:
    """One architecture, in both implementations, and the clips that it is made for."""

    architecture: str
    config: str
    theirs: Callable[[], nn.Module]
    classes: int
    frames: int
    unit_scale: float = NTU_UNIT
    points: int = 2048
    changes: Mapping[str, Any] = field(default_factory=dict)

    def clip(self, batch: int = 1, frames: int = 0, points: int = 0) -> Tensor:
        """(batch, frames, points, 3), in model units; as many as the encoder is made for."""
        return clips(batch, frames or self.frames, points or self.points, self.unit_scale)

    def ours(self) -> models.VideoModel:
        """With random weights, in evaluation mode."""
        text = (ROOT / "config/models" / f"{self.config}.yaml").read_text(encoding="utf-8")
        torch.manual_seed(0)
        config = {**yaml.safe_load(text), **self.changes}
        return models.build(self.architecture, config, self.classes).eval()

    def textbook(self) -> nn.Module:
        """With random weights, in evaluation mode."""
        torch.manual_seed(0)
        model = self.theirs().eval()
        for module in model.modules():
            # PyTorch's own start lets a deep network's answer shrink to its last bias, and then
            # any two networks agree.
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        return model

    def pair(self) -> tuple[models.VideoModel, nn.Module]:
        """Ours with theirs' weights, and theirs."""
        theirs, ours = self.textbook(), self.ours()
        ours.load_state_dict(self.as_ours(theirs.state_dict(), ours.state_dict()))
        return ours, theirs

    def as_ours(
        self, theirs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Their weights, or gradients of them, under our names."""
        if self.architecture != "im_pstnet":
            return upstream.convert(self.architecture, theirs, wanted)
        # There is no public im-PSTNet: it is PSTNet, or PSTNet++, with maps of the centre besides.
        rest, centres = _without_centres(theirs, wanted)
        others = {name: one for name, one in wanted.items() if ".centre." not in name}
        base = "pstnetpp" if self.changes.get("norm") == "inside" else "pstnet"
        return upstream.convert(base, rest, others) | centres


_IM = "im_pstnet", "im_pstnet_ntu"
_INSIDE = {"norm": "inside", "temporal_norm": True}
_PPTR = "pptr", "pptr_hoi4d", pptr.pptr_hoi4d_actions, 19, 150, 1.0
_ALL_FRAMES = {"position": "place_and_time"}

ENCODERS: Mapping[str, Encoder] = {
    "im_pstnet": Encoder(*_IM, pstnet.im_pstnet_ntu, 60, 23),
    "im_pstnet_inside": Encoder(
        *_IM, lambda: pstnet.im_pstnet_ntu(norm="inside"), 60, 23, changes=_INSIDE
    ),
    "pstnet": Encoder("pstnet", "pstnet_ntu", pstnet.pstnet_ntu, 60, 23),
    "pstnetpp": Encoder("pstnetpp", "pstnetpp_ntu", pstnet.pstnetpp_ntu, 60, 23),
    "p4_transformer": Encoder(
        "p4_transformer", "p4_transformer_msr", p4transformer.p4transformer_msr, 20, 24, MSR_UNIT
    ),
    "pptr": Encoder(*_PPTR, changes=_ALL_FRAMES),
    "pptr_place_then_time": Encoder(*_PPTR),
}
"""By name. What the textbook computes is PPTr with the place and the time told together."""


def small(**changes: Any) -> Encoder:
    """The half-width im-PSTNet for a CPU, of 24 frames of 512 points in metres; ours alone."""
    return Encoder("im_pstnet", "im_pstnet_small", pstnet.im_pstnet_ntu, 20, 24, 1.0, 512, changes)


def _without_centres(
    theirs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights that see an anchor's own feature, apart, under our names."""
    rest, centres = dict(theirs), {}
    for layer, key in enumerate(("1", "2a", "2b", "3a", "3b", "4")):
        ours = f"layers.{layer}.centre.weight"
        if ours not in wanted:
            continue
        inside = f"encoder{key}.spatial_mlp.0.weight"
        if inside in rest:
            kept = rest[inside].shape[1] - wanted[ours].shape[1]
            rest[inside], centre = rest[inside][:, :kept], rest[inside][:, kept:]
        else:
            centre = rest.pop(f"conv{key}.spatial_conv_c.weight")
        centres[ours] = centre.flatten(1)
    return rest, centres
