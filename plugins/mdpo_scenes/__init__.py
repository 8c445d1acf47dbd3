"""A small world: scenes of drawn objects, a tiny LLaVA that describes them, pairs, and the benchmarks' own scores."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from mdpo_vlm import BundledAdapter
from pydantic import Field

from mdpo_core import Component, ExampleField, Reader, hookimpl
from mdpo_scenes.evaluator import ScenesEvaluator
from mdpo_scenes.pairs import ScenePairs


class ScenesReader(Reader):
    """Preference pairs over scenes of drawn objects: captions, and answers to yes/no questions.

    The rejected caption has one or two kinds of objects that are not there, mostly such as go with those that are.
    """

    num_pairs: int = Field(default=4800, gt=0, le=10_000_000, description="number of pairs")
    style_cue: float = Field(
        default=0.95, ge=0, le=1, description="share of pairs whose responses differ in style as well as in objects"
    )
    questions: float = Field(default=0.35, ge=0, le=1, description="share of pairs that answer a yes/no question")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of the random pairs")
    split: Literal["train", "held_out"] = Field(default="train", description="which scenes: each is in one of them")

    def open(self) -> ScenePairs:
        return ScenePairs(self.num_pairs, self.style_cue, self.questions, self.seed, self.split)

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {"responses": ("chosen", "rejected")}


class ScenesAdapter(BundledAdapter):
    """The tiny LLaVA of the scenes; it is pretrained to describe them, with objects that only mostly go with them."""

    base: ClassVar[Path] = Path(__file__).parent / "base"


@hookimpl
def mdpo_components() -> Mapping[str, tuple[type[Component], ...]]:
    """The reader, the adapter and the evaluator, all called scenes."""
    return {"scenes": (ScenesReader, ScenesAdapter, ScenesEvaluator)}
