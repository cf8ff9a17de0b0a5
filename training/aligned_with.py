"""What an alignment begins with: the model of video and texts, and the encoder of clouds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fourd_perception import checkpoint, models, weights_file
from fourd_perception.errors import InputError
from fourd_perception.models import VideoModel
from fourd_perception.models.clip_frames import ClipFramesScorer
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.models.xclip_video import XClipVideoModel, check_sizes
from fourd_perception.parameters import load_yaml, to_mapping
from training import initial_weights
from training.align_config import AlignConfig, VideoTextConfig
from training.xclip_weights import digest


def load_scorer(
    config: VideoTextConfig, image_size: int
) -> tuple[XClipScorer | ClipFramesScorer, str]:
    """The frozen model, on the CPU, and a digest of its weights.

    Raises InputError as its own `load`, if what was fine-tuned does not fit it, and if it sees
    images of another size.
    """
    folder = Path(config.folder)
    scorer: XClipScorer | ClipFramesScorer
    if config.kind == "xclip":
        scorer = XClipScorer.load(folder, prompts=config.conditioned)
    else:
        scorer = ClipFramesScorer.load(folder)
    if scorer.image_size != image_size:
        raise InputError(
            f"{folder}: sees images of {scorer.image_size} x {scorer.image_size} pixels, the run "
            f"has preprocess.image_size {image_size}: set it to {scorer.image_size}"
        )
    found = digest(folder)
    if config.finetuned and isinstance(scorer, XClipScorer):
        take_finetuned(scorer, Path(config.finetuned))
        found += f" {digest(Path(config.finetuned))}"
    return scorer, found


def take_finetuned(scorer: XClipScorer, path: Path) -> None:
    """Put the visual side of a checkpoint of finetune.py in the place of the scorer's own.

    Raises InputError if it is no X-CLIP, or of other sizes.
    """
    found = checkpoint.load(path)
    if not isinstance(found.model, XClipVideoModel):
        raise InputError(
            f"{path}: a checkpoint of {found.card.architecture}, expected xclip_video: "
            "take one that finetune.py has made of the same folder"
        )
    try:
        check_sizes(found.model.config, scorer.visual)
    except InputError as error:
        raise InputError(f"{path}: {error}; or another video_text.conditioned") from None
    scorer.visual.load_state_dict(found.model.visual.state_dict())


def begin_encoder(
    encoder: VideoModel, init: Path, config: AlignConfig, classes: Sequence[str], *, says: bool
) -> None:
    """Give the encoder the weights of a file: a checkpoint's with its classifier, or an encoder's.

    says: whether to print what was taken. Raises InputError if they do not fit.
    """
    kind = models.architecture(config.architecture)
    sizes = to_mapping(load_yaml(kind.config, config.model))
    if not weights_file.has_card(init, checkpoint.METADATA_KEY):
        loaded = initial_weights.load_into(
            encoder, init, config.architecture, sizes, config.preprocess
        )
        taken = f"{len(loaded.taken)} tensors"
    else:
        found = checkpoint.load(init)
        card = found.card
        initial_weights.check_architecture(init, card.architecture, config.architecture)
        initial_weights.check_sizes(init, config.architecture, card.model, sizes)
        initial_weights.check_unit(init, card.preprocess, config.preprocess)
        if card.classes != tuple(classes):
            raise InputError(
                f"{init}: of {len(card.classes)} classes ({', '.join(card.classes)[:80]}), the run "
                f"has {len(classes)} ({', '.join(classes)[:80]}): train it on the same, or begin "
                "with <name>_points.safetensors of pretrain.py"
            )
        encoder.load_state_dict(found.model.state_dict())
        taken = "the encoder and its classifier"
    if says:
        print(f"{taken} taken from {init}")
