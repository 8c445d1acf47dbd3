"""Which parts of a model train, how, and at which learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Part = Literal["vision", "projector", "language"]
TrainMode = Literal["frozen", "full", "lora"]
PARTS: tuple[Part, ...] = ("vision", "projector", "language")
ALL_LINEAR = "all-linear"


class Lora(BaseModel):
    """Low-rank adapters beside weights that stay as they are (arXiv:2106.09685)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    rank: int = Field(default=64, gt=0, description="rank of the update")
    alpha: float = Field(default=128.0, gt=0, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.05, ge=0, lt=1, description="dropout before the adapter, in training only")
    dora: bool = Field(default=False, description="train the size of each weight's rows, too (DoRA, arXiv:2402.09353)")
    rslora: bool = Field(
        default=False, description="scale the update by alpha / sqrt(rank) instead (rsLoRA, arXiv:2312.03732)"
    )
    targets: tuple[str, ...] = Field(
        default=(ALL_LINEAR,),
        min_length=1,
        description="the part's modules that get an adapter: names or ends of names, `*` is anything; all-linear: "
        "every linear layer but the head",
    )
    save: tuple[str, ...] = Field(
        default=(), description="the part's modules that train whole beside the adapters; names as in targets"
    )


class PartOptions(BaseModel):
    """What a recipe says of one part."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    train: TrainMode | None = Field(
        default=None,
        description="frozen: not at all; full: its weights; lora: adapters beside them; absent: as lora and freeze say",
    )
    lora: Lora | None = Field(
        default=None, description="the adapters of this part, with train: lora; absent: of the size of the model's lora"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="peak learning rate of this part; absent: train.learning_rate"
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.lora is not None and self.train != "lora":
            raise ValueError("lora needs train: lora beside it")
        if self.learning_rate is not None and self.train == "frozen":
            raise ValueError("learning_rate is of no use with train: frozen")
        return self


class Parts(BaseModel):
    """What a recipe says of each part, over what `lora` and `freeze` say."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    vision: PartOptions = Field(default=PartOptions(), description="the vision encoder")
    projector: PartOptions = Field(default=PartOptions(), description="what brings its features to the language model")
    language: PartOptions = Field(default=PartOptions(), description="the language model, with its head")


@dataclass(frozen=True)
class PartTraining:
    """How a part trains: ``lora`` says which adapters, and is None for any other way.

    ``learning_rate``: None where it is the run's.
    """

    mode: TrainMode
    lora: Lora | None = None
    learning_rate: float | None = None


def training_of(lora: Lora | None, freeze: Sequence[Part], parts: Parts) -> dict[Part, PartTraining]:
    """What each part does, of options that `problems_of` finds nothing wrong with."""
    return {part: _training(part, lora, freeze, getattr(parts, part)) for part in PARTS}


def _training(part: Part, lora: Lora | None, freeze: Sequence[Part], options: PartOptions) -> PartTraining:
    mode: TrainMode = options.train or _by_default(part, lora, freeze)
    if mode != "lora":
        return PartTraining(mode, None, options.learning_rate)
    if part == "language":
        return PartTraining(mode, lora, options.learning_rate)
    # Of its size: names of modules are those of the part that they were written for.
    alike = lora and lora.model_copy(update={"targets": (ALL_LINEAR,), "save": ()})
    return PartTraining(mode, options.lora or alike, options.learning_rate)


def _by_default(part: Part, lora: Lora | None, freeze: Sequence[Part]) -> TrainMode:
    if lora is not None:
        return "lora" if part == "language" else "frozen"
    return "frozen" if part in freeze else "full"


def problems_of(lora: Lora | None, freeze: Sequence[Part], parts: Parts) -> Iterator[str]:
    """What does not fit together, one sentence each."""
    language = parts.language
    if language.lora is not None:
        yield "parts.language.lora: the language model's adapters are the model's lora; say it there"
    if language.train == "lora" and lora is None:
        yield "parts.language.train: lora needs the model's lora"
    if language.train in ("frozen", "full") and lora is not None:
        yield (
            f"parts.language.train: {language.train} and lora, which trains adapters of the language model, are two "
            "things; lora of another part belongs there, as parts.<part>.lora"
        )
    for part in ("vision", "projector"):
        options: PartOptions = getattr(parts, part)
        if options.train == "lora" and options.lora is None and lora is None:
            yield f"parts.{part}.train: lora needs parts.{part}.lora, or the model's lora for its size"
    yield from _problems_together(training_of(lora, freeze, parts), lora is None)


def _problems_together(training: Mapping[Part, PartTraining], freezing: bool) -> Iterator[str]:
    adapters = [each.lora for each in training.values() if each.lora is not None]
    if all(each.mode == "frozen" for each in training.values()):
        yield f"{'freeze names every part' if freezing else 'every part is frozen'}, so nothing would train"
    for part, each in training.items():
        if each.mode == "frozen" and each.learning_rate is not None:
            yield f"parts.{part}.learning_rate: this part is frozen; parts.{part}.train says how it trains"
    if adapters and training["language"].mode == "full":
        yield (
            "the language model cannot train whole while another part has LoRA, as it would be held twice; give it "
            "lora, freeze it (parts.language.train: frozen), or train the other part whole"
        )
    for option in ("dora", "rslora"):
        if len({getattr(each, option) for each in adapters}) > 1:
            yield f"{option} is to be the same in all parts that have LoRA: peft's files say it once"
