"""Language and video beside a bag's clouds: what the node's second worker says, in bag time."""

from __future__ import annotations

from pathlib import Path

from fourd_perception.checkpoint import Checkpoint
from fourd_perception.errors import InputError
from fourd_perception.evaluation.bag_source import BagSource
from fourd_perception.image_pipeline import ImagePipeline, VlmConfig, load_scorer
from fourd_perception.pipeline import ActionPipeline
from fourd_perception.stream.frame import Frame
from fourd_perception.stream.synchronizer import PairConfig
from fourd_perception.vocabulary import OpenVocabulary


class BagImages:
    """The images' scores for an ActionPipeline, and its classes where prompts take their place.

    They are there at once, for the clouds after the window's newest image; the node's come by as
    much later as X-CLIP takes. So a bag's answers stay the same, bit for bit.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        clouds: ActionPipeline,
        config: VlmConfig,
        pairing: PairConfig | None = None,
    ) -> None:
        """Raises InputError where the model was not aligned with the X-CLIP of the folder, and on
        prompts that cannot be had."""
        scorer = load_scorer(config.video_text_model, checkpoint)
        self.pairing = pairing or PairConfig()
        self._clouds = clouds
        self._branch = ImagePipeline(checkpoint, scorer, clouds.window.clip, config.image_rate)
        self._branch.vocabulary = OpenVocabulary(checkpoint, scorer).learn(config.prompts)
        clouds.vocabulary = self._branch.vocabulary

    def check_source(self, path: Path, source: BagSource) -> list[str]:
        """What there is to say of a bag without images. Raises InputError where only the images
        could have made a difference."""
        if source.colour:
            return []
        if not self._clouds.vocabulary.prompted:
            raise InputError(
                f"{path}: no colour images for video_text_model, or several topics of them: choose "
                "with --image, or leave video_text_model out"
            )
        return [f"{path}: no colour images: the prompts are compared with the clouds alone"]

    def warm_up(self) -> None:
        """Run X-CLIP once; nothing is kept of it."""
        self._branch.warm_up()

    def take(self, frame: Frame) -> None:
        """A frame, after the clouds' pipeline has had it."""
        clip = self._branch.offer(frame)
        if clip is not None:
            self._clouds.images = self._branch.score(clip)

    def said(self, path: Path) -> list[str]:
        """What there is to say when the bag is at its end."""
        window = self._branch.window
        if not window.resets:
            return []
        return [
            f"{path}: the images' window was emptied {window.resets} times; last: "
            f"{window.reset_reason}"
        ]
