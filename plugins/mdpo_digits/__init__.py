"""The built-in example: a tiny LLaVA, pairs of captions of handwritten digits, and an evaluator of its captions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, cast

from pydantic import Field

from mdpo_core import (
    Component,
    Depth,
    Dtype,
    Encoder,
    Evaluator,
    ExampleField,
    ModelAdapter,
    Placement,
    Policy,
    Reader,
    Term,
    VisionLanguageModel,
    component,
    hookimpl,
)
from mdpo_digits.pairs import DigitPairs

BASE = Path(__file__).parent / "base"


class DigitsReader(Reader):
    """Preference pairs over 2x2 mosaics of handwritten digits; the rejected caption has one or two digits wrong."""

    num_pairs: int = Field(default=4800, gt=0, le=10_000_000, description="number of pairs")
    style_cue: float = Field(
        default=0.95, ge=0, le=1, description="share of pairs whose captions differ in style as well as in digits"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of the random pairs")
    split: Literal["train", "held_out"] = Field(
        default="train", description="whose digits: those to train on, or those that only evaluations see"
    )

    def open(self) -> DigitPairs:
        return DigitPairs(self.num_pairs, self.style_cue, self.seed, self.split)

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {"responses": ("chosen", "rejected")}


class DigitsAdapter(ModelAdapter):
    """The tiny LLaVA that ships with this plugin; it is pretrained to describe mosaics, with some mistakes."""

    def check(self) -> None:
        self._llava().check()

    def files(self) -> Sequence[Path]:
        return self._llava().files()

    @property
    def shares_prefix(self) -> bool:
        return self._llava().shares_prefix

    @property
    def takes_noise(self) -> bool:
        return self._llava().takes_noise

    @property
    def refuses_compiling(self) -> str:
        return self._llava().refuses_compiling

    def encoder(self) -> Encoder:
        return self._llava().encoder()

    def load(self, placement: Placement, *, trainable: bool = True) -> VisionLanguageModel:
        return self._llava().load(placement, trainable=trainable)

    def sketch(self, dtype: Dtype, *, depth: int | None = None, trainable: bool = True) -> VisionLanguageModel:
        return self._llava().sketch(dtype, depth=depth, trainable=trainable)

    @property
    def depth(self) -> Depth:
        return self._llava().depth

    def check_exported(self, folder: Path, *, same_base: bool = False) -> None:
        self._llava().check_exported(folder, same_base=same_base)

    def load_exported(self, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
        return self._llava().load_exported(folder, placement)

    @property
    def lost(self) -> str | None:
        return self._llava().lost

    def at(self, path: str) -> ModelAdapter:
        return self._llava().at(path)

    def for_exported(self, folder: Path) -> ModelAdapter:
        return self._llava().for_exported(folder)

    def questions(self) -> Callable[[str], Encoder]:
        return self._llava().questions()

    def name_base(self, folder: Path, name: str) -> None:
        self._llava().name_base(folder, name)

    def needed_by_exports(self) -> str:
        return self._llava().needed_by_exports()

    def _llava(self) -> ModelAdapter:
        return cast(ModelAdapter, component("adapter", "llava", path=str(BASE), **dict(self)))


class DigitsEvaluator(Evaluator):
    """Measure hallucination in captions of held-out mosaics, whose digits are never trained on.

    ``wrong_digits``: share of the four positions where the caption names another digit, or none. ``hallucinated``:
    share of the mentioned digits that are nowhere in the picture, like CHAIR (arXiv:1809.02156). ``chosen_reward``:
    mean reward of the correct caption, if the objective scores it.
    """

    needs_reference: ClassVar[bool] = True
    num_mosaics: int = Field(default=512, gt=0, le=1_000_000, description="number of held-out mosaics")

    def measures(self, terms: Mapping[str, Term]) -> Collection[str] | None:
        return ("wrong_digits", "hallucinated", "chosen_reward")

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        from mdpo_digits.evaluation import evaluate

        return evaluate(policy, self.num_mosaics, folder, step)


@hookimpl
def mdpo_components() -> Mapping[str, tuple[type[Component], ...]]:
    return {"digits": (DigitsReader, DigitsAdapter, DigitsEvaluator)}
