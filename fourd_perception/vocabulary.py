"""The classes that an aligned model tells apart: its own, or any others that are put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fourd_perception.checkpoint import Checkpoint, ModelCard
from fourd_perception.errors import InputError
from fourd_perception.models.aligned import AlignedModel
from fourd_perception.models.video_text import VideoTextScorer, check_texts


@dataclass(frozen=True)
class Vocabulary:
    """What the columns of the scores are; never changed, but replaced as a whole.

    classes: their names. texts: (K, D), features of prompts as the text model gives them, on the
    model's device; None where the classes are the checkpoint's own. Of prompts the classifiers know
    nothing: the scores are those against texts alone. unseen: prompts that the model was not
    aligned with, whose scores are zero-shot.
    """

    classes: tuple[str, ...]
    texts: Tensor | None = field(default=None, compare=False)
    unseen: tuple[str, ...] = ()
    prompted: bool = False


def own_vocabulary(card: ModelCard) -> Vocabulary:
    """A checkpoint's classes."""
    return Vocabulary(card.classes)


class OpenVocabulary:
    """Turns prompts into vocabularies of one model.

    `check` takes a moment, `learn` as long as the text encoder does; from one thread each.
    """

    def __init__(self, checkpoint: Checkpoint, scorer: VideoTextScorer | None) -> None:
        """scorer: what encodes the texts; None where the folder of it was not given.

        Raises InputError if the model was aligned with another.
        """
        self.card = checkpoint.card
        self._model = checkpoint.model if isinstance(checkpoint.model, AlignedModel) else None
        self._scorer = scorer
        if self._model is not None and scorer is not None:
            self._model.check_scorer(scorer)

    def check(self, prompts: Sequence[str]) -> None:
        """Raises InputError, in one line, if the prompts cannot be had.

        That is where the model has no scores against texts or the text model is not there, and
        where they are fewer than two, empty, doubled, or too long. None at all, or an empty one
        alone, stand for the checkpoint's own classes.
        """
        if not _given(prompts):
            return
        self._parts(prompts)
        check_texts(prompts)
        if len(prompts) < 2:
            raise InputError(
                f"prompts: '{prompts[0]}' alone would always score 1: give two at least, such as "
                "what is done otherwise"
            )
        assert self._scorer is not None  # _parts would have raised
        self._scorer.check_texts(prompts)

    def learn(self, prompts: Sequence[str]) -> Vocabulary:
        """The vocabulary of prompts, or the checkpoint's own. Raises InputError as `check`."""
        if not _given(prompts):
            return own_vocabulary(self.card)
        self.check(prompts)
        model, scorer = self._parts(prompts)
        with torch.inference_mode():
            texts = scorer.text_features(prompts).to(model.texts.device)
        return Vocabulary(tuple(prompts), texts, model.unseen(prompts), prompted=True)

    def _parts(self, prompts: Sequence[str]) -> tuple[AlignedModel, VideoTextScorer]:
        if self._model is None:
            raise InputError(
                f"prompts: {self.card.name} ({self.card.architecture}) has no scores against "
                "texts: take a checkpoint of training/align.py, or leave prompts empty"
            )
        if self._scorer is None:
            raise InputError(
                f"prompts: '{prompts[0]}' and the others need the text encoder that "
                f"{self.card.name} was aligned with: set video_text_model to its folder"
            )
        return self._model, self._scorer


def _given(prompts: Sequence[str]) -> bool:
    return bool(prompts) and list(prompts) != [""]
