"""The argument parser of ``mdpo``: every command with its options and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mdpo_core.cli import commands
from mdpo_core.cli.arguments import add_version, count
from mdpo_core.cli.command_files import OWN
from mdpo_core.cli.make_data import DATA_COMMANDS
from mdpo_core.cli.starting.examples import START_HERE, examples_of
from mdpo_core.errors import suggestion
from mdpo_core.registry.kinds import KIND_NAMES

if TYPE_CHECKING:
    _Subparsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

_DESCRIPTION = "Train vision-language models on preference pairs, so that they look at the picture."


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``mdpo``. Parsed options hold the function to call in ``action`` and its name in ``command``."""
    parser = argparse.ArgumentParser(
        prog="mdpo",
        description=_DESCRIPTION,
        epilog=START_HERE,
        formatter_class=_help_formatter,
        allow_abbrev=False,
    )
    add_version(parser)
    # DeepSpeed's launcher adds this before the command. It is ignored: LOCAL_RANK holds the same number.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(subparsers)
    _add_own(subparsers, "sweep")
    _add_check(subparsers)
    _add_preview(subparsers)
    _add_profile(subparsers)
    _add_own(subparsers, "ask")
    _add_export(subparsers)
    _add_own(subparsers, "push")
    for name in ("answer", "score", "eval", "compare", "data"):
        _add_own(subparsers, name)
    _add_data_commands(subparsers)
    _add_corruptions(subparsers)
    _add_new_plugin(subparsers)
    _add_plugins(subparsers)
    _add_recipes(subparsers)
    _add_new_recipe(subparsers)
    _add_convert(subparsers)
    _command(subparsers, "schema", commands.print_schema, "print the JSON Schema of recipes, for editors")
    return parser


