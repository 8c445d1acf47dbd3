"""Benchmarks on the scenes: the files that this plugin brings, scored as `mdpo score` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from mdpo_core import BenchmarkScore

HELD_OUT = Path(__file__).parent / "held_out"  # made by mdpo_scenes.annotations
# Options that name files of HELD_OUT, by benchmark, and those that let a machine without data of NLTK score.
_FILES: Mapping[str, Mapping[str, str]] = {
    "chair": {"data": ".", "questions": "chair_questions.json"},
    "pope": {"questions": "scenes_pope_adversarial.json"},
    "amber": {"data": "amber"},
}
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "chair": {"words": "plain"},
    "amber": {"similarity": "exact", "nouns_by": "vocabulary"},
}
_NONE: Mapping[str, str] = {}


class ScenesEvaluator(BenchmarkScore):
    """Ask a benchmark about held-out scenes, whose annotations are in its own format: chair, pope or amber.

    Their files come with mdpo: `of` needs the benchmark's name only. POPE asks its adversarial questions;
    ``questions: scenes_pope_random.json`` and ``scenes_pope_popular.json`` are there, too. Metrics have the benchmark's
    name before theirs: ``eval/scenes/pope/accuracy``.
    """

    images: Path = Field(default=Path("images"), description="the folder of pictures, within that of the scenes")
    max_new_tokens: int = Field(default=40, gt=0, description="tokens of the longest answer")

    def options_of_benchmark(self) -> dict[str, Any]:
        name = str(self.of["benchmark"])
        own = super().options_of_benchmark()
        files = dict(_FILES.get(name, _NONE))
        files.update((key, own[key]) for key in ("data", "questions") if key in own)
        return {**_OPTIONS.get(name, _NONE), **own, **{key: HELD_OUT / file for key, file in files.items()}}

    def pictures(self) -> Path:
        return HELD_OUT / self.images
