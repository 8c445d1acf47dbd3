"""`mdpo data`: what a file of preference data contains, and the line of a recipe that reads it."""

from __future__ import annotations

import argparse
import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.interfaces.reader import DataSummary

HELP = "say what a file of data contains, and how a recipe reads it"
_ROWS = 3
_SHOWN = 72  # characters of a value
_TEMPLATES = Path(__file__).parent / "templates"
# How a ready-made prompt ends: with the word that calls for the assistant's answer.
_READY = re.compile(r"(assistant\W*|\[/INST\]|<\|\w+\|>|answer:|gpt:)\s*$", re.IGNORECASE)
_PROMPTS = {
    False: "chat    # the questions are bare, or messages; ready, if they are ready-made texts",
    True: "ready   # the questions are ready-made texts; chat, if they are bare, or messages",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of `mdpo data`."""
    command.add_argument("path", metavar="FILE_OR_FOLDER", help="a file, a folder, a pattern, or a name on the hub")
    command.add_argument("--recipe", type=Path, metavar="FILE", help="write a new recipe that reads it")


def describe_data(options: argparse.Namespace) -> int:
    """Print the line, the columns, the number of rows and some of them; write a recipe if a file is named."""
    from mdpo_core.errors import RecipeError

    if options.recipe is not None and options.recipe.exists():
        raise RecipeError(f"--recipe: {options.recipe} exists already; name a new file")
    found = summary_of_data(str(options.path))
    print("\n".join([*_recipe_lines(found), *_lines(found)]))  # noqa: T201
    if options.recipe is not None:
        from mdpo_core.storage.files import atomic_write

        atomic_write(options.recipe, _recipe(found).encode())
        print(f"{options.recipe}: a recipe with this line; set model.path, then: mdpo check {options.recipe} --data")  # noqa: T201
    return 0


def _recipe_lines(found: DataSummary) -> list[str]:
    """The lines of a recipe, each with what keeps it from reading the first rows, and with what to look at."""
    shown = []
    lines = (found.line, *found.other_lines)
    for line, problem, note in zip_longest(lines, found.problems, found.notes, fillvalue=""):
        shown += [line, *([f"  this line does not read the first rows yet: {problem}"] if problem else [])]
        shown += [f"  {note}"] if note else []
    return shown


def _recipe(found: DataSummary) -> str:
    """A recipe for the data, with the kind of prompts and the objective that its first pair needs."""
    data, evaluators = _held_out(found)
    filled = {"{DATA}": data, "{EVALUATORS}": evaluators, "{PROMPTS}": _PROMPTS[is_ready(found)]}
    picture = rejected_picture(found)
    if picture is not None:
        filled["{PICTURE}"] = picture
    recipe = (_TEMPLATES / ("data_recipe.txt" if picture is None else "data_recipe_pictures.txt")).read_text()
    for mark, text in filled.items():
        recipe = recipe.replace(mark, text)
    return recipe


def _held_out(found: DataSummary) -> tuple[str, str]:
    """The line with rows held out, if there are enough, and the evaluators that measure on them."""
    from mdpo_core.cli.starting.measured import hold_out_unread
    from mdpo_core.cli.starting.recipe_text import ANSWERS

    hold_out = hold_out_unread(found.num_rows)
    if hold_out is None or not found.line.endswith("}"):
        few = "too few rows to hold some out, which {evaluator: preference} measures on"
        return found.line, f"evaluators:   # {few}\n{ANSWERS}"
    ((key, value),) = hold_out.model_dump(exclude_none=True, exclude={"seed"}).items()
    line = f"{found.line[:-1]}, hold_out: {{{key}: {value}}}}}"
    preference = "  - {evaluator: preference}   # on the rows of hold_out, which are not trained on"
    return line, f"evaluators:\n{preference}\n{ANSWERS}"


def is_ready(found: DataSummary) -> bool:
    """Whether the prompts of the data are ready-made texts, which end with what calls for an answer."""
    return found.first is not None and isinstance(found.first.prompt, str) and bool(_READY.search(found.first.prompt))


def rejected_picture(found: DataSummary) -> str | None:
    """The name of the picture that the first row rejects; None if it rejects an answer."""
    first = found.first
    if first is None or "rejected" in first.responses:
        return None
    return next(iter(first.other_images), None)


def summary_of_data(path: str) -> DataSummary:
    """What the first reader that knows the file says of it. Raises `DataError` if none does."""
    from mdpo_core.errors import DataError, Problem
    from mdpo_core.registry.discovery import current_registry

    for reader in current_registry().components("reader").values():
        found: DataSummary | None = reader.summarize(path, _ROWS)  # type: ignore[attr-defined]
        if found is not None:
            return found
    raise DataError([Problem(path, "", "no installed reader knows how to look at this")])


def _lines(found: DataSummary) -> list[str]:
    from mdpo_core.data.validity import problems_of_row

    problems = [] if found.first is None else problems_of_row(found.first)
    lines = [f"  the first pair cannot be trained on: {problem}" for problem in problems]
    lines += [f"  {counted(found.num_rows, 'row')} with the columns {', '.join(found.columns)}"]
    for number, row in enumerate(found.rows, start=1):
        lines += [f"  row {number}", *(f"    {column}: {_short(value)}" for column, value in row.items())]
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_told)
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _told(value: object) -> str:
    return counted(len(value), "byte") if isinstance(value, bytes) else type(value).__name__
