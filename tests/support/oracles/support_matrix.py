"""The support matrix of docs/guides/models.md: what is true of a family when it is tried on its small model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import PIL.Image
import pytest
from mdpo_vlm.families import FAMILIES, REFUSED

from mdpo_core import IMAGE_MARK, DataError, Example, Part, RecipeError
from mdpo_core.scoring.scorer import PLAIN
from mdpo_core.training.speed.matrices import has_experts
from mdpo_core.words.tables import markdown_table
from support.builders.small_vlms import every_family, one_family_of_each_mechanism
from support.oracles.plain_vlms import NATS, adapter, gap

HEAD = (
    "`model_type`",
    "tried",
    "images in a row",
    "prompts computed once",
    "videos",
    "experts",
    "LoRA in",
    "refused",
)
_LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}


def row(family: str, folder: Path, photographs: Path) -> tuple[str, ...]:
    """The cells of a family's line, each tried on the model in ``folder``."""
    made = adapter(family, folder)
    numbers = [number for number in range(4) if _is_taken(family, folder, photographs, number)]
    return (
        f"`{family}`",
        tried(family),
        f"{numbers[0]} to 1" if numbers[-1] == 1 else f"{numbers[0]} or more",
        "yes" if made.shares_prefix else "no",
        _videos(family, folder, takes_several=numbers[-1] > 1),
        "yes" if has_experts(made.sketch("float32")) else "no",
        _with_lora(family, folder),
        ", ".join(_refused_options(family, folder)) or "nothing",
    )


def line(cells: Sequence[str]) -> str:
    """The line of a table in Markdown."""
    return markdown_table(cells, ()).splitlines()[0]


def needs(family: str) -> tuple[str, str, str] | None:
    """What a family has beyond the generic, and why its prompts are not shared; None if there is nothing."""
    known = FAMILIES[family]
    inputs = [f"`{name}`: 1 for {kind}" for name, kind in known.marks.items()]
    inputs += [f"positions in three dimensions, by `{known.grid}`"] * known.has_mrope
    inputs += ["pictures by cross-attention, with one token for each"] * known.cross_attention
    inputs += [f"patches that `{known.pooling}` numbers"] if known.pooling else []
    inputs += ["features that the whole model projects, layers that attend in chunks"] * known.projects_itself
    inputs += ["softcapped logits"] * known.softcap
    inputs += [f"a state in `{known.recurrent.module}`"] if known.recurrent is not None else []
    inputs += ["layers with a sliding window"] * known.tells_window
    if not inputs and not known.separate:
        return None
    return f"`{family}`", "; ".join(inputs), known.separate


def tables(rows: Sequence[Sequence[str]]) -> str:
    """The page from its first table on; ``rows``: of all families."""
    special = [found for family in FAMILIES if (found := needs(family)) is not None]
    return "\n\n".join(
        [
            markdown_table(HEAD, rows),
            "What a family has beyond the generic, and why prompts cannot be computed once:",
            markdown_table(("`model_type`", "has", "prompts are not shared, because"), special),
            "These are refused before weights are read:",
            markdown_table(("`model_type`", "why"), [(f"`{name}`", why) for name, why in REFUSED.items()]),
        ]
    )


def tried(family: str) -> str:
    """The groups of tests that compute the family's log-probs, and then the contract of adapters."""
    marks = [
        _group_of(family, parameters)
        for parameters in (every_family(), one_family_of_each_mechanism(others=pytest.mark.long))
    ]
    return ", ".join(dict.fromkeys(marks))


def _group_of(family: str, parameters: Sequence[Any]) -> str:
    [marks] = [parameter.marks for parameter in parameters if parameter.values == (family,)]
    return next((mark.name for mark in marks), "fast")


def _videos(family: str, folder: Path, *, takes_several: bool) -> str:
    ways = ["frames"] * takes_several + ["own"] * _is_accepted(family, folder, video="own")
    return ", ".join(ways) or "no"


def _with_lora(family: str, folder: Path) -> str:
    """The parts in which ``all-linear`` finds layers that train."""
    ways: dict[Part, dict[str, Any]] = {
        "vision": {"parts": {"vision": {"train": "lora", "lora": _LORA}}},
        "projector": {"parts": {"projector": {"train": "lora", "lora": _LORA}}},
        "language": {},
    }
    taken = [part for part in get_args(Part) if _is_accepted(family, folder, lora=_LORA, **ways[part])]
    return "all parts" if len(taken) == len(ways) else ", ".join(taken)


def _is_accepted(family: str, folder: Path, **options: Any) -> bool:
    made = adapter(family, folder, **options)
    try:
        made.check()
        made.sketch("float32")
    except RecipeError:
        return False
    return True


def _refused_options(family: str, folder: Path) -> Iterator[str]:
    made = adapter(family, folder)
    if made.refuses_compiling:
        yield "`compile`"
    if made.family().recurrent is not None:
        with pytest.raises(RecipeError, match="nobody has tried"):
            adapter(family, folder, kernels="liger").check()
        yield "`kernels`"


def _is_taken(family: str, folder: Path, photographs: Path, number: int) -> bool:
    """Whether a row may have this number of images. Its log-probs must then equal those of plain transformers."""
    with PIL.Image.open(sorted(photographs.iterdir())[0]) as image:
        picture = image.convert("RGB").resize((70, 50))
    text = f"{IMAGE_MARK}\n" * number + "What is in the picture?"
    example = Example("1", text, {"chosen": "A temple", "rejected": "A flower"}, (picture,) * number)
    try:
        adapter(family, folder).encoder().encode_prompt(example)
    except DataError:
        return False
    assert gap(family, folder, [example], PLAIN) <= NATS
    return True
