"""The small worlds in which the study runs: a recipe, what is changed of it for all variants, and what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measure:
    """A number of a run. ``metric``: its name in metrics.jsonl; ``better``: 1 if more is better, -1 if less is."""

    name: str
    metric: str
    title: str
    better: int
    form: str = ".3f"


@dataclass(frozen=True)
class World:
    """``about``: what its pictures show, as the end of a sentence.

    ``measures``: the first one decides the claims on hallucination; the one named ``chosen`` those on the anchor.
    ``options``: of every run, as values of ``--set``; ``quick``: those that a rehearsal has besides.
    """

    name: str
    title: str
    about: str
    recipe: str
    options: Sequence[str]
    quick: Sequence[str]
    measures: Sequence[Measure]


CHOSEN = Measure("chosen", "eval/probe/chosen", "log-ratio of the right answer, nats", 1, "+.2f")

DIGITS = World(
    "digits",
    "The digits",
    "mosaics of four handwritten digits ([the quickstart](quickstart.md)). The digits of one are drawn independently, "
    "so no text says which of them go together; in 95 % of the pairs the two answers also differ in style",
    "recipes/quickstart.yaml",
    (
        "trackers=[]",
        "evaluators=[{evaluator: digits}, {evaluator: probe, rows: 96, every: 1000000}]",
        "output.save_every=30",
        "output.keep=1",
    ),
    (
        "data.num_pairs=16",
        "validation.num_pairs=4",
        "train.batch_size=8",
        "train.micro_batch_size=8",
        "evaluators=[{evaluator: digits, num_mosaics: 8}, {evaluator: probe, rows: 4, every: 1000000}]",
    ),
    (
        Measure("wrong", "eval/digits/wrong_digits", "wrong digits by position", -1),
        Measure("hallucinated", "eval/digits/hallucinated", "mentioned digits not in the picture", -1),
        CHOSEN,
    ),
)

SCENES = World(
    "scenes",
    "The scenes",
    "scenes of drawn objects, described in words and asked about ([the small world](../guides/small-world.md)). Some "
    "kinds of objects mostly go together, and the model before training names the second where it sees the first. "
    "CHAIR, POPE and AMBER are scored as by their authors' scripts",
    "recipes/scenes_mdpo.yaml",
    (
        "data.num_pairs=2400",
        "trackers=[]",
        "evaluators=[{evaluator: scenes, of: {benchmark: chair}}, {evaluator: scenes, of: {benchmark: pope}}, "
        "{evaluator: scenes, of: {benchmark: amber}}, {evaluator: probe, rows: 96, every: 1000000}]",
        "output.save_every=25",
        "output.keep=1",
    ),
    (
        "data.num_pairs=16",
        "validation.num_pairs=4",
        "train.batch_size=8",
        "train.micro_batch_size=8",
        "evaluators=[{evaluator: scenes, of: {benchmark: chair}, share: 0.05}, "
        "{evaluator: scenes, of: {benchmark: pope}, share: 0.05}, "
        "{evaluator: scenes, of: {benchmark: amber}, share: 0.05}, {evaluator: probe, rows: 4, every: 1000000}]",
    ),
    (
        Measure("chair_s", "eval/scenes/chair/CHAIRs", "CHAIRs", -1),
        Measure("chair_i", "eval/scenes/chair/CHAIRi", "CHAIRi", -1),
        Measure("cover", "eval/scenes/amber/Generative Task/Cover", "AMBER Cover", 1, ".1f"),
        Measure("pope", "eval/scenes/pope/f1", "POPE F1", 1),
        CHOSEN,
    ),
)

WORLDS = {each.name: each for each in (DIGITS, SCENES)}
