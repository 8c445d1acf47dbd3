"""What answers a benchmark's questions: a recipe's model before training, a run, or an exported folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.model import Decoding, VisionLanguageModel
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.processes.devices import local_device
from mdpo_core.processes.world import ALONE
from mdpo_core.recipe.loading import load_sections
from mdpo_core.recipe.shipped import recipe_file
from mdpo_core.storage.exported import digests
from mdpo_core.storage.files import sha256
from mdpo_core.types.example import Example
from mdpo_core.use.found import FoundModel, find_trained
from mdpo_core.use.trained import EncodedQuestion


class Answerer(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """What stands in each answer."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that its answers depend on, as JSON."""

    def check(self, example: Example) -> None:
        """Raise `RecipeError` or `DataError` if it could not answer; reads no weights."""

    def __call__(self, examples: Sequence[Example]) -> list[str]:
        """The answers, in order."""


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine, which is loaded when it is first asked.

    ``load`` gives it for a device; ``files``: the digests of its files.
    """

    name: str
    adapter: ModelAdapter
    files: Mapping[str, str]
    load: Callable[[str], VisionLanguageModel]
    decoding: Decoding

    @property
    def identity(self) -> Mapping[str, Any]:
        """The adapter, its options, and the files of the model."""
        options = self.adapter.model_dump(mode="json")
        return {"adapter": self.adapter.component_name(), "options": options, "files": dict(self.files)}

    def check(self, example: Example) -> None:
        """Encode a question."""
        self._encoded(example)

    def __call__(self, examples: Sequence[Example]) -> list[str]:
        """The answers, made at once where there is room for the longest one."""
        import torch

        asked = [self._encoded(example) for example in examples]
        limit = self.decoding.max_new_tokens
        roomy = [index for index, each in enumerate(asked) if each.room is None or each.room >= limit]
        answers = {
            index: each.answer_of(self._model, self.decoding) for index, each in enumerate(asked) if index not in roomy
        }
        if roomy:
            with torch.no_grad():
                made = self._model.generate([asked[index].prompt for index in roomy], self.decoding)
            answers |= {index: asked[index].encoder.decode(ids) for index, ids in zip(roomy, made, strict=True)}
        return [answers[index] for index in range(len(asked))]

    def _encoded(self, example: Example) -> EncodedQuestion:
        encoder = self._encoder_of(str(example.prompt))
        return EncodedQuestion.of(example, encoder, self.adapter.max_positions)

    @cached_property
    def _encoder_of(self) -> Callable[[str], Any]:
        with code_of(self.adapter, "questions"):
            return self.adapter.questions()

    @cached_property
    def _model(self) -> VisionLanguageModel:
        return self.load(local_device(ALONE))


def untrained_model(path: Path, decoding: Decoding) -> LocalModel:
    """The model before training of a run directory or of an exported folder. Raises like `local_model`."""
    found = find_trained(path)
    found.require_untrained()
    name = f"{path} before training"
    return LocalModel(name, found.untrained, _own(found.untrained), found.load_untrained, decoding)


def local_model(path: Path, decoding: Decoding) -> LocalModel:
    """The model that ``path`` names: a run directory, an exported folder, or a recipe (its model before training).

    Raises `RecipeError`, `DataError` or `CheckpointError` if it is missing, damaged or changed; loads no weights.
    """
    if path.is_dir():
        found = find_trained(path)
        folder = found.folder or found.checkpoint
        assert folder is not None
        return LocalModel(str(path), found.adapter, {**_own(found.untrained), **digests(folder)}, found.load, decoding)
    adapter, backend = load_sections(recipe_file(path), "model", "backend")
    adapter = adapter.unquantized.without_kernels
    with code_of(adapter, "check"):
        adapter.check()
    untrained = FoundModel(adapter, adapter, placement_of(backend).dtype)
    return LocalModel(str(path), adapter, _own(adapter), untrained.load_untrained, decoding)


def _own(adapter: ModelAdapter) -> dict[str, str]:
    return {file.name: sha256(file) for file in adapter.files()}
