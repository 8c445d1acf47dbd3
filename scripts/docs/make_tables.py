"""The tables of recipe-keys.md: every section, then every component, with their options."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from mdpo_core.cli.plugins_table import default_text, description
from mdpo_core.interfaces.parts import Lora, PartOptions
from mdpo_core.interfaces.train_options import Train
from mdpo_core.recipe.recipe import Output, Recipe, Scoring
from mdpo_core.registry.discovery import current_registry
from mdpo_core.registry.offers import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipe-keys.md"
MARK = "compares them. -->\n"


def tables() -> str:
    """The sections, their options, and all components with theirs, in Markdown."""
    options = {"train": Train, "scoring": Scoring, "output": Output, "lora": Lora, "parts.<part>": PartOptions}
    parts = [_table("Sections", Recipe), *(_table(f"`{name}`", cls) for name, cls in options.items())]
    for kind in KINDS:
        for name, cls in sorted(current_registry().components(kind).items()):
            parts.append(_table(f"{kind} `{name}`", cls, (cls.__doc__ or "").strip().splitlines()[0]))
    return "\n".join(parts)


def _table(title: str, cls: type[BaseModel], text: str = "") -> str:
    return "\n".join(["", f"### {title}", *(["", text] if text else []), *_rows(cls), ""])


def _rows(cls: type[BaseModel]) -> Iterator[str]:
    if not cls.model_fields:
        return
    yield from ("", "| key | default | |", "|---|---|---|")
    for name, field in cls.model_fields.items():
        yield f"| `{name}` | {default_text(field)} | {description(field)} |"


def page() -> str:
    """The page with its tables written again."""
    return PAGE.read_text().partition(MARK)[0] + MARK + tables()
