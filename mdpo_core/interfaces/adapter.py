"""Model adapters: what differs between models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.model import Encoder, Placement, VisionLanguageModel
from mdpo_core.interfaces.parts import Lora, Part, Parts, PartTraining, problems_of, training_of


class ModelAdapter(Component):
    """What differs between models: prompt and image tokens, named parts, what trains, export."""

    kind: ClassVar[str] = "adapter"
    lora: Lora | None = Field(
        default=None, description="train adapters of this kind beside the language model; absent: train the weights"
    )
    freeze: tuple[Part, ...] = Field(
        default=(), description="parts that do not train: vision, projector, language; without LoRA only"
    )
    parts: Parts = Field(default=Parts(), description="what a single part does otherwise, and its learning rate")
    max_length: int = Field(default=2048, gt=0, description="tokens of the longest sequence, image tokens included")

    # Options that do not change what the untrained model gives. A path is one where `files` says what lies there.
    only_training: ClassVar[frozenset[str]] = frozenset({"lora", "freeze", "parts", "max_length"})

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        problems = list(problems_of(self.lora, self.freeze, self.parts))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def training(self) -> Mapping[Part, PartTraining]:
        """How each part trains; `load` does what it says."""
        return training_of(self.lora, self.freeze, self.parts)

    @property
    def has_lora(self) -> bool:
        """Whether there is an adapter, which can be switched off and merged."""
        return any(each.mode == "lora" for each in self.training.values())

    @property
    def trains_images(self) -> bool:
        """Whether anything before the language model trains."""
        return any(self.training[part].mode != "frozen" for part in ("vision", "projector"))

    @abstractmethod
    def check(self) -> None:
        """Find the model's files without loading them; `DataError` says what is missing or unfit."""

    def files(self) -> Sequence[Path]:
        """The files that model and encoder are loaded from; a run's manifest holds their digests."""
        return ()

    @property
    def shares_prefix(self) -> bool:
        """Whether the loaded model can compute a prompt once for all its responses (``packed_hidden_states``)."""
        return False

    @abstractmethod
    def encoder(self) -> Encoder:
        """What turns examples into token ids and image inputs; loads no weights."""

    @abstractmethod
    def load(self, placement: Placement, *, trainable: bool = True) -> VisionLanguageModel:
        """Load the model; with ``trainable=False`` as a frozen reference, without LoRA."""

    @abstractmethod
    def load_exported(self, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
        """Load what a model of this adapter exported, as whoever is given the folder does.

        Parameters have the names of `load`; those of a merged model may have others. `DataError` names what is
        missing.
        """

    @property
    def unquantized(self) -> ModelAdapter:
        """The adapter of the same model with all weights in the placement's type: what can be exported and merged."""
        return self
