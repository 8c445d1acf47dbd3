"""The built-in example: a tiny LLaVA, pairs of captions of handwritten digits, and an evaluator of its captions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from mdpo_vlm import BundledAdapter
from pydantic import Field

from mdpo_core import Component, Evaluator, ExampleField, Policy, Reader, Term, hookimpl
from mdpo_digits.pairs import DigitPairs


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


class DigitsAdapter(BundledAdapter):
    """The tiny LLaVA that ships with this plugin; it is pretrained to describe mosaics, with some mistakes."""

    base: ClassVar[Path] = Path(__file__).parent / "base"


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
