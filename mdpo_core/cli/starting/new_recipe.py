"""`mdpo new-recipe`: looks at a model and at rows, and writes a recipe that trains the one on the others."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.cli.data_view import is_ready, rejected_picture, summary_of_data
from mdpo_core.cli.starting.recipe_text import Plan, recipe_text
from mdpo_core.cli.terminal.lines import told
from mdpo_core.data.checking import open_data
from mdpo_core.errors import DataError, MdpoError, Problem, RecipeError
from mdpo_core.interfaces.reader import Reader
from mdpo_core.recipe.loading import build_recipe
from mdpo_core.recipe.yaml_document import Document, override
from mdpo_core.recipe.yaml_text import read_yaml
from mdpo_core.registry.discovery import current_registry, make_component
from mdpo_core.storage.files import atomic_write
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.cli.starting.measured import Measured
    from mdpo_core.interfaces.adapter import ModelSummary
    from mdpo_core.interfaces.reader import DataSummary

# What is asked on a terminal, by option, in this order: a recipe that cannot be written is told first.
_QUESTIONS = {
    "out": "the recipe to write (such as my.yaml): ",
    "model": "the model (a folder, or a name on the hub): ",
    "data": "the rows (a file or a folder): ",
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
    found = _readable(options.data)
    data = _data_section(found, options)
    found = _with_first(found, data)
    adapter, model = model_summary(options.model, ready=is_ready(found))
    plan = Plan(out, options.model, adapter, model, data, options.method, _picture(found, options.method))
    look = measured(_recipe_of(plan, f"{out}"), found.num_rows)
    text = recipe_text(plan, look)
    _recipe_of(plan, f"{out}", text)
    atomic_write(out, text.encode())
    print("\n".join(_told(plan, look)))  # noqa: T201
    return 0


def _complete(options: argparse.Namespace) -> None:
    """Ask for what is missing, on a terminal; elsewhere raise `RecipeError` with all that is missing.

    What is given is looked at before anything is asked, and an answer as soon as it is there.
    """
    missing = [name for name in _QUESTIONS if getattr(options, name) is None]
    if missing and not sys.stdin.isatty():
        named = (f"--{name}" for name in ("model", "data", "out") if name in missing)
        raise RecipeError(f"new-recipe needs {', '.join(named)}; on a terminal it asks")
    if options.images is not None:
        _require_folder(str(options.images))
    checks = {"out": _require_new, "model": lambda path: model_summary(path, ready=False), "data": _readable}
    for name, check in checks.items() if missing else ():
        if name not in missing:
            check(str(getattr(options, name)))
    for name in missing:
        setattr(options, name, _answer(_QUESTIONS[name], checks[name]))
    options.out = Path(options.out)


def _answer(question: str, check: Callable[[str], object]) -> str:
    """An answer for which ``check`` raises nothing; the question is asked until there is one."""
    while True:
        try:
            answer = _unquoted(input(question).strip())
        except EOFError:
            raise RecipeError("no answer; nothing was written") from None
        try:
            if not answer:
                raise RecipeError("type an answer; Ctrl-C ends this command")
            check(answer)
            return answer
        except MdpoError as error:
            print(told(f"  {error}"))  # noqa: T201


def _unquoted(answer: str) -> str:
    """A path as a terminal writes it when a file is dropped into it, or as a shell reads it."""
    for quote in "'\"":
        if len(answer) > 1 and answer[0] == answer[-1] == quote:
            answer = answer[1:-1]
    return str(Path(answer).expanduser()) if answer.startswith("~") else answer


def _require_new(path: str | Path) -> None:
    out = Path(path)
    if out.is_dir():
        raise RecipeError(f"{out} is a folder; name a file in it, such as {out / 'my.yaml'}")
    if out.exists() or out.is_symlink():
        raise RecipeError(f"{out} already exists, and nothing is written over it; name another file with --out FILE")
    if not out.parent.is_dir():
        raise RecipeError(f"{out}: the folder {out.parent} does not exist; make it first")
    if not os.access(out.parent, os.W_OK):
        folder = f"this account may not write into the folder {out.parent}"
        raise RecipeError(f"{out} cannot be written: {folder}; name another file with --out FILE")


def _require_folder(path: str) -> None:
    if not Path(path).is_dir():
        raise RecipeError(f"--images {path}: this folder does not exist")


def _readable(path: str) -> DataSummary:
    """What the rows are. Raises `DataError` if they cannot be read, or if a recipe must name their columns."""
    found = summary_of_data(path)
    if _UNKNOWN_COLUMN in str({**_section_of(found, path), "path": ""}):
        known = ", ".join(found.columns)
        text = f"its columns are not known ({known}); rename them to image, question, chosen, rejected"
        raise DataError([Problem(path, "", f"{text}, or name them in a recipe: mdpo data FILE --recipe FILE")])
    return found


def _section_of(found: DataSummary, path: str) -> dict[str, Any]:
    line = read_yaml(found.line, lambda number: path)
    assert line is not None, "a reader's line is YAML"
    section: dict[str, Any] = line.plain()["data"]
    return section


def _data_section(found: DataSummary, options: argparse.Namespace) -> dict[str, Any]:
    """The section ``data`` that reads the rows, with the folder of pictures that the user names."""
    section = _section_of(found, options.data)
    if options.images is None and section.get("images") == _UNKNOWN_FOLDER:
        if not sys.stdin.isatty():
            raise RecipeError("no folder near the rows has their pictures: name it with --images DIR")
        options.images = _answer(_IMAGES, _require_folder)
    if options.images is not None:
        section["images"] = str(options.images)
    return section


def _with_first(found: DataSummary, section: Mapping[str, Any]) -> DataSummary:
    """What is known of the rows, with the first pair of them: the user's folder may have its picture."""
    if found.first is not None:
        return found
    options = {name: value for name, value in section.items() if name != "reader"}
    reader = make_component("reader", section["reader"], **options)
    assert isinstance(reader, Reader)
    return replace(found, first=open_data(reader)[0])


def model_summary(path: str, *, ready: bool) -> tuple[str, ModelSummary]:
    """The adapter that fits the model best, and what it says. Raises `DataError` if none fits."""
    found: list[tuple[str, ModelSummary]] = []
    reason = DataError([Problem(path, "", "no adapter knows such a model; mdpo plugins adapter lists them")])
    for name, cls in current_registry().components("adapter").items():
        try:
            summary = cls.summarize(path, ready=ready)  # type: ignore[attr-defined]
        except DataError as error:
            reason = error
            continue
        if summary is not None:
            found.append((name, summary))
    if not found:
        raise reason
    return max(found, key=lambda each: (each[1].is_made_for_it, each[0]))


def _picture(found: DataSummary, method: str) -> str | None:
    """The name of the rows' rejected picture, if they reject pictures and not answers."""
    assert found.first is not None
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
    return [*map(told, lines), "next:", f"  mdpo check {name} --data", f"  mdpo-run {name}", f"  {ask}"]
