"""Make a small X-CLIP with random weights: python training/tiny_xclip.py FOLDER

It is saved as a user's own folder would be, for tests and for training on the studio, where no
pre-trained weights can be had. It knows nothing until finetune.py has trained it.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import InputError, command
from fourd_perception.models.pretrained_folder import transformers_module
from fourd_perception.parameters import param
from fourd_perception.tools.arguments import counting
from fourd_perception.whole_file import written

_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
"""How many lines of OpenAI's file CLIP was trained with; it holds more."""
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_TEXT_LAYERS = 2


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the model; two CPU cores train the default on the studio."""

    image_size: int = param(64, "height and width of images", unit="px", at_least=8, at_most=512)
    patch_size: int = param(16, "height and width of patches", unit="px", at_least=2, at_most=64)
    frames: int = param(8, "frames in a clip", at_least=1, at_most=64)
    width: int = param(128, "channels of both encoders", at_least=8, at_most=1024)
    depth: int = param(4, "layers of the vision encoder", at_least=1, at_most=24)
    heads: int = param(4, "heads of every attention", at_least=1, at_most=16)
    embed_dim: int = param(64, "channels of the space of video and texts", at_least=8, at_most=1024)
    seed: int = param(0, "seed of the weights", at_least=0, at_most=2**31 - 1)

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size: {self.patch_size} does not divide the image's {self.image_size}"
            )
        if self.width % self.heads or self.embed_dim % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide width and embed_dim")


def find_vocabulary() -> Path:
    """CLIP's byte pairs, where an installed package carries them, which is not imported.

    Raises InputError where none does.
    """
    for package in ("open_clip", "clip"):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / _VOCABULARY).is_file():
                return Path(place) / _VOCABULARY
    raise InputError(
        f"CLIP's vocabulary, {_VOCABULARY}, is in no installed package: "
        "pip install --no-deps open-clip-torch, or name the file by --vocabulary"
    )


def read_merges(vocabulary: Path) -> list[str]:
    """The pairs of bytes that are one token. Raises InputError if the file is not CLIP's."""
    try:
        with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
            merges = [line.rstrip("\n") for line in file][1 : _MERGES + 1]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{vocabulary}: cannot be read ({error})") from None
    if len(merges) < _MERGES or any(len(merge.split()) != 2 for merge in merges):
        raise InputError(f"{vocabulary}: expected a line and {_MERGES} pairs, got {len(merges)}")
    return merges


def write_tokenizer(folder: Path, merges: Sequence[str]) -> int:
    """Write a tokenizer's files; returns how many tokens there are: the bytes, and the pairs."""
    single = _byte_characters()
    tokens = [*single, *(f"{one}</w>" for one in single)]
    tokens += [merge.replace(" ", "") for merge in merges] + [_BEGIN, _END]
    vocab = {token: number for number, token in enumerate(tokens)}
    _write(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n")
    told = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "errors": "replace",
        "bos_token": _BEGIN, "eos_token": _END, "unk_token": _END, "pad_token": _END,
        "do_lower_case": True,
    }  # fmt: skip
    _write(folder / "tokenizer_config.json", json.dumps(told))
    return len(tokens)


def _byte_characters() -> list[str]:
    """A visible character for each of the 256 bytes, in the order in which CLIP counts them."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in visible)
    return [chr(byte) for byte in visible] + [chr(256 + n) for n, _ in enumerate(others)]


def _write(path: Path, text: str) -> None:
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def make(
    folder: str | Path, config: TinyConfig | None = None, merges: Sequence[str] | None = None,
    *, kind: str = "xclip",
) -> Path:  # fmt: skip
    """Write a model with random weights and its tokenizer; returns the folder.

    merges: of its tokenizer; None for CLIP's, of an installed package. kind: xclip, or clip for a
    model of images. Raises InputError where no package has CLIP's, and without transformers.
    """
    folder, config = Path(folder), config or TinyConfig()
    transformers = transformers_module("a small X-CLIP")
    tokens = write_tokenizer(folder, read_merges(find_vocabulary()) if merges is None else merges)
    text = {
        "vocab_size": tokens, "hidden_size": config.width, "intermediate_size": 2 * config.width,
        "num_hidden_layers": _TEXT_LAYERS, "num_attention_heads": config.heads,
        "bos_token_id": tokens - 2, "eos_token_id": tokens - 1, "pad_token_id": tokens - 1,
    }  # fmt: skip
    vision: dict[str, Any] = {
        "hidden_size": config.width, "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.depth, "num_attention_heads": config.heads,
        "image_size": config.image_size, "patch_size": config.patch_size,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        if kind == "clip":
            sizes = transformers.CLIPConfig(
                text_config=text, vision_config=vision, projection_dim=config.embed_dim
            )
            model = transformers.CLIPModel(sizes)
        else:
            vision |= {
                "num_frames": config.frames, "mit_hidden_size": config.embed_dim,
                "mit_intermediate_size": 4 * config.embed_dim,
                "mit_num_attention_heads": config.heads,
            }  # fmt: skip
            sizes = transformers.XCLIPConfig(
                text_config=text, vision_config=vision, projection_dim=config.embed_dim,
                prompt_num_attention_heads=config.heads,
            )  # fmt: skip
            model = transformers.XCLIPModel(sizes)
    model.save_pretrained(folder)
    return folder


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="where it is written")
    parser.add_argument("--image-size", type=counting, default=TinyConfig.image_size)
    parser.add_argument("--patch-size", type=counting, default=TinyConfig.patch_size)
    parser.add_argument("--width", type=counting, default=TinyConfig.width)
    parser.add_argument("--depth", type=counting, default=TinyConfig.depth)
    parser.add_argument("--seed", type=int, default=TinyConfig.seed)
    parser.add_argument("--vocabulary", type=Path, help=f"CLIP's {_VOCABULARY}")
    given = parser.parse_args()
    try:
        config = TinyConfig(
            image_size=given.image_size, patch_size=given.patch_size, width=given.width,
            depth=given.depth, seed=given.seed,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(str(error)) from None
    merges = read_merges(given.vocabulary or find_vocabulary())
    print(make(given.folder, config, merges))
    return 0


if __name__ == "__main__":
    sys.exit(main())
