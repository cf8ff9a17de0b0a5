"""Weights that were learnt without labels: what pretrain.py leaves, and finetune.py begins with.

A safetensors file: the tensors of an encoder without its classifier, and as metadata an
`EncoderCard`. It is no checkpoint: it recognises nothing, and the nodes refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fourd_perception import models, weights_file
from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, to_mapping
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig

_KEY = "fourd_perception_encoder"
_FORMAT = 1
_CLASSIFIERS = ("head.", "norm.")
"""What the models call their classifiers, and PSTNet the norm before its own."""

_FREE = ("task", "dropout", "head_channels", "head_dropout", "head_norm")
"""Sizes, and `dropout` anywhere, that say nothing of an encoder's weights."""


@dataclass(frozen=True)
class EncoderCard:
    """What a file of weights says of itself.

    model: the sizes. trained_on: how the weights were come by, for the reader.
    """

    name: str
    architecture: str
    model: dict[str, Any]
    clip: ClipConfig
    preprocess: PreprocessConfig
    trained_on: dict[str, Any]
    format: int = _FORMAT

    def __post_init__(self) -> None:
        if self.format != _FORMAT:
            raise ValueError(f"format {self.format}, this version reads {_FORMAT}: train it again")


@dataclass(frozen=True)
class Loaded:
    """What became of a model's tensors: their names. kept: those that the file does not have."""

    taken: tuple[str, ...]
    kept: tuple[str, ...]


def is_of_classifier(name: str) -> bool:
    """Whether a model's tensor, by its name, is of its classifier, not of its encoder."""
    return name.startswith(_CLASSIFIERS)


def encoder_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without its classifier; the tensors are the model's own."""
    return {
        name: tensor for name, tensor in model.state_dict().items() if not is_of_classifier(name)
    }


def save(path: Path, model: nn.Module, card: EncoderCard) -> None:
    """Write an encoder's weights and card, whole or not at all.

    Raises InputError if a weight is not finite or the file cannot be written.
    """
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in encoder_state(model).items()
    }
    weights_file.write(path, state, _KEY, card)


def read_card(path: Path) -> EncoderCard:
    """The card of a file that `save` made. Raises InputError if it is no such file."""
    return _read(path, weights=False)[0]


def load_into(
    model: nn.Module,
    path: Path,
    architecture: str,
    sizes: Mapping[str, Any],
    preprocess: PreprocessConfig,
) -> Loaded:
    """Give a model the weights of a file that `save` made; its classifier stays as it is.

    sizes: the model's, with its defaults. Raises InputError, the model untouched, if the file is of
    another architecture, of other sizes or of clouds in another unit, is damaged, or is none.
    """
    card, state = _read(path)
    check_architecture(path, card.architecture, architecture)
    check_sizes(path, architecture, card.model, sizes)
    check_unit(path, card.preprocess, preprocess)
    wanted = encoder_state(model)
    if {name: tensor.shape for name, tensor in wanted.items()} != {
        name: tensor.shape for name, tensor in state.items()
    }:
        names = sorted(wanted.keys() ^ state.keys()) or sorted(
            name for name in wanted if wanted[name].shape != state[name].shape
        )
        raise InputError(
            f"{path}: weights and card disagree, on '{names[0]}' and {len(names) - 1} more: "
            "the file is damaged, or of another version; train it again"
        )
    weights_file.refuse_not_finite(path, state)
    model.load_state_dict(state, strict=False)
    kept = tuple(name for name in model.state_dict() if name not in state)
    return Loaded(tuple(state), kept)


def check_architecture(path: Path, of_file: str, of_run: str) -> None:
    """Raises InputError if the weights in a file are of another architecture than the run's."""
    if of_file != of_run:
        raise InputError(
            f"{path}: weights of {of_file}, the run trains {of_run}: "
            "take weights of the same architecture"
        )


def check_sizes(
    path: Path, architecture: str, of_file: Mapping[str, Any], of_run: Mapping[str, Any]
) -> None:
    """Raises InputError, which names them, if a file's sizes are not the run's.

    of_file: as a card has them, be it an older one without what is now a default.
    """
    found: Any = from_mapping(models.architecture(architecture).config, of_file, str(path))
    differences = list(_differences(to_mapping(found), of_run))
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise InputError(
            f"{path}: weights of other sizes: {'; '.join(differences[:3])}{more}: "
            "take the sizes that the weights were made for, or weights of these"
        )


def check_unit(path: Path, of_file: PreprocessConfig, of_run: PreprocessConfig) -> None:
    """Raises InputError if a file's weights are for clouds in another unit than the run's."""
    if of_file.unit_scale != of_run.unit_scale:
        raise InputError(
            f"{path}: weights for clouds of {of_file.unit_scale:g} model units in a metre, "
            f"the run has preprocess.unit_scale {of_run.unit_scale:g}: take the same"
        )


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[str]:
    """A text for each size of an encoder that is not the same."""
    flat = [dict(_flat(sizes)) for sizes in (theirs, ours)]
    for name in sorted(flat[0].keys() | flat[1].keys()):
        values = [one.get(name, "no such size") for one in flat]
        free = name in _FREE or name.endswith(".dropout")
        if not free and values[0] != values[1]:
            yield f"{name} is {values[0]} in the file, {values[1]} in the model"


def _flat(sizes: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(sizes, Mapping):
        for key, value in sizes.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    elif isinstance(sizes, (list, tuple)) and any(isinstance(one, Mapping) for one in sizes):
        for number, value in enumerate(sizes):
            yield from _flat(value, f"{name}[{number}]")
    else:
        yield name, list(sizes) if isinstance(sizes, tuple) else sizes


def _read(path: Path, weights: bool = True) -> tuple[EncoderCard, dict[str, Tensor]]:
    remedy = "take <name>_points.safetensors of a run of training/pretrain.py"
    return weights_file.read(path, _KEY, EncoderCard, remedy, weights=weights)
