"""Turn a downloaded model's pickled weights into safetensors: make_safetensors.py FOLDER

Some models are published as pytorch_model.bin alone, a pickle, which no node reads. It is read here
once, as plain tensors (weights_only), and model.safetensors is written beside it.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fourd_perception.errors import InputError, command
from fourd_perception.whole_file import written


def convert(folder: Path) -> Path:
    """Write the folder's model.safetensors, and return its path. Raises InputError."""
    pickled, made = folder / "pytorch_model.bin", folder / "model.safetensors"
    if made.exists():
        raise InputError(f"{made}: already there; nothing to do")
    if not pickled.is_file():
        raise InputError(f"{pickled}: no such file; expected the folder of a downloaded model")
    try:
        state = torch.load(pickled, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{pickled}: no file of tensors ({reason}); download it again") from None
    if not isinstance(state, dict) or not all(isinstance(one, Tensor) for one in state.values()):
        raise InputError(f"{pickled}: expected names and tensors; download it again")
    content = serialize({name: one.clone().contiguous() for name, one in state.items()})
    with written(made) as part:
        part.write_bytes(content)
    return made


@command
def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="with config.json and pytorch_model.bin")
    print(convert(parser.parse_args().folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
