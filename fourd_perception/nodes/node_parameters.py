"""What every perception node can be told; the recognizer and the segmenter add what is theirs."""

from __future__ import annotations

from dataclasses import dataclass

from fourd_perception.looking.config import LookConfig
from fourd_perception.messages import compressed_depth
from fourd_perception.parameters import param
from fourd_perception.stream.synchronizer import PairConfig


@dataclass(frozen=True)
class InputParameters:
    """What every perception node takes: its model, and how its input comes."""

    model: str = param("", "the checkpoint, a .safetensors file; all about the model is in it")
    device: str = param("auto", "where the model runs: auto, cpu, cuda, cuda:1, ...")
    torch_threads: int = param(
        0, "threads of a computation on the CPU; 0: PyTorch's own choice", at_least=0, at_most=256
    )
    use_depth: bool = param(
        False, "subscribe to depth images and their camera_info in place of clouds"
    )  # fmt: skip
    depth_image_transport: str = param(
        "raw", "how depth images come: as they are, or as CompressedImage (PNG or RVL) on "
        "<depth>/compressedDepth",
        choices=("raw", compressed_depth.TRANSPORT),
    )  # fmt: skip
    use_image: bool = param(False, "subscribe to the colour image and pair it with the cloud")
    image_transport: str = param(
        "raw", "how colour images come: as they are, or as CompressedImage (JPEG or PNG) on "
        "<image>/compressed",
        choices=("raw", "compressed"),
    )  # fmt: skip
    autostart: bool = param(False, "configure and activate at once, without a lifecycle manager")


@dataclass(frozen=True)
class NodeParameters(LookConfig, PairConfig, InputParameters):
    """What every perception node takes, how it pairs, and where it looks."""
