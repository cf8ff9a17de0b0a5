"""Folders of pre-trained models as `transformers` saves them; nothing is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fourd_perception.errors import InputError

XCLIP_REPOSITORY = "microsoft/xclip-base-patch16-kinetics-600"
_EXAMPLES = {"xclip": XCLIP_REPOSITORY, "clip": "openai/clip-vit-base-patch16"}
_HOW_TO_GET = (
    f"on a computer with a network: hf download {XCLIP_REPOSITORY} --local-dir FOLDER (where it "
    "has pytorch_model.bin alone: python training/make_safetensors.py FOLDER), and copy the folder "
    "to the robot: config.json, model.safetensors, preprocessor_config.json, tokenizer_config.json "
    "and tokenizer.json, or vocab.json with merges.txt"
)
_TOKENS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_OPTIONAL = ("position_ids",)
"""Ends of names that older files have, and that are counted anew."""


def transformers_module(what: str) -> ModuleType:
    """The package `transformers`. Raises InputError, for `what` needs it, if it is not there."""
    try:
        import transformers
    except ImportError as error:
        raise InputError(
            f"{what} needs transformers 4.50 or newer ({error}): pip install .[vlm]"
        ) from None
    found: ModuleType = transformers
    return found


def read_config(folder: Path, model_type: str) -> dict[str, Any]:
    """config.json of a model of that type.

    Raises InputError where the folder is not there, not whole, or of another model.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {_HOW_TO_GET}")
    config = _read_json(folder / "config.json")
    if config.get("model_type") != model_type:
        raise InputError(
            f"{folder}: a model of type {config.get('model_type')!r}, expected '{model_type}': "
            f"take a folder such as that of {_EXAMPLES[model_type]}"
        )
    if not (folder / "model.safetensors").is_file():
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        got = f"only {pickled[0]}, which is a pickle and never read" if pickled else "no weights"
        raise InputError(f"{folder}: expected model.safetensors, got {got}; {_HOW_TO_GET}")
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENS):
        raise InputError(f"{folder}: no tokenizer; {_HOW_TO_GET}")
    return config


def load_weights(model: nn.Module, folder: Path) -> None:
    """Give a model the weights of the folder, in float32.

    Raises InputError if the file is damaged, or of a model of other sizes.
    """
    path = folder / "model.safetensors"
    try:
        state = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: damaged ({_line(error)}); copy it again") from None
    wanted = model.state_dict()
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if name in wanted or not name.endswith(_OPTIONAL)
    }
    problems = [f"'{name}' is missing" for name in wanted if name not in state]
    problems += [f"'{name}' is unknown" for name in state if name not in wanted]
    problems += [
        f"'{name}' is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)}"
        for name, tensor in state.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    problems += [
        f"'{name}' is not finite" for name, tensor in state.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]  # fmt: skip
    if problems:
        more = f" and {len(problems) - 2} more" if len(problems) > 2 else ""
        raise InputError(
            f"{path}: not the weights that config.json tells of: {'; '.join(problems[:2])}{more}: "
            "copy both from one model"
        )
    model.load_state_dict(state)


class Tokenizer:
    """CLIP's byte pairs, as a folder has them."""

    def __init__(self, folder: Path, text_config: Any) -> None:
        """text_config: of the model. Raises InputError if the tokens are not the model's."""
        transformers = transformers_module("a model of video and texts")
        self._folder, self._longest = folder, int(text_config.max_position_embeddings)
        vocabulary = int(text_config.vocab_size)
        try:
            self._encode = transformers.CLIPTokenizerFast.from_pretrained(
                str(folder), local_files_only=True
            )
            sample = self._encode(["a"])["input_ids"][0]
        except Exception as error:  # noqa: BLE001 (Rust raises nothing more special)
            raise InputError(f"{folder}: its tokenizer cannot be read ({_line(error)})") from None
        # X-CLIP takes a text's feature at its largest token, which therefore has to be its end.
        end = self._encode.eos_token_id
        fits = end == vocabulary - 1 and len(sample) == 3 and sample[0] == vocabulary - 2
        if len(self._encode) != vocabulary or not fits or sample[2] != end:
            raise InputError(
                f"{folder}: another tokenizer: {len(self._encode)} tokens, 'a' is {sample}; the "
                f"model has {vocabulary}, and expects [{vocabulary - 2}, .., {vocabulary - 1}]: "
                "copy the tokenizer's files from the folder of the model"
            )

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and where they are of the text: (K, T) int64 each.

        Raises InputError if a text is longer than the model reads.
        """
        found = self._encode(list(texts))["input_ids"]
        for text, tokens in zip(texts, found):
            if len(tokens) > self._longest:
                raise InputError(
                    f"prompts: '{text[:40]}...' has {len(tokens)} tokens, the model reads "
                    f"{self._longest}, its begin and end among them: say it shorter"
                )
        length = max(map(len, found))
        end = int(self._encode.eos_token_id)
        tokens = torch.tensor([one + [end] * (length - len(one)) for one in found])
        there = torch.tensor([[1] * len(one) + [0] * (length - len(one)) for one in found])
        return tokens, there


def image_statistics(
    folder: Path, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (3,) of RGB in 0 to 1, of the folder's images or as given."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return mean, deviation
    told = _read_json(path)
    found = told.get("image_mean", mean), told.get("image_std", deviation)
    for values in found:
        if len(values) != 3 or not all(isinstance(one, (int, float)) for one in values):
            raise InputError(f"{path}: image_mean, image_std: expected 3 numbers, got {values!r}")
    if min(found[1]) <= 0:
        raise InputError(f"{path}: image_std: expected more than 0, got {found[1]!r}")
    return tuple(map(float, found[0])), tuple(map(float, found[1]))


def model_name(folder: Path, config: dict[str, Any]) -> str:
    """What the model calls itself, or else its folder's name."""
    return str(config.get("_name_or_path") or folder.resolve().name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_line(error)}); {_HOW_TO_GET}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object; {_HOW_TO_GET}")
    return document


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
