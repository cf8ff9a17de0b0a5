"""What an X-CLIP begins with, and what weights of any kind come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fourd_perception import checkpoint, weights_file
from fourd_perception.errors import InputError
from fourd_perception.models.video_text import prompt_of
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import XClipVideoModel
from training import initial_weights

_WEIGHTS = "model.safetensors"
_BLOCK = 2**24


def begin_with(model: XClipVideoModel, folder: Path, classes: Sequence[str], *, says: bool) -> str:
    """Give a model the weights of a folder, and its features of the classes' texts; the digest.

    says: whether to print what was taken. Raises InputError as XClipScorer.load, and if the model
    is of other sizes.
    """
    scorer = XClipScorer.load(folder, prompts=model.config.prompt_depth > 0)
    prompts = model.config.prompts or tuple(map(prompt_of, classes))
    try:
        model.take(scorer.visual, scorer.text_features(prompts))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    if says:
        print(f"{scorer.name} taken from {folder}, with the texts of {len(prompts)} classes")
    return digest(folder)


def digest(path: Path) -> str:
    """Of a file, or of the weights in a folder. Raises InputError if they cannot be read."""
    found = hashlib.sha256()
    try:
        with (path / _WEIGHTS if path.is_dir() else path).open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return found.hexdigest()


def history(path: Path) -> dict[str, object]:
    """What weights were trained on, where they say it: for the card of what begins with them."""
    if path.is_dir():
        return {"name": path.resolve().name}
    if weights_file.has_card(path, checkpoint.METADATA_KEY):
        card = checkpoint.read_card(path)
        return {"name": card.name, **card.trained_on}
    first = initial_weights.read_card(path)
    return {"name": first.name, **first.trained_on}
