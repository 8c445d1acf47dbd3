"""`mdpo new-recipe`: looks at a model and at rows, and writes a recipe that trains the one on the others."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.cli.data_view import is_ready, rejected_picture, summary_of_data
from mdpo_core.cli.starting.recipe_text import Plan, recipe_text
from mdpo_core.errors import DataError, Problem, RecipeError
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import Document, override
from mdpo_core.recipe.yaml_text import read_yaml
from mdpo_core.registry.discovery import current_registry
from mdpo_core.storage.files import atomic_write
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.cli.starting.measured import Measured
    from mdpo_core.interfaces.adapter import ModelSummary
    from mdpo_core.interfaces.reader import DataSummary

# What is asked on a terminal, by option.
_QUESTIONS = {
    "model": "the model (a folder, or a name on the hub): ",
    "data": "the rows (a file or a folder): ",
    "out": "the recipe to write (such as my.yaml): ",
}
_IMAGES = "the folder of the pictures: "
_SHOWN = 5  # bad rows
_UNKNOWN_FOLDER, _UNKNOWN_COLUMN = "FOLDER", "COLUMN"


def new_recipe(options: argparse.Namespace) -> int:
    """Write the recipe, and say what it trains and which commands come next. Raises `RecipeError` and `DataError`."""
    from mdpo_core.cli.starting.measured import measured

    _complete(options)
    out: Path = options.out
    _require_new(out)
    found = summary_of_data(options.data)
    data = _data_section(found, options)
    adapter, model = model_summary(options.model, ready=is_ready(found))
    plan = Plan(out, options.model, adapter, model, data, options.method, _picture(found, options.method))
    look = measured(_recipe_of(plan, f"{out}"), found.num_rows)
    text = recipe_text(plan, look)
    _recipe_of(plan, f"{out}", text)
    atomic_write(out, text.encode())
    print("\n".join(_told(plan, look)))  # noqa: T201
    return 0


def _complete(options: argparse.Namespace) -> None:
    """Ask for what is missing, on a terminal; elsewhere raise `RecipeError` with all that is missing."""
    missing = [name for name in _QUESTIONS if getattr(options, name) is None]
    if missing and not sys.stdin.isatty():
        raise RecipeError(f"new-recipe needs {', '.join(f'--{name}' for name in missing)}; on a terminal it asks")
    for name in missing:
        setattr(options, name, _answer(_QUESTIONS[name]))
    options.out = Path(options.out)


def _answer(question: str) -> str:
    try:
        answer = input(question).strip()
    except EOFError:
        answer = ""
    if not answer:
        raise RecipeError("no answer; nothing was written")
    return answer


def _require_new(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise RecipeError(f"{out} already exists, and nothing is written over it; name another file with --out FILE")
    if not out.parent.is_dir():
        raise RecipeError(f"{out}: there is no folder {out.parent}; make it first")


def _data_section(found: DataSummary, options: argparse.Namespace) -> dict[str, Any]:
    """The section ``data`` that reads the rows, with the folder of pictures that the user names."""
    line = read_yaml(found.line, lambda number: f"{options.data}")
    assert line is not None, "a reader's line is YAML"
    section: dict[str, Any] = line.plain()["data"]
    if _UNKNOWN_COLUMN in str({**section, "path": ""}):
        known = ", ".join(found.columns)
        text = f"its columns are not known ({known}); rename them to image, question, chosen, rejected"
        raise DataError([Problem(options.data, "", f"{text}, or name them in a recipe: mdpo data FILE --recipe FILE")])
    if options.images is None and section.get("images") == _UNKNOWN_FOLDER:
        if not sys.stdin.isatty():
            raise RecipeError("no folder near the rows has their pictures: name it with --images DIR")
        options.images = _answer(_IMAGES)
    if options.images is not None:
        if not Path(options.images).is_dir():
            raise RecipeError(f"--images {options.images}: there is no such folder")
        section["images"] = str(options.images)
    return section


def model_summary(path: str, *, ready: bool) -> tuple[str, ModelSummary]:
    """The adapter that fits the model best, and what it says. Raises `DataError` if none fits."""
    found: list[tuple[str, ModelSummary]] = []
    for name, cls in current_registry().components("adapter").items():
        summary = cls.summarize(path, ready=ready)  # type: ignore[attr-defined]
        if summary is not None:
            found.append((name, summary))
    if not found:
        raise DataError([Problem(path, "", "no adapter knows such a model; mdpo plugins adapter lists them")])
    return max(found, key=lambda each: (each[1].is_made_for_it, each[0]))


def _picture(found: DataSummary, method: str) -> str | None:
    """The name of the rows' rejected picture, if they reject pictures and not answers."""
    if found.first is None:
        raise DataError([Problem("", "", found.problems[0] if found.problems else "no row could be read")])
    rejected = rejected_picture(found)
    if method == "dpo" and rejected is not None:
        raise RecipeError("these rows reject pictures and no answers, which DPO does not compare; use --method mdpo")
    if method == "mdpo" and not found.first.images:
        raise RecipeError(
            "mDPO compares pictures, but the first row has none; name its column image, or use --method dpo"
        )
    return rejected


def _recipe_of(plan: Plan, file: str, text: str | None = None) -> Any:
    """The recipe of a text; by default that for looking at all rows, of any length, without any held out."""
    root = read_yaml(text or recipe_text(plan), lambda line: f"{file}:{line + 1}")
    assert root is not None
    document = Document(root, file)
    if text is None:
        override(document, ["model.max_length=1000000", "data.bad_rows={quarantine: 0.999}"])
    return build_recipe(document)


def _told(plan: Plan, look: Measured) -> list[str]:
    name = shlex.quote(str(plan.out))
    apart = f", {look.num_held_out} of them held out" if look.num_held_out else ""
    lines = [f"{plan.out}: {plan.title} for {plan.model.about}, on {counted(look.num_rows, 'row')}{apart}"]
    if look.bad:
        them = "it" if look.num_bad == 1 else "them"
        bad = f"{counted(look.num_bad, 'row is', 'rows are')} bad, and a run stops at {them}"
        lines += [f"{bad}; mend {them}, or set data.bad_rows: quarantine"]
        lines += [f"  {problem}" for problem in look.bad[:_SHOWN]]
        lines += [f"  ... and {len(look.bad) - _SHOWN:,} more"] if len(look.bad) > _SHOWN else []
    ask = f"mdpo ask runs/{shlex.quote(plan.out.stem)} --image FILE --prompt TEXT"
    return [*lines, "next:", f"  mdpo check {name} --data", f"  mdpo-run {name}", f"  {ask}"]