def parsed(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The options in ``words``; ``more``: those that a command leaves to the component that it names."""
    options, more = parser.parse_known_args(words or ["--help"])
    if more and not options.takes_more:
        near = suggestion(more[0], _flags_of(options.command, parser)) if more[0].startswith("--") else ""
        parser.error(f"unrecognized arguments: {' '.join(more)}{near}")
    options.more = more
    return options


def _flags_of(command: str, parser: argparse.ArgumentParser) -> list[str]:
    """The options of a command."""
    [commands] = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return [flag for action in commands.choices[command]._actions for flag in action.option_strings]


def _add_run(subparsers: _Subparsers) -> None:
    run = _command(subparsers, "run", commands.run_recipe, "train as a recipe says (the same as mdpo-run)")
    add_version(run)
    _add_recipe(run)
    _add_processes(run)
    run.add_argument("--run-dir", type=Path, metavar="DIR", help="write the run to DIR instead of output.dir")
    run.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    run.add_argument(
        "--accept-changed-code",
        action="store_true",
        help="with --resume: continue even if a plugin file has changed since the run began",
    )


def _add_check(subparsers: _Subparsers) -> None:
    check = _command(subparsers, "check", commands.check_recipe, "find every problem of a recipe before it runs")
    _add_recipe(check)
    _add_processes(check)
    check.add_argument("--data", action="store_true", help="also read every row and image, and find the model's files")
    check.add_argument("--show", type=count, metavar="N", help="like --data, and print the tokens of the first N rows")
    check.add_argument(
        "--quarantine",
        type=Path,
        metavar="FILE",
        help="like --data, and list bad rows and duplicates in FILE, a JSON object a line, even if they stop a run",
    )
    check.add_argument(
        "--memory",
        action="store_true",
        help="also estimate the memory of a step on a GPU; the model needs no weights for it",
    )
    check.add_argument("--gpu", metavar="GB", help="like --memory, and say what fits this card, for example 24 or H100")
    check.add_argument("--json", type=Path, metavar="FILE", help="like --memory, and write its numbers to FILE")


def _add_preview(subparsers: _Subparsers) -> None:
    preview = _command(subparsers, "preview", commands.preview_data, "show the data as the model gets it, on one page")
    _add_recipe(preview)
    preview.set_defaults(processes=None)
    preview.add_argument("--out", type=Path, required=True, metavar="FILE", help="the new page to write: page.html")
    preview.add_argument(
        "--rows", type=count, default=3, metavar="N", help="the rows of each source to show (default: 3)"
    )
    preview.add_argument("--seed", type=int, default=0, metavar="N", help="the seed that draws them (default: 0)")


def _add_profile(subparsers: _Subparsers) -> None:
    help = "run some steps, and show where time and memory go"
    profile = _command(subparsers, "profile", commands.profile_recipe, help)
    _add_recipe(profile)
    _add_processes(profile)
    profile.add_argument("--steps", type=count, default=5, metavar="N", help="the steps to measure (default: 5)")
    profile.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers to FILE")
    profile.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="the Chrome trace of a micro-batch to write (default: NAME.trace.json here, for a recipe NAME.yaml)",
    )


def _add_own(subparsers: _Subparsers, name: str) -> None:
    """Add a command whose options are in its own file."""
    action, help, add_arguments = OWN[name]
    add_arguments(_command(subparsers, name, action, help))


def _add_export(subparsers: _Subparsers) -> None:
    export = _command(
        subparsers, "export", commands.export_model, "write a checkpoint's model for transformers or peft"
    )
    export.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    export.add_argument("--step", type=int, metavar="N", help="the checkpoint after N steps (default: the newest)")
    export.add_argument(
        "--merge", action="store_true", help="merge LoRA into the weights, so that the export is a complete model"
    )
    export.add_argument(
        "--base",
        metavar="PATH",
        help="where LoRA weights say that their model is: an absolute path or a hub name (default: where the run read "
        "it)",
    )
    export.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write to; it must be new or empty"
    )


def _add_data_commands(subparsers: _Subparsers) -> None:
    for name, data_command in DATA_COMMANDS.items():
        command = _command(subparsers, name, commands.make_pairs, data_command.help)
        _add_recipe(command)
        command.set_defaults(processes=None)
        data_command.add_arguments(command)


def _add_corruptions(subparsers: _Subparsers) -> None:
    sheet = _command(subparsers, "corruptions", commands.draw_corruptions, "draw a picture under each corruption")
    sheet.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    sheet.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the image file to write, for example sheet.png"
    )


def _add_new_plugin(subparsers: _Subparsers) -> None:
    help = "write a small package to start a plugin from"
    plugin = _command(subparsers, "new-plugin", commands.write_new_plugin, help)
    plugin.add_argument("name", metavar="NAME", help="the component's name in recipes; the package is mdpo_NAME")
    plugin.add_argument("--kind", required=True, choices=KIND_NAMES, help="what the component is")
    plugin.add_argument("--out", type=Path, metavar="DIR", help="the new folder to write (default: mdpo_NAME)")


def _add_plugins(subparsers: _Subparsers) -> None:
    help = "list the installed components, or show one with its options"
    plugins = _command(subparsers, "plugins", commands.list_plugins, help)
    plugins.add_argument("kind", nargs="?", metavar="KIND", help="only this kind, such as loss, with its options")
    plugins.add_argument("name", nargs="?", metavar="NAME", help="only this component, with all about it")


def _add_recipes(subparsers: _Subparsers) -> None:
    recipes = _command(subparsers, "recipes", commands.list_recipes, "list the recipes that mdpo ships, or copy one")
    inner = recipes.add_subparsers(metavar="copy")
    copy = inner.add_parser(
        "copy",
        prog="mdpo recipes copy",
        help="write one as a new file, with all that it takes from others",
        description="Write a shipped recipe as a new file, with all that it takes from others.",
        epilog=examples_of("recipes"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    copy.set_defaults(action=commands.copy_shipped)
    copy.add_argument("name", metavar="NAME", help="the recipe's name, as mdpo recipes lists it")
    copy.add_argument("--out", type=Path, metavar="FILE", help="the new file (default: NAME.yaml here)")


def _add_new_recipe(subparsers: _Subparsers) -> None:
    help = "write a recipe for a model and your rows"
    new = _command(subparsers, "new-recipe", commands.write_new_recipe, help)
    new.add_argument("--model", metavar="FOLDER", help="the model: a folder, or a name on the hub")
    new.add_argument("--data", metavar="FILE", help="the rows, as mdpo data takes them")
    new.add_argument("--images", metavar="DIR", help="the folder of their pictures (default: one near the rows)")
    new.add_argument("--method", choices=("mdpo", "dpo"), default="mdpo", help="what is trained (default: mdpo)")
    new.add_argument("--out", metavar="FILE", help="the new recipe to write; on a terminal, what is missing is asked")


def _add_convert(subparsers: _Subparsers) -> None:
    help = "write a recipe from another trainer's config"
    command = _command(subparsers, "convert", commands.convert_config, help)
    command.add_argument("config", type=Path, metavar="CONFIG", help="its YAML or JSON file, or a script that runs it")
    command.add_argument(
        "--from",
        dest="trainer",
        choices=("trl", "llamafactory", "swift"),
        help="whose options they are (default: as the options tell)",
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="the new recipe to write (default: standard output)")
    command.add_argument(
        "--processes", type=count, metavar="N", help="the processes that share a step (default: 1, or as a script says)"
    )


def _add_recipe(command: argparse.ArgumentParser) -> None:
    command.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file (YAML), or a name of mdpo recipes")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one option: train.seed=1, objective.0.beta=0.2, or of all items objective.*.beta=0.2",
    )


def _add_processes(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--processes",
        type=count,
        metavar="N",
        help="number of processes (default: as many as the launcher started, or 1)",
    )


def _command(
    subparsers: _Subparsers,
    name: str,
    action: Callable[[argparse.Namespace], int],
    help: str,
) -> argparse.ArgumentParser:
    """Add a command, with the options that all commands share."""
    prog = "mdpo-run" if name == "run" else f"mdpo {name}"
    # Abbreviated options are off: `--with x` would be `--without x`.
    command = subparsers.add_parser(
        name,
        prog=prog,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=examples_of(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(action=action, command=name, takes_more=False)
    command.add_argument("--without", action="append", default=[], metavar="PLUGIN", help="do not load this plugin")
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="also run this Python file and use its components",
    )
    return command


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter that prints the help of each command on one line."""
    formatter = argparse.RawDescriptionHelpFormatter(prog, max_help_position=24)
    # argparse does not count the indent of commands, so it would put the longest name on its own line.
    formatter._action_max_length = 22
    return formatter
