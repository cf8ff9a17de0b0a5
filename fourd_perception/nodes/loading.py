"""A node's model, from its parameters."""

from __future__ import annotations

import os

import torch

from fourd_perception import checkpoint
from fourd_perception.nodes.node_parameters import NodeParameters
from fourd_perception.parameters import ConfigError


def load_checkpoint(
    parameters: NodeParameters, task: str, name: str = "model"
) -> checkpoint.Checkpoint:
    """The checkpoint that the parameter of that name says, on the parameters' device.

    Raises ConfigError, or what checkpoint.load raises, if it cannot be had or is for another task.
    """
    path = getattr(parameters, name)
    if not path:
        raise ConfigError(f"{name}: no checkpoint is given; set it to a .safetensors file")
    if parameters.torch_threads:
        torch.set_num_threads(parameters.torch_threads)
    loaded = checkpoint.load(os.path.expanduser(path), device(parameters.device))
    if loaded.card.task != task:
        raise ConfigError(
            f"{name}: expected one for the task '{task}', {path} is for '{loaded.card.task}'"
        )
    return loaded


def device(name: str) -> torch.device:
    """The device of that name; 'auto' is a GPU if there is one. Raises ConfigError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: '{name}' cannot be used ({reason}); set auto or cpu") from None
    return chosen
