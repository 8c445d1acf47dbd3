"""Which parts of a model train, how, and at which learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from mdpo_core.interfaces.component import Options

Part = Literal["vision", "projector", "language"]
TrainMode = Literal["frozen", "full", "lora"]
PARTS: tuple[Part, ...] = ("vision", "projector", "language")
ALL_LINEAR = "all-linear"


class Lora(Options):
    """Low-rank adapters beside frozen weights (arXiv:2106.09685)."""

    rank: int = Field(default=64, gt=0, le=100_000, description="rank of the update")
    alpha: float = Field(default=128.0, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.05, ge=0, lt=1, description="dropout before the adapter, in training only")
    dora: bool = Field(default=False, description="also train the norm of each weight's rows (DoRA, arXiv:2402.09353)")
    rslora: bool = Field(
        default=False, description="scale the update by alpha / sqrt(rank) instead (rsLoRA, arXiv:2312.03732)"
    )
    targets: tuple[str, ...] = Field(
        default=(ALL_LINEAR,),
        min_length=1,
        description="the part's modules that get an adapter: names or ends of names, `*` matches anything; all-linear: "
        "every linear layer except the head; experts: the matrices of a mixture's experts (no dropout, no DoRA)",
    )
    save: tuple[str, ...] = Field(
        default=(), description="the part's modules that train in full beside the adapters; names as in targets"
    )


class PartOptions(Options):
    """A recipe's options for one part."""

    train: TrainMode | None = Field(
        default=None,
        description="frozen: not at all; full: its weights; lora: adapters beside them; absent: as lora and freeze say",
    )
    lora: Lora | None = Field(
        default=None,
        description="the adapters of this part, with train: lora; absent: as the model's lora, on all linear layers",
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak learning rate of this part; absent: train.learning_rate"
    )

    @model_validator(mode="after")
    def _options_fit_together(self) -> Self:
        if self.lora is not None and self.train != "lora":
            raise ValueError("lora needs train: lora beside it")
        if self.learning_rate is not None and self.train == "frozen":
            raise ValueError("learning_rate has no effect with train: frozen")
        return self


class Parts(Options):
    """A recipe's options for each part. They take precedence over `lora` and `freeze`."""

    vision: PartOptions = Field(default=PartOptions(), description="the vision encoder")
    projector: PartOptions = Field(
        default=PartOptions(), description="what maps its features to the language model's input"
    )
    language: PartOptions = Field(default=PartOptions(), description="the language model, with its head")


@dataclass(frozen=True)
class PartTraining:
    """How a part trains.

    ``lora``: its adapters; None unless ``mode`` is "lora". ``learning_rate``: None for the run's learning rate.
    """

    mode: TrainMode
    lora: Lora | None = None
    learning_rate: float | None = None


def trained_in_full(training: Mapping[Part, PartTraining]) -> list[str]:
    """What trains weights of the model itself, not adapters beside them: parts, and what adapters save."""
    full = [f"the {part} part" for part, options in training.items() if options.mode == "full"]
    saved = [
        f"{', '.join(options.lora.save)} of the {part} part"
        for part, options in training.items()
        if options.lora and options.lora.save
    ]
    return full + saved


def training_of(lora: Lora | None, freeze: Sequence[Part], parts: Parts) -> dict[Part, PartTraining]:
    """How each part trains, for options without `problems_of` them."""
    return {part: _training(part, lora, freeze, getattr(parts, part)) for part in PARTS}


def _training(part: Part, lora: Lora | None, freeze: Sequence[Part], options: PartOptions) -> PartTraining:
    mode: TrainMode = options.train or _by_default(part, lora, freeze)
    if mode != "lora":
        return PartTraining(mode, None, options.learning_rate)
    if part == "language":
        return PartTraining(mode, lora, options.learning_rate)
    # The model's lora, except for its targets: they are names of the language model's modules.
    default = lora and lora.model_copy(update={"targets": (ALL_LINEAR,), "save": ()})
    return PartTraining(mode, options.lora or default, options.learning_rate)


def _by_default(part: Part, lora: Lora | None, freeze: Sequence[Part]) -> TrainMode:
    if lora is not None:
        return "lora" if part == "language" else "frozen"
    return "frozen" if part in freeze else "full"


def problems_of(lora: Lora | None, freeze: Sequence[Part], parts: Parts) -> Iterator[str]:
    """One sentence for each contradiction between the options."""
    language = parts.language
    if language.lora is not None:
        yield "parts.language.lora: the model's option lora describes the language model's adapters; set it instead"
    if language.train == "lora" and lora is None:
        yield "parts.language.train: lora needs the option lora of the model"
    if language.train in ("frozen", "full") and lora is not None:
        yield (
            f"parts.language.train: {language.train} contradicts lora, which trains adapters of the language model; "
            "write lora for another part as parts.<part>.lora"
        )
    for part in ("vision", "projector"):
        options: PartOptions = getattr(parts, part)
        if options.train == "lora" and options.lora is None and lora is None:
            yield f"parts.{part}.train: lora needs parts.{part}.lora, or the option lora of the model"
    yield from _problems_together(training_of(lora, freeze, parts), lora is None)


def _problems_together(training: Mapping[Part, PartTraining], uses_freeze: bool) -> Iterator[str]:
    adapters = [options.lora for options in training.values() if options.lora is not None]
    if all(options.mode == "frozen" for options in training.values()):
        yield f"{'freeze names every part' if uses_freeze else 'every part is frozen'}, so nothing would train"
    for part, options in training.items():
        if options.mode == "frozen" and options.learning_rate is not None:
            yield f"parts.{part}.learning_rate: this part is frozen; set parts.{part}.train to train it"
    if adapters and training["language"].mode == "full":
        yield (
            "the language model cannot train in full while another part has LoRA, because memory would hold it twice; "
            "give it lora, freeze it (parts.language.train: frozen), or train the other part in full"
        )
    for option in ("dora", "rslora"):
        if len({getattr(lora, option) for lora in adapters}) > 1:
            yield f"{option} must be the same in all parts that have LoRA, because peft's files contain it once"
