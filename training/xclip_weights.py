"""What an X-CLIP begins with, and what weights of any kind come from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fourd_perception import checkpoint, weights_file
from fourd_perception.errors import InputError
from fourd_perception.models.pretrained_scorer import PretrainedScorer
from fourd_perception.models.video_text import prompt_of
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import XClipVideoModel
from fourd_perception.whole_file import written
from training import initial_weights

_WEIGHTS = "model.safetensors"
_STATISTICS = "preprocessor_config.json"
_KEPT_FILES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
    "special_tokens_map.json",
)  # fmt: skip
_BLOCK = 2**24

VIDEO_TEXT = "video_text"
"""The folder in a run of align.py that has the fine-tuned X-CLIP."""


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


def write_folder(source: Path, scorer: PretrainedScorer, target: Path) -> None:
    """Write the X-CLIP of a folder with the weights for videos that a scorer has by now.

    It can be used as the first one can: by the recognizer, too, which then sees videos as the
    training did. Raises InputError if the folder cannot be read or written.
    """
    try:
        state = load_file(source / _WEIGHTS)
        target.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            if path.name in _KEPT_FILES:
                shutil.copyfile(path, target / path.name)
        seen = {name: one.cpu().contiguous() for name, one in scorer.visual_state().items()}
        told = source / _STATISTICS
        statistics = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
        statistics["image_mean"] = seen.pop("mean").flatten().tolist()
        statistics["image_std"] = seen.pop("deviation").flatten().tolist()
        with written(target / _STATISTICS) as part:
            part.write_text(json.dumps(statistics), encoding="utf-8")
        with written(target / _WEIGHTS) as part:
            save_file(state | seen, part, {"format": "pt"})
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{target}: cannot be made of {source} ({error})") from None


def history(path: Path) -> dict[str, object]:
    """What weights were trained on, where they say it: for the card of what begins with them."""
    if path.is_dir():
        return {"name": path.resolve().name}
    if weights_file.has_card(path, checkpoint.METADATA_KEY):
        card = checkpoint.read_card(path)
        return {"name": card.name, **card.trained_on}
    first = initial_weights.read_card(path)
    return {"name": first.name, **first.trained_on}
