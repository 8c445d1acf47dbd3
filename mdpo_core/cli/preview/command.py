"""`mdpo preview`: checks the data of a recipe, and writes the page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.cli.preview.contents import Contents, NotedRows, NotingBuilder, RowView
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.interfaces.reader import Reader
    from mdpo_core.recipe.recipe import Recipe


def write_preview(recipe: Recipe, options: argparse.Namespace) -> int:
    """Write the page, and print its path. Bad rows are on the page, and are no error."""
    from mdpo_core.cli.preview.page import page_html
    from mdpo_core.storage.files import atomic_write

    contents = _contents(recipe, options)
    atomic_write(options.out, page_html(contents).encode("utf-8", "backslashreplace"))
    print(f"{options.out}: {_found(contents)}; open it in a browser")  # noqa: T201
    return 0


def _found(contents: Contents) -> str:
    """``60 rows, 2 of them bad, 6 held out``, and the same of ``validation``."""
    found = f"{counted(contents.num_rows, 'row')}, {contents.num_bad:,} of them bad"
    found += f", {contents.num_held_out:,} held out" if contents.num_held_out else ""
    return found if contents.validation is None else f"{found}; validation: {_found(contents.validation)}"


def require_new(out: Path) -> None:
    """Raise `RecipeError` if the page would replace a file, or if its folder is missing."""
    from mdpo_core.errors import RecipeError

    if out.is_dir():
        raise RecipeError(f"--out: {out} is a folder; name a file in it, such as {out / 'page.html'}")
    if out.exists():
        raise RecipeError(f"--out: {out} exists already; name a new file")
    if not out.parent.is_dir():
        raise RecipeError(f"--out: the folder {out.parent} does not exist; make it, or name a file in another one")


def _contents(recipe: Recipe, options: argparse.Namespace) -> Contents:
    from dataclasses import replace

    title = f"Preview of {options.recipe.name}"
    shown = _of_reader(recipe, recipe.data, title, options)
    if recipe.validation is None:
        return shown
    return replace(shown, validation=_of_reader(recipe, recipe.validation, "Validation", options))


def _of_reader(recipe: Recipe, reader: Reader, title: str, options: argparse.Namespace) -> Contents:
    """What the page shows of the rows of a reader."""
    from mdpo_core.cli.preview import contents
    from mdpo_core.data.checking import open_data

    builder, data = _builder(recipe), contents.NotedRows(open_data(reader))
    checked = _checked(recipe, data, builder)
    trained, held_out, fault = contents.parted(checked, reader)
    rows: dict[str, list[RowView]] = {}
    mark = "validation" if reader is recipe.validation else ""
    for part, count, of_part in ((trained, options.rows, mark), (held_out, -(-options.rows // 3), "held out")):
        valid = part.valid_examples()
        for source, indices in contents.drawn_rows(part, count, options.seed).items():
            rows.setdefault(source, []).extend(
                contents.row_view(builder, valid, index, data.place(part.rows[index]), of_part) for index in indices
            )
    return contents.Contents(
        title=title,
        reader=f"the reader {reader.component_name()}",
        num_rows=len(data),
        max_length=recipe.model.max_length,
        rows=rows,
        lengths=list(builder.longest.values()),
        reasons=contents.reasons_of(checked),
        num_bad=checked.num_bad,
        duplicates=contents.duplicates_of(data, checked.rows),
        num_held_out=len(held_out.rows),
        fault=fault,
    )


def _checked(recipe: Recipe, data: NotedRows, builder: NotingBuilder) -> CheckedData:
    """Check all rows, in this process alone: both remember what they see here."""
    from mdpo_core.cli.terminal.console import Console
    from mdpo_core.data.checking import check_data
    from mdpo_core.listeners import progress_of
    from mdpo_core.processes.world import ALONE

    with Console(recipe):
        return check_data(data, builder, progress_of("checking data", ALONE))


def _builder(recipe: Recipe) -> NotingBuilder:
    from mdpo_core.cli.preview.contents import NotingBuilder
    from mdpo_core.interfaces.plugin_results import code_of

    with code_of(recipe.model, "encoder"):
        encoder = recipe.model.encoder()
    return NotingBuilder.for_terms(
        recipe.objective,
        recipe.corruptions,
        encoder,
        recipe.model.max_length,
        recipe.train.seed,
        max_positions=recipe.model.max_positions,
    )
