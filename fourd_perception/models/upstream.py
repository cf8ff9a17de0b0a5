"""Weights of the public PSTNet, PSTNet++, P4Transformer, PST-Transformer and PPTr code, as ours.

Each rule takes one weight of theirs, by name, and says what it is here. Theirs are convolutions
with kernels of one, whose weights end in axes of one; ours are linear maps.
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from fourd_perception.errors import InputError

Weights = Mapping[str, Tensor]
Split = Callable[[Tensor], dict[str, Tensor]]
"""Takes one weight apart: what to append to its name here, and the part."""


class UpstreamError(InputError):
    """A file is not a public checkpoint of the architecture that it is said to be."""


def read(path: str | Path) -> dict[str, Tensor]:
    """The weights in a .pth file, (C', C, 1, 1) as convolutions have them: from a state dict, or
    one under 'model' or 'state_dict'.

    Nothing but tensors, plain values and the argparse.Namespace that the public training scripts
    save beside them is unpickled. Raises UpstreamError where there is anything else.
    """
    try:
        with _harmless():
            document = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError,
        AssertionError, struct.error, pickle.UnpicklingError,
    ) as error:  # fmt: skip  # a damaged file can end in any of them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UpstreamError(
            f"cannot be read as weights ({reason}); expected the .pth that torch.save wrote"
        ) from None
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping):
            document = document[key]
    if not isinstance(document, Mapping) or not all(
        isinstance(value, Tensor) for value in document.values()
    ):
        raise UpstreamError(
            "expected a state dict, alone or under 'model' or 'state_dict', "
            f"got {type(document).__name__}"
        )
    return {str(name): tensor for name, tensor in document.items()}


def _harmless() -> contextlib.AbstractContextManager[None]:
    """Let a Namespace be read; PyTorch older than 2.5 cannot be told, and refuses it."""
    allow = getattr(torch.serialization, "safe_globals", None)
    return allow([argparse.Namespace]) if allow else contextlib.nullcontext()


def convert(architecture: str, theirs: Weights, wanted: Weights) -> dict[str, Tensor]:
    """Our state dict from theirs: linear maps (C', C) from convolutions (C', C, 1, 1).

    architecture: a name of `models.ARCHITECTURES`. wanted: the state dict of the model that is to
    be filled, for its names and shapes. Raises UpstreamError, with both sides, where a name is left
    over or missing or a shape is another.
    """
    ours: dict[str, Tensor] = {}
    left_over = []
    for name, weight in theirs.items():
        name = name.removeprefix("module.")
        for pattern, template, split in _RULES[architecture]:
            match = re.fullmatch(pattern, name)
            if match:
                base = template.format(**_numbers(match))
                matrix = weight.flatten(1) if weight.dim() > 1 else weight
                ours.update({base + more: part for more, part in split(matrix).items()})
                break
        else:
            left_over.append(f"'{name}' {tuple(weight.shape)}")
    ours = _joined(ours)
    problems = [f"{one} of the file fits nowhere" for one in left_over]
    problems += [
        f"'{name}' {tuple(tensor.shape)} of the model is not in the file"
        for name, tensor in wanted.items()
        if name not in ours and not name.endswith("num_batches_tracked")
    ]
    problems += [
        f"'{name}' is {tuple(tensor.shape)} in the file, "
        f"{tuple(wanted[name].shape) if name in wanted else 'absent'} in the model"
        for name, tensor in ours.items()
        if name not in wanted or tensor.shape != wanted[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UpstreamError(
            f"not the weights of this {architecture}: {'; '.join(problems[:4])}{more}; "
            "check --architecture, the sizes in --config and the number of classes"
        )
    return {name: ours.get(name, tensor) for name, tensor in wanted.items()}


def _numbers(match: re.Match[str]) -> dict[str, str | int]:
    """A name's parts, counted as they are here."""
    count: dict[str, Callable[[str], str | int]] = {
        "pst": ("1", "2a", "2b", "3a", "3b", "4").index,  # PSTNet's names of its layers
        "conv": lambda text: int(text) - 1,
        "deconv": lambda text: 4 - int(text),  # the way back begins at the last convolution
        "third": lambda text: int(text) // 3,  # convolution, norm, ReLU, convolution, ...
    }
    return {
        name: count[name](text) if name in count else text
        for name, text in match.groupdict().items()
    }


def _whole(weight: Tensor) -> dict[str, Tensor]:
    return {"": weight}


def _pst_joint(weight: Tensor) -> dict[str, Tensor]:
    """PSTNet++: one map of (displacement, feature), here two."""
    parts = {"displacement.weight": weight[:, :3], "neighbour.weight": weight[:, 3:]}
    return {name: part for name, part in parts.items() if part.shape[1]}


def _place_and_time(weight: Tensor) -> dict[str, Tensor]:
    """One map of (x, y, z, t), here one of the place and one of the time."""
    return {"layers.0.place.weight": weight[:, :3], "time.weight": weight[:, 3:]}


def _joined(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights named name@0, name@1, ... are parts of one, side by side."""
    parts: dict[str, list[tuple[int, Tensor]]] = {}
    for name, tensor in weights.items():
        base, _, number = name.partition("@")
        parts.setdefault(base, []).append((int(number or 0), tensor))
    return {
        name: torch.cat([tensor for _, tensor in sorted(some, key=lambda one: one[0])], 1)
        if len(some) > 1
        else some[0][1]
        for name, some in parts.items()
    }


_NORM = r"(?P<what>weight|bias|running_mean|running_var|num_batches_tracked)"
_WHAT = r"(?P<what>weight|bias)"
_PST = r"(?P<pst>1|2a|2b|3a|3b|4)"
Rule = tuple[str, str, Split]


def _rules(*pairs: tuple[str, str]) -> list[Rule]:
    """Rules that only rename: a pattern of theirs, and our name."""
    return [(theirs, ours, _whole) for theirs, ours in pairs]


def _transformer(theirs: str, ours: str) -> list[Rule]:
    block = rf"{theirs}\.layers\.(?P<n>\d+)"
    attention, feed_forward = f"{ours}.attention.{{n}}", f"{ours}.feed_forward.{{n}}"
    return _rules(
        (rf"{block}\.0\.(fn\.)?norm\.{_WHAT}", f"{attention}.norm.{{what}}"),
        (rf"{block}\.0\.(fn\.fn\.)?to_qkv\.weight", f"{attention}.to_qkv.weight"),
        (rf"{block}\.0\.(fn\.fn\.)?to_out\.0\.{_WHAT}", f"{attention}.project.0.{{what}}"),
        (rf"{block}\.0\.spatial_op\.weight", f"{attention}.displacement.weight"),
        (rf"{block}\.1\.fn\.norm\.{_WHAT}", f"{feed_forward}.norm.{{what}}"),
        (rf"{block}\.1\.fn\.fn\.net\.0\.{_WHAT}", f"{feed_forward}.expand.{{what}}"),
        (rf"{block}\.1\.fn\.fn\.net\.3\.{_WHAT}", f"{feed_forward}.project.{{what}}"),
        (rf"{block}\.1\.net\.0\.{_WHAT}", f"{feed_forward}.norm.{{what}}"),  # PST-Transformer
        (rf"{block}\.1\.net\.1\.{_WHAT}", f"{feed_forward}.expand.{{what}}"),
        (rf"{block}\.1\.net\.4\.{_WHAT}", f"{feed_forward}.project.{{what}}"),
    )


def _mlp(theirs: str, ours: str) -> list[Rule]:
    return _rules(
        (rf"{theirs}\.(?P<third>0|3|6)\.weight", f"{ours}.linears.{{third}}.weight"),
        (rf"{theirs}\.(?P<third>1|4|7)\.{_NORM}", f"{ours}.norms.{{third}}.{{what}}"),
    )


_HEAD = _rules(
    (rf"mlp_head\.(?P<n>0|1)\.{_WHAT}", "head.{n}.{what}"),
    (rf"mlp_head\.[34]\.{_WHAT}", "head.4.{what}"),  # 3 in models without dropout there
)
_TUBE = [
    *_rules((r"tube_embedding\.conv_d\.0\.weight", "layers.0.displacement.weight")),
    *_rules((r"pos_embedding\.bias", "time.bias")),
    (r"pos_embedding\.weight", "", _place_and_time),
]
_CONV = r"conv(?P<conv>\d)"
_DOWN = [
    *_rules(
        (rf"{_CONV}\.conv_d\.0\.weight", "layers.{conv}.displacement.weight"),
        (rf"{_CONV}\.conv_d\.1\.{_NORM}", "layers.{conv}.displacement_norm.{what}"),
        (rf"{_CONV}\.conv_f\.0\.weight", "layers.{conv}.feature.weight"),
        (rf"{_CONV}\.conv_f\.1\.{_NORM}", "layers.{conv}.feature_norm.{what}"),
    ),
    *_mlp(rf"{_CONV}\.mlp", "layers.{conv}.mlp"),
]
_WAY_BACK = _mlp(r"deconv(?P<deconv>\d)\.conv", "up.{deconv}.mlp")

_RULES: dict[str, list[Rule]] = {
    "pstnet": _rules(
        (rf"conv{_PST}\.spatial_conv_d\.weight", "layers.{pst}.displacement.weight"),
        (rf"conv{_PST}\.spatial_conv_f\.weight", "layers.{pst}.neighbour.weight"),
        (rf"conv{_PST}\.batch_norm\.{_NORM}", "layers.{pst}.norm.{what}"),
        (rf"conv{_PST}\.temporal\.weight", "layers.{pst}.temporal.weight"),
        (rf"fc\.{_WHAT}", "head.{what}"),
    ),
    "pstnetpp": [
        (rf"encoder{_PST}\.spatial_mlp\.0\.weight", "layers.{pst}.", _pst_joint),
        *_rules(
            (rf"encoder{_PST}\.spatial_mlp\.1\.{_NORM}", "layers.{pst}.norm.{what}"),
            (
                rf"encoder{_PST}\.temporal_mlp_(?P<n>\d+)\.0\.weight",
                "layers.{pst}.temporal.weight@{n}",
            ),
            (
                rf"encoder{_PST}\.temporal_mlp_(?P<n>\d+)\.1\.{_NORM}",
                "layers.{pst}.temporal_norms.{n}.{what}",
            ),
            (rf"fc\.{_WHAT}", "head.{what}"),
        ),
    ],
    "p4_transformer": [*_TUBE, *_transformer("transformer1?", "transformer"), *_HEAD],
    "pst_transformer": [*_TUBE, *_transformer("transformer", "transformer"), *_HEAD],
    "pptr": [
        *_TUBE,
        *_transformer("transformer1", "intra.transformer"),
        *_transformer("transformer2", "inter"),
        *_HEAD,
    ],
    "p4_segmenter": [
        *_DOWN,
        *_WAY_BACK,
        *_transformer("transformer", "transformer"),
        *_rules((rf"outconv\.{_WHAT}", "head.{what}")),
    ],
    "pptr_segmenter": [
        *_DOWN,
        *_WAY_BACK,
        *_transformer("transformer1", "intra.transformer"),
        *_transformer("transformer2", "inter"),
        *_mlp(r"deconv_cat\.conv", "join.mlp"),
        *_rules(
            (rf"outconv1\.{_WHAT}", "fusion.0.{what}"),
            (rf"outconv2\.{_WHAT}", "fusion.1.{what}"),
            (rf"outconv3\.{_WHAT}", "head.{what}"),
        ),
    ],
}

ARCHITECTURES = tuple(_RULES)
"""Those of which there is public code."""
