"""Model adapters: one for each family of models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.model import Depth, Dtype, Encoder, Placement, VisionLanguageModel
from mdpo_core.interfaces.parts import Lora, Part, Parts, PartTraining, problems_of, training_of


@dataclass(frozen=True)
class ModelSummary:
    """What an adapter knows of a model that it was not configured for.

    ``about``: the model in a few words. ``prompts``: the option of this name with which it reads the prompts.
    ``is_made_for_it``: False if the adapter reads models of any family, so that others may fit better. ``offer``: an
    option that a user may want, such as ``"key: value   # what it does"``; it is a comment in the recipe.
    """

    about: str
    prompts: Literal["ready", "chat"]
    is_made_for_it: bool = True
    offer: str = ""


class ModelAdapter(Component):
    """A kind of model: its prompt format, its image tokens, its named parts, which of them train, and its export."""

    kind: ClassVar[str] = "adapter"
    lora: Lora | None = Field(
        default=None, description="train adapters of this kind beside the language model; absent: train the weights"
    )
    freeze: tuple[Part, ...] = Field(
        default=(), description="parts that do not train: vision, projector, language; without LoRA only"
    )
    parts: Parts = Field(
        default=Parts(), description="how a single part trains, if not as lora and freeze say, and its learning rate"
    )
    max_length: int = Field(
        default=2048, ge=8, le=10_000_000, description="tokens of the longest sequence, image tokens included"
    )

    # Options that only affect training. A path may be listed if `files` covers its contents by digest.
    only_training: ClassVar[frozenset[str]] = frozenset({"lora", "freeze", "parts", "max_length"})

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        problems = list(problems_of(self.lora, self.freeze, self.parts))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def training(self) -> Mapping[Part, PartTraining]:
        """How each part trains. `load` has to implement it."""
        return training_of(self.lora, self.freeze, self.parts)

    @property
    def has_lora(self) -> bool:
        """Whether any part has LoRA, which can be switched off and merged."""
        return any(training.mode == "lora" for training in self.training.values())

    @property
    def trains_images(self) -> bool:
        """Whether the vision encoder or the projector trains."""
        return any(self.training[part].mode != "frozen" for part in ("vision", "projector"))

    @abstractmethod
    def check(self) -> None:
        """Check the model's files without loading weights. Raises `DataError` if a file is missing or not usable."""

    def files(self) -> Sequence[Path]:
        """The files that the model and the encoder are loaded from. A run's manifest contains their digests."""
        return ()

    @property
    def shares_prefix(self) -> bool:
        """Whether the model has ``packed_hidden_states``, which computes a prompt once for all its responses."""
        return False

    @property
    def takes_noise(self) -> bool:
        """Whether the model has ``input_embeddings``, on which `train.neftune_noise_alpha` puts noise."""
        return False

    @property
    def has_routers(self) -> bool:
        """Whether the model has ``routing``, whose balance `train.router_aux_loss_coef` keeps."""
        return False

    @property
    def refuses_compiling(self) -> str:
        """Why the model's layers cannot be compiled; empty: they can.

        Compiled layers are called with a hidden state and keyword arguments, one of them the row ``packed``, of which
        they call only ``attend``.
        """
        return "the layers of this adapter's models are not made for it"

    @property
    def max_positions(self) -> int | None:
        """The tokens of the longest sequence that the model can read, image tokens included; None: no limit is known.

        A longer row is bad, whatever ``max_length`` allows.
        """
        return None

    @abstractmethod
    def encoder(self) -> Encoder:
        """The encoder from examples to token ids and image inputs. Does not load weights."""

    @abstractmethod
    def load(self, placement: Placement, *, trainable: bool = True) -> VisionLanguageModel:
        """Load the model to be trained; with ``trainable=False``, load the model before training, frozen."""

    def sketch(self, dtype: Dtype, *, depth: int | None = None, trainable: bool = True) -> VisionLanguageModel:
        """What `load` gives, on torch's meta device: names, shapes, types and what trains, but no numbers.

        ``depth``: the number of layers of the language model; None: all. Needs the model's configuration, not its
        weights. An adapter without it trains, but the memory of its runs cannot be estimated.
        """
        raise RecipeError(f"the adapter '{self.component_name()}' cannot say how much memory its models need")

    @property
    def depth(self) -> Depth:
        """The depth of the language model; for adapters with `sketch`."""
        raise RecipeError(f"the adapter '{self.component_name()}' cannot say how much memory its models need")

    def check_exported(self, folder: Path, *, same_base: bool = False) -> None:
        """Check an exported model without loading weights. Raises `DataError` if `load_exported` would not read it.

        ``same_base``: digests decide whether the folder belongs to this model, so its name need not.
        """

    @abstractmethod
    def load_exported(self, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
        """Load an exported model from ``folder`` alone, as a person who was given only that folder would.

        Parameters have the same names as after `load`, except perhaps in a merged model. Raises `DataError` if a file
        is missing.
        """

    @classmethod
    def summarize(cls, path: str, *, ready: bool) -> ModelSummary | None:
        """What is at ``path``, for `mdpo new-recipe`; None if this adapter does not read it.

        ``ready``: whether prompts are ready-made texts, and not bare questions or messages. Raises `DataError` if files
        are missing or damaged.
        """
        return None

    @property
    def lost(self) -> str | None:
        """The folder or hub name of the model if nothing is there, or not any more; None if the model is found."""
        return None

    def at(self, path: str) -> ModelAdapter:
        """This adapter for the same model at another place, a folder or a hub name. Raises `RecipeError`."""
        raise RecipeError(f"the adapter '{self.component_name()}' brings its own model, so its place cannot be changed")

    @property
    def beside_lora(self) -> ModelAdapter:
        """The adapter of the model that LoRA weights are put on: this one.

        But where LoRA starts as weights that were trained before, the model before training has those, and this one
        has none.
        """
        return self

    def in_full(self) -> ModelAdapter:
        """This adapter with an absolute path to its model, so that it works in any working directory."""
        return self

    def for_exported(self, folder: Path) -> ModelAdapter:
        """The adapter whose `load_exported` reads ``folder`` from any working directory.

        `has_lora` says what ``folder`` contains: LoRA weights, or a complete model.
        """
        return self

    def questions(self) -> Callable[[str], Encoder]:
        """A function that gives the encoder for a question as a person asks it.

        A bare question is put into the model's chat template, if the model has one and was not trained without it. A
        prompt in the format of the model is used unchanged.
        """
        encoder = self.encoder()
        return lambda question: encoder

    def name_base(self, folder: Path, name: str) -> None:
        """Write into an exported folder with LoRA weights where their model is: an absolute path, or a hub name."""
        raise RecipeError(
            f"the adapter '{self.component_name()}' does not write the place of a model into what it exports"
        )

    def needed_by_exports(self) -> str:
        """What plain transformers needs for an exported model besides its own requirements; a phrase, or nothing."""
        return ""

    @property
    def without_kernels(self) -> ModelAdapter:
        """This adapter with torch's own kernels, which run on a CPU and on weights without numbers."""
        return self

    @property
    def unquantized(self) -> ModelAdapter:
        """This adapter without quantization: all weights have the placement's dtype, so the model can be merged."""
        return self
