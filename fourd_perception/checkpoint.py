"""One file holds the weights and everything that is needed to run them.

A checkpoint is a safetensors file: no pickle is ever read. Its metadata is a `ModelCard`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourd_perception import models, weights_file
from fourd_perception.errors import InputError
from fourd_perception.models import ClipModel
from fourd_perception.preprocess import PreprocessConfig
from fourd_perception.stream.window import ClipConfig

METADATA_KEY = "fourd_perception"
"""Under which a checkpoint's card stands in its file."""
_FORMAT = 1
_LONGEST_NAME = 200
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_KEPT = {True: (torch.float32, torch.float16, torch.bfloat16, torch.float64), False: (torch.int64,)}


@dataclass(frozen=True)
class ModelCard:
    """What a checkpoint says of itself; the node takes everything from it.

    colours: "#rrggbb" of each class, for whoever draws it; or none at all. background: the classes
    of points that are what stands around, not what is looked at; see `CloserLook`.
    """

    name: str
    architecture: str
    task: str
    classes: tuple[str, ...]
    model: dict[str, Any]
    clip: ClipConfig
    preprocess: PreprocessConfig
    trained_on: dict[str, Any]
    accuracy: dict[str, Any]
    colours: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    format: int = _FORMAT

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: expected different names, got {list(self.classes)}")
        for name in (self.name, *self.classes):  # they are printed, and put into messages
            if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
                raise ValueError(
                    f"name, classes: expected 1 to {_LONGEST_NAME} printable characters, "
                    f"got {name[:20]!r}"
                )
        if self.colours and len(self.colours) != len(self.classes):
            raise ValueError(f"colours: {len(self.colours)} of {len(self.classes)} classes")
        for colour in self.colours:
            if not _COLOUR.fullmatch(colour):
                raise ValueError(f"colours: expected #rrggbb in lower case, got '{colour[:20]}'")
        strange = [name for name in self.background if name not in self.classes]
        if strange or len(set(self.background)) == len(self.classes):
            raise ValueError(
                f"background: expected some of the classes {', '.join(self.classes)}, but not all; "
                f"got {', '.join(self.background)}"
            )
        if self.format != _FORMAT:
            raise ValueError(
                f"format {self.format}, this version reads {_FORMAT}: "
                "update fourd_perception or train the model again"
            )


@dataclass(frozen=True)
class Checkpoint:
    """A model in evaluation mode, and its card."""

    card: ModelCard
    model: ClipModel


def save(path: str | Path, model: nn.Module, card: ModelCard, *, half: bool = True) -> None:
    """Write weights and card to `path`, whole or not at all.

    half: matrices are kept in half precision; vectors (normalisation, biases) stay float32.
    Raises InputError if a weight is not finite, or too large for half precision, and if the
    file cannot be written.
    """

    def kept(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().contiguous()
        narrow = half and tensor.is_floating_point() and tensor.dim() > 1
        return tensor.half() if narrow else tensor

    state = {name: kept(tensor) for name, tensor in model.state_dict().items()}
    weights_file.write(Path(path), state, METADATA_KEY, card)


def replace_card(path: str | Path, card: ModelCard) -> None:
    """Give a checkpoint another card; its weights stay as they are. Raises InputError."""
    weights_file.write(Path(path), _read(Path(path))[1], METADATA_KEY, card)


def load(path: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint and build its model, float32, in evaluation mode, on `device`.

    Raises InputError where the file is missing, is not ours, does not fit, or its card
    describes a model that its own clips are too small for. Memory is taken for the weights that are
    in the file, not for those that the card claims.
    """
    card, state = _read(Path(path))
    try:
        with torch.device("meta"):
            model = models.build_any(card.architecture, card.model, len(card.classes))
        model.check_input(card.clip.frames, card.preprocess.points)
        if card.task != model.task:
            raise InputError(f"the card's task is {card.task}, its model is for {model.task}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    _check_fit(path, model.state_dict(), state)
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
    weights_file.refuse_not_finite(path, state)
    model.load_state_dict(state, assign=True)
    return Checkpoint(card, model.eval().to(device))


def read_card(path: str | Path) -> ModelCard:
    """The card alone, without the weights. Raises InputError as `load` does."""
    return _read(Path(path), weights=False)[0]


def _read(path: Path, weights: bool = True) -> tuple[ModelCard, dict[str, Tensor]]:
    remedy = "train one with training/finetune.py"
    return weights_file.read(path, METADATA_KEY, ModelCard, remedy, weights=weights)


def _check_fit(path: str | Path, wanted: dict[str, Tensor], got: dict[str, Tensor]) -> None:
    problems = [f"'{name}' is missing" for name in wanted.keys() - got.keys()]
    problems += [f"'{name}' is unknown" for name in got.keys() - wanted.keys()]
    problems += [
        f"'{name}' is {tuple(got[name].shape)}, the card's model wants {tuple(wanted[name].shape)}"
        for name in wanted.keys() & got.keys()
        if got[name].shape != wanted[name].shape
    ]
    problems += [
        f"'{name}' is {got[name].dtype}, the card's model wants {wanted[name].dtype}"
        for name in wanted.keys() & got.keys()
        if got[name].dtype not in _KEPT[wanted[name].is_floating_point()]
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(
            f"{path}: weights and card disagree: {'; '.join(sorted(problems)[:3])}{more}"
        )
