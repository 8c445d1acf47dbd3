"""The functions of the commands. Each takes the parsed options and returns the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.cli.farewell import farewell_of, processes_arguments, recipe_arguments, run_arguments
from mdpo_core.cli.make_data import DATA_COMMANDS
from mdpo_core.words.amounts import counted

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.data.encoding import BatchBuilder
    from mdpo_core.recipe.recipe import Recipe


def run_recipe(options: argparse.Namespace) -> int:
    """`mdpo run`: train, in this process or in several that this one starts."""
    from mdpo_core.processes.standard_streams import output_may_fail
    from mdpo_core.processes.world import current_world
    from mdpo_core.storage.run_directory import RunDirectory, expanded

    recipe = _load_recipe(options)
    options.directory = RunDirectory(expanded(options.run_dir or Path(recipe.output.dir)))
    if (options.processes or 1) > current_world().size:
        from mdpo_core.processes.launcher import launch

        return launch(options.processes, ["run", *run_arguments(options)], farewell_of(options))
    from mdpo_core.runner import run

    with output_may_fail():
        if current_world().is_main:
            return _run_and_show(recipe, options)
        run(recipe, **_how_to_run(options))
    return 0


def _run_and_show(recipe: Recipe, options: argparse.Namespace) -> int:
    from mdpo_core.cli.terminal.console import Console
    from mdpo_core.runner import run

    with Console(recipe) as console:
        console.greet(options.recipe, options.directory.path)
        try:
            result = run(recipe, **_how_to_run(options))
        except Exception:
            options.trains = console.trains
            raise
    console.summarize(result, [*recipe_arguments(options), *processes_arguments(options)])
    return 0


def _how_to_run(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("run_dir", "resume", "accept_changed_code")}


def preview_data(options: argparse.Namespace) -> int:
    """`mdpo preview`: write a page that shows some rows as the model gets them, and what the check found."""
    from mdpo_core.cli.preview.command import require_new, write_preview

    require_new(options.out)
    return write_preview(_load_recipe(options), options)


def check_recipe(options: argparse.Namespace) -> int:
    """`mdpo check`: find every problem of a recipe, and with ``--data`` every problem of its rows."""
    from mdpo_core.cli.starting.machine import require_libraries
    from mdpo_core.cli.terminal.console import Console

    recipe = _load_recipe(options)
    if options.memory or options.gpu is not None or options.json:
        from mdpo_core.cli.costs.memory import check_memory

        return check_memory(recipe, options)
    require_libraries(recipe)
    if not (options.data or options.show or options.quarantine):
        _say_sound(recipe, options)
        return 0
    from mdpo_core.data.reading import read_data
    from mdpo_core.storage.quarantine import write_quarantine
    from mdpo_core.storage.stored_checks import StoredChecks

    told: list[CheckedData] = []
    with Console(recipe):
        try:
            checked, builder = read_data(recipe, store=StoredChecks(recipe), tell=told.append)
        finally:
            if options.quarantine is not None and told:
                write_quarantine(options.quarantine, *told)
    if options.show:
        from mdpo_core.cli.token_view import shown_rows

        print(shown_rows(builder, checked.valid_examples(), options.show))  # noqa: T201
    _say_sound(recipe, options, checked, builder)
    return 0


def _not_looked_at(recipe: Recipe, checked: CheckedData) -> str:
    """What the check passes over: stored rows that make no pair, and rows that it leaves for later."""
    from mdpo_core.types.rows import LazyRows

    rows = checked.data
    without = rows.num_without_example() if isinstance(rows, LazyRows) else 0
    text = f"; {counted(without, 'stored row')} made no pair" if without else ""
    if recipe.data.is_streamed():
        return f"{text} (the first buffer of a stream; other rows are checked when they are met)"
    if recipe.data.check == "all":
        return text
    later = "the others are checked when they are met, or here with --set data.check=all"
    return f"{text} (data.check: {recipe.data.check} looked only at some of these rows; {later})"


def _say_sound(
    recipe: Recipe,
    options: argparse.Namespace,
    checked: CheckedData | None = None,
    builder: BatchBuilder | None = None,
) -> None:
    """Print what would train, unless tokens are shown, then the verdict. ``checked``: None if no row was read."""
    from mdpo_core.cli.costs.memory import memory_lines
    from mdpo_core.cli.starting.machine import lacks
    from mdpo_core.cli.starting.would_train import not_looked_at, rows_of, would_train
    from mdpo_core.cli.terminal.lines import told

    found = ""
    if checked is not None:
        rows = rows_of(checked, counted(len(checked.rows), "row"))
        found = f", {rows}, {checked.num_left_out} in quarantine{_not_looked_at(recipe, checked)}"
    if not options.show:
        memory = [] if checked is None or builder is None else list(memory_lines(recipe, options, checked, builder))
        left = not_looked_at(str(options.recipe), data=checked is not None, memory=bool(memory))
        notes = [] if checked is None else lacks(recipe)
        print(told("\n".join([*would_train(recipe, checked), *memory, *notes, *left])))  # noqa: T201
    print(told(f"{options.recipe}: no problem found{found}"))  # noqa: T201


def profile_recipe(options: argparse.Namespace) -> int:
    """`mdpo profile`: run some steps, and show where their time and memory go."""
    from mdpo_core.cli.costs.profile import profile

    return profile(_load_recipe(options), options)


def export_model(options: argparse.Namespace) -> int:
    """`mdpo export`: write the model of a checkpoint."""
    from mdpo_core.storage.export import export_run

    checkpoint = export_run(options.run, options.out, step=options.step, merge=options.merge, base=options.base)
    print(f"{options.out}: the model of {checkpoint}; loaded again, it is equal")  # noqa: T201
    needed = _needed_by(options.out)
    if needed:
        print(f"for plain transformers, {needed}")  # noqa: T201
    return 0


def _needed_by(exported: Path) -> str:
    """What transformers needs for an exported model besides its own requirements; nothing for most models."""
    from mdpo_core.interfaces.plugin_results import code_of
    from mdpo_core.storage.exported import how_to_read

    said = how_to_read(exported)
    assert said is not None
    adapter = said[0]
    with code_of(adapter, "needed_by_exports"):
        return adapter.needed_by_exports()


def make_pairs(options: argparse.Namespace) -> int:
    """`mdpo generate-rejected` and `mdpo relabel`: preference pairs that a model makes."""
    return DATA_COMMANDS[options.command].run(_load_recipe(options, trains=False), options)


def draw_corruptions(options: argparse.Namespace) -> int:
    """`mdpo corruptions`: draw a picture under each corruption; 1 if one of them fails."""
    from mdpo_core.cli.contact_sheet import write_contact_sheet

    drawn = write_contact_sheet(options.image, options.out)
    others = f"not drawn, because they need options or change more than a picture: {', '.join(drawn.others)}"
    print(f"{options.out}: {options.image} under {', '.join(drawn.names)}\n{others}")  # noqa: T201
    for name, reason in drawn.failed.items():
        print(f"the corruption '{name}' fails: {reason}", file=sys.stderr)  # noqa: T201
    return 1 if drawn.failed else 0


def write_new_plugin(options: argparse.Namespace) -> int:
    """`mdpo new-plugin`: write a package with one component, and print the next steps."""
    from mdpo_core.cli.new_plugin import write_plugin

    folder = write_plugin(options.name, options.kind, options.out)
    path, name = shlex.quote(f"{folder}"), options.name.removeprefix("mdpo_")
    steps = (f"cd {path}", 'pip install -e ".[test]"', "pytest", "mdpo-run recipe.yaml")
    print("\n  ".join((f"{folder}: the {options.kind} '{name}'; next:", *steps)))  # noqa: T201
    return 0


def list_plugins(options: argparse.Namespace) -> int:
    """`mdpo plugins`: list the installed components, those of one kind, or show one whole."""
    from mdpo_core.cli.plugins_table import components_text

    print(components_text(options.kind, options.name))  # noqa: T201
    return 0


def write_new_recipe(options: argparse.Namespace) -> int:
    """`mdpo new-recipe`: write a recipe for a model and rows."""
    from mdpo_core.cli.starting.new_recipe import new_recipe

    return new_recipe(options)


def convert_config(options: argparse.Namespace) -> int:
    """`mdpo convert`: write a recipe from the configuration of another trainer."""
    from mdpo_core.cli.convert.command import convert

    return convert(options)


def list_recipes(options: argparse.Namespace) -> int:
    """`mdpo recipes`: list the recipes that mdpo ships, a line each."""
    from mdpo_core.cli.starting.copying import recipes_list

    print(recipes_list())  # noqa: T201
    return 0


def copy_shipped(options: argparse.Namespace) -> int:
    """`mdpo recipes copy`: write a shipped recipe as a new file."""
    from mdpo_core.cli.starting.copying import copy_recipe

    file = shlex.quote(str(copy_recipe(options.name, options.out)))
    print(f"{file}: the recipe '{options.name}' in one file; next: mdpo check {file}")  # noqa: T201
    return 0


def print_schema(options: argparse.Namespace) -> int:
    """`mdpo schema`: print the JSON Schema of recipes."""
    from mdpo_core.recipe.json_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))  # noqa: T201
    return 0


def _load_recipe(options: argparse.Namespace, *, trains: bool = True) -> Recipe:
    """The checked recipe of a command line; ``trains``: see `load_recipe`."""
    from mdpo_core.errors import RecipeError
    from mdpo_core.processes.world import current_world
    from mdpo_core.recipe.loading import load_recipe
    from mdpo_core.recipe.shipped import shadow_note

    launched = current_world().size
    if launched == 1 and (note := shadow_note(options.recipe)):
        print(note, file=sys.stderr)  # noqa: T201
    if options.processes and launched not in (1, options.processes):
        raise RecipeError(
            f"--processes {options.processes}, but the launcher started {launched}; leave --processes out"
        )
    processes = options.processes or launched
    return load_recipe(options.recipe, options.set, processes, plugins=options.plugin, trains=trains)
