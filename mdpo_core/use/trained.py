"""A trained model that answers questions about pictures: two lines of Python to an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mdpo_core.errors import DataError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.model import Decoding, Encoder, VisionLanguageModel
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.processes.devices import local_device
from mdpo_core.processes.world import ALONE
from mdpo_core.types.batch import EncodedPrompt
from mdpo_core.types.example import Example
from mdpo_core.use.found import FoundModel, find_trained
from mdpo_core.use.options import require_device, require_options
from mdpo_core.use.question import as_example

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class EncodedQuestion:
    """A question that was encoded; ``room``: the number of tokens that its answer may have, None for any."""

    encoder: Encoder
    prompt: EncodedPrompt
    room: int | None

    @classmethod
    def of(cls, example: Example, encoder: Encoder, max_positions: int | None) -> Self:
        """Encode ``example``. Raises `DataError` if the model cannot read it, or could not answer it."""
        prompt = encoder.encode_prompt(example)
        length = len(prompt.token_ids)
        if max_positions is not None and length >= max_positions:
            raise DataError(
                f"the prompt has {length} tokens, image tokens included, but the model reads {max_positions}, answer "
                "included; ask a shorter question, or show fewer pictures"
            )
        return cls(encoder, prompt, None if max_positions is None else max_positions - length)

    def answer_of(self, model: VisionLanguageModel, decoding: Decoding) -> str:
        """The answer of ``model``."""
        import torch

        if self.room is not None:
            decoding = replace(decoding, max_new_tokens=min(self.room, decoding.max_new_tokens))
        with torch.no_grad():
            [token_ids] = model.generate([self.prompt], decoding)
        return self.encoder.decode(token_ids)


@dataclass(frozen=True)
class TrainedModel:
    """A loaded model that answers questions; `load_trained` makes it.

    ``adapter`` made ``model``, and ``encoder_of(question)`` is the `Encoder` of a question.
    """

    adapter: ModelAdapter
    model: VisionLanguageModel
    encoder_of: Callable[[str], Encoder]

    def answer(
        self,
        question: str,
        *pictures: str | Path | Image,
        max_new_tokens: int = MAX_NEW_TOKENS,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The model's answer to a question about any number of pictures: files, or pictures of Pillow.

        A bare question is put into the model's chat template, if it has one; a prompt in the model's format is used
        unchanged. ``<image>`` in the question marks the place of a picture; without marks, pictures come first.
        ``temperature``: 0 takes the likeliest token each time; else tokens are drawn with ``seed``, from the likeliest
        ones that have the probability ``top_p`` together. An answer has at most ``max_new_tokens`` tokens, and ends
        where the model's longest sequence does. Raises `DataError` for a picture that cannot be read, for marks and
        pictures that differ in number, for options out of range and for a question that leaves no room for an answer.
        """
        require_options(max_new_tokens, temperature, top_p)
        example = as_example(question, pictures)
        asked = EncodedQuestion.of(example, self.encoder_of(question), self.adapter.max_positions)
        return asked.answer_of(self.model, Decoding(max_new_tokens, temperature, top_p, seed))


def load_trained(
    folder: str | Path, *, step: int | None = None, base_path: str | None = None, device: str | None = None
) -> TrainedModel:
    """Load the model of a run, or an exported model, to ask it questions.

    ``model = load_trained("runs/mine")``, then ``model.answer("What is in the picture?", "photo.jpg")``.

    ``folder``: a run directory, whose ``final`` is loaded, or its newest checkpoint if it has not ended; or an exported
    folder: ``final``, ``best``, what ``mdpo export`` wrote, at any place. ``step``: the checkpoint after this step.
    ``base_path``: a folder or hub name of the model that was trained, if it is not where it was. ``device``: as torch
    writes it; None: a GPU if torch finds one, else the CPU. The weights keep the type that they had in training.

    Raises `RecipeError` if there is no model or no such device, `DataError` if the model's files are missing, damaged
    or changed, and `CheckpointError` if a checkpoint is damaged or the model before training has changed.
    """
    if device is not None:
        require_device(device)
    found = find_trained(Path(folder), step, base_path)
    with code_of(found.adapter, "questions"):
        encoder_of = found.adapter.questions()
    return TrainedModel(found.adapter, found.load(device or local_device(ALONE)), encoder_of)


@dataclass(frozen=True)
class Answers:
    """The answers of a trained model and, if it was asked, of the model before training."""

    trained: str
    untrained: str | None


def ask(found: FoundModel, example: Example, decoding: Decoding, *, compare: bool) -> Answers:
    """The trained model's answer and, with ``compare``, that of the model before training.

    Everything that can be checked is checked before weights are read. One model is in memory at a time.
    """
    if compare:
        found.require_untrained()
    with code_of(found.adapter, "questions"):
        encoder = found.adapter.questions()(str(example.prompt))
    asked = EncodedQuestion.of(example, encoder, found.adapter.max_positions)
    device = local_device(ALONE)
    model = found.load(device)
    trained = asked.answer_of(model, decoding)
    if not compare:
        return Answers(trained, None)
    if found.adapter.has_lora and found.untrained is found.adapter:
        with model.adapter_disabled():
            return Answers(trained, asked.answer_of(model, decoding))
    del model
    return Answers(trained, asked.answer_of(found.load_untrained(device), decoding))
