"""The text of a new recipe, with a comment for every line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from mdpo_core.cli.starting.sizes import Sizes

if TYPE_CHECKING:
    from mdpo_core.cli.starting.measured import Measured
    from mdpo_core.interfaces.adapter import ModelSummary
    from mdpo_core.interfaces.reader import HoldOut

_TITLES = {"mdpo": "mDPO (arXiv:2406.11839)", "dpo": "DPO (arXiv:2305.18290)"}
_PLAIN = re.compile(r"[A-Za-z_./~][\w./~@+=*-]*", re.ASCII)
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n", "~")
_SHORTEST_LIMIT = 1024  # tokens
_PROMPTS = {
    "chat": "a question becomes a user's turn in the model's chat template",
    "ready": "questions are used as they are written; chat puts them into the model's chat template",
}
_KEYS = {
    "reader": "how rows are read",
    "path": "the rows",
    "images": "the folder from which the paths of pictures start",
    "image": "the column with the pictures",
    "prompt": "the column with the questions",
    "responses": "the columns with the answers",
    "marks": "first: the picture comes before the question; write <image> into questions to place it yourself",
    "image_mark": "what stands for a picture in the questions",
    "other_images": "the columns with other pictures of a row",
}
_CROP = "  crop: {corruption: random_crop, area: [0.01, 0.2]}   # a condition: at most a fifth of the picture is kept"
_TEXT = "  - {loss: dpo, beta: 0.1, label: text}   # the chosen answer over the rejected one"
ANSWERS = "  - {evaluator: samples, rows: 3}   # answers to some rows, before the first step and after the last one"
_ANCHOR = "  - {anchor: reward, beta: 0.1, on: chosen, label: anchor}   # the chosen answer stays as likely as before"


@dataclass(frozen=True)
class Plan:
    """What a recipe is written from: a model's path, adapter and summary, the section ``data``, and the method.

    ``rejected_picture``: the name of the picture that rows reject in place of an answer.
    """

    out: Path
    path: str
    adapter: str
    model: ModelSummary
    data: Mapping[str, Any]
    method: str
    rejected_picture: str | None

    @property
    def title(self) -> str:
        """The method's name with its paper."""
        return _TITLES[self.method]


def recipe_text(plan: Plan, look: Measured | None = None) -> str:
    """The recipe; without ``look``, one that holds no rows out and has sizes for a single row."""
    sizes = Sizes.of(1 if look is None else look.num_rows - look.num_held_out)
    longest = 0 if look is None else look.longest
    hold_out = None if look is None else look.hold_out
    words = {
        "out": str(plan.out),
        "title": plan.title,
        "about": plan.model.about,
        "adapter": plan.adapter,
        "path": one_line(plan.path),
        "offer": plan.model.offer and f"\n  # {plan.model.offer}",
        "prompts": plan.model.prompts,
        "prompts_mean": _PROMPTS[plan.model.prompts],
        "max_length": str(_limit(longest, None if look is None else look.max_positions)),
        "longest": str(longest),
        "data": "\n".join(_data_lines(plan.data, hold_out)),
        "terms": "\n".join(_terms(plan)),
        "evaluators": _evaluators(hold_out is not None, sizes.every),
        "run": one_line(f"runs/{plan.out.stem}"),
        **{
            name: str(getattr(sizes, name))
            for name in ("epochs", "batch_size", "micro_batch_size", "learning_rate", "every")
        },
        "precision": _precision(),
    }
    template = files("mdpo_core.cli").joinpath("templates", "new_recipe.txt").read_text(encoding="utf-8")
    return Template(template).substitute(words)


def _limit(longest: int, most: int | None) -> int:
    """A power of two that fits the longest row, and no more than the model reads."""
    limit = max(_SHORTEST_LIMIT, 1 << longest.bit_length())
    return limit if most is None else min(limit, most)


def _data_lines(section: Mapping[str, Any], hold_out: HoldOut | None) -> Iterator[str]:
    for key, value in section.items():
        meaning = _KEYS.get(key)
        yield f"  {key}: {one_line(value)}" + (f"   # {meaning}" if meaning else "")
    if hold_out is None:
        yield "  # hold_out: {share: 0.02}   # no rows are held out: they are too few, or all about one picture"
    else:
        asked = hold_out.model_dump(exclude_none=True, exclude={"seed"})
        yield f"  hold_out: {one_line(asked)}   # rows that are not trained on; the evaluator measures on them"


def _terms(plan: Plan) -> Iterator[str]:
    if plan.method == "dpo":
        yield from ("objective:   # the terms whose sum is minimized", _TEXT)
        return
    name = "crop" if plan.rejected_picture is None else "other"
    picture = f"{{corruption: dataset_image, picture: {one_line(plan.rejected_picture)}}}"
    other = f"  other: {picture}   # a condition: the rejected picture"
    yield from ("corruptions:   # conditions under which a picture is seen", _CROP if name == "crop" else other)
    yield "objective:   # the terms whose sum is minimized"
    if plan.rejected_picture is None:
        yield _TEXT
    seen = (
        "with the picture over without most of it" if name == "crop" else "with its picture over with the rejected one"
    )
    yield f"  - {{loss: dpo, beta: 0.1, over: chosen@{name}, label: picture}}   # {seen}"
    yield _ANCHOR


def _evaluators(held_out: bool, every: int) -> str:
    if not held_out:
        return f"evaluators:   # what is measured; {{evaluator: preference}} needs held-out rows\n{ANSWERS}"
    lines = (
        "evaluators:   # what is measured on held-out rows",
        f"  - {{evaluator: preference, every: {every}}}   # steps; also before the first and after the last one",
        ANSWERS,
    )
    return "\n".join(lines)


def _precision() -> str:
    import torch

    if torch.cuda.is_available():
        return "bf16}   # bfloat16 weights with LoRA in float32; fp32 computes exactly, in twice the memory"
    return "fp32}   # this machine has no GPU; on one, bf16 takes half the memory"


def one_line(value: Any) -> str:
    """A value as one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{one_line(key)}: {one_line(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
