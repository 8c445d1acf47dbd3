"""The command line: `mdpo run`, `check`, `export`, and the other commands.

`mdpo-run` is `mdpo run`. Exit codes: 0 done, 1 failed while running, 2 the user's recipe, plugin or data is wrong,
128 + signal stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.cli.arguments import add_version, count
from mdpo_core.cli.make_data import DATA_COMMANDS
from mdpo_core.cli.pipe import nobody_reads, until_nobody_reads

if TYPE_CHECKING:
    from mdpo_core.recipe.recipe import Recipe

_FOR_THE_LAUNCHER = 5.0  # seconds
_DESCRIPTION = "Train vision-language models on preference pairs, so that they look at the picture."
_EPILOG = """start here:
  mdpo-run recipes/quickstart.yaml    train a tiny model: one minute, no GPU
  mdpo check RECIPE --data            find every problem before you train
  mdpo COMMAND --help                 read about one command

The documentation starts at docs/index.md.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """`mdpo COMMAND ...`"""
    return until_nobody_reads(lambda: _dispatch(_parser().parse_args(arguments)))


def main_run() -> int:
    """`mdpo-run RECIPE ...`"""
    return main(["run", *sys.argv[1:]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mdpo", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_one_line_a_command
    )
    add_version(parser)
    # DeepSpeed's launcher puts it before the command; LOCAL_RANK says the same.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = _command(commands, "run", _run, "train as a recipe says (the same as mdpo-run)")
    add_version(run)
    _recipe_arguments(run)
    run.add_argument("--run-dir", type=Path, metavar="DIR", help="write the run to DIR instead of output.dir")
    run.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")

    check = _command(commands, "check", _check, "find every problem of a recipe before it runs")
    _recipe_arguments(check)
    check.add_argument("--data", action="store_true", help="also read every row and image, and find the model's files")
    check.add_argument("--show", type=count, metavar="N", help="do what --data does, then print the tokens of N rows")

    export = _command(commands, "export", _export, "write a checkpoint's model for transformers or peft")
    export.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    export.add_argument("--step", type=int, metavar="N", help="the checkpoint after N steps (default: the newest)")
    export.add_argument("--merge", action="store_true", help="add LoRA to the weights, so that the model is complete")
    export.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write to; it must be new or empty"
    )

    _making_commands(commands)

    sheet = _command(commands, "corruptions", _corruptions, "draw a picture under each corruption")
    sheet.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    sheet.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the image file to write, for example sheet.png"
    )

    plugin = _command(commands, "new-plugin", _new_plugin, "write a small package to start a plugin from")
    _new_plugin_arguments(plugin)

    _command(commands, "plugins", _plugins, "list the installed components and their options")
    _command(commands, "schema", _schema, "print the JSON Schema of recipes, for editors")
    return parser


def _one_line_a_command(prog: str) -> argparse.HelpFormatter:
    formatter = argparse.RawDescriptionHelpFormatter(prog, max_help_position=24)
    # argparse forgets the indent of commands, so the longest name would get a line for itself.
    formatter._action_max_length = 22
    return formatter


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    help: str,
) -> argparse.ArgumentParser:
    prog = "mdpo-run" if name == "run" else f"mdpo {name}"
    command = commands.add_parser(name, prog=prog, help=help, description=f"{help[0].upper()}{help[1:]}.")
    command.set_defaults(action=action, command=name)
    command.add_argument("--without", action="append", default=[], metavar="PLUGIN", help="do not load this plugin")
    return command


def _making_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, data_command in DATA_COMMANDS.items():
        command = _command(commands, name, _make_data, data_command.help)
        _recipe_arguments(command, processes=False)
        data_command.add_arguments(command)


def _recipe_arguments(command: argparse.ArgumentParser, *, processes: bool = True) -> None:
    command.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe file (YAML)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one option, for example --set train.seed=1",
    )
    if not processes:
        command.set_defaults(processes=None)
        return
    command.add_argument(
        "--processes", type=count, metavar="N", help="number of processes (default: what the launcher started, or 1)"
    )


def _new_plugin_arguments(command: argparse.ArgumentParser) -> None:
    from mdpo_core.offers import KINDS

    command.add_argument("name", metavar="NAME", help="the component's name in recipes; the package is mdpo_NAME")
    command.add_argument("--kind", required=True, choices=KINDS, help="what the component is")
    command.add_argument("--out", type=Path, metavar="DIR", help="the new folder to write (default: mdpo_NAME)")


def _dispatch(options: argparse.Namespace) -> int:
    from mdpo_core.errors import DataError, MdpoError, PluginError, RecipeError
    from mdpo_core.processes.group import LostProcess, is_first_to_fail
    from mdpo_core.processes.stop import RunStopped, StopRequest
    from mdpo_core.processes.world import current_world
    from mdpo_core.registry import Registry, use_registry

    try:
        use_registry(Registry.discover(options.without))
        code: int = options.action(options)
        return code
    except LostProcess as lost:
        # A launcher that notices first ends this process at once, or has asked it to stop; then it says why.
        if StopRequest.noted is not None:
            return 128 + StopRequest.noted
        time.sleep(_FOR_THE_LAUNCHER)
        return _fail(f"{lost}\n{_how_to_resume(options)}", 1)
    except (RecipeError, DataError, PluginError) as error:
        return _fail(str(error), 2)
    except RunStopped as stopped:
        return _fail(f"{stopped}\n{_how_to_resume(options)}", 128 + stopped.signum)
    except (MdpoError, OSError) as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise
        # An OSError says which file and why: a full disk, a directory that may not be written.
        return _fail("\n".join([str(error), *getattr(error, "__notes__", [])]), 1)
    except Exception:
        if current_world().size == 1:
            raise
        if is_first_to_fail():
            traceback.print_exc()
        return 1


def _fail(message: str, code: int) -> int:
    from mdpo_core.processes.group import is_first_to_fail

    if is_first_to_fail():
        print(message, file=sys.stderr)  # noqa: T201  # the one place where an error meets its user
    return code


def _how_to_resume(options: argparse.Namespace) -> str:
    import shlex

    from mdpo_core.processes.launcher import PROCESSES
    from mdpo_core.processes.world import current_world

    if current_world().size > 1 and PROCESSES not in os.environ:
        return "resume with the same command and --resume, on every node"
    if options.action is not _run:
        return "go on with the same command"
    words = ["mdpo-run", *_run_arguments(options)]
    words += ["--processes", os.environ[PROCESSES]] if PROCESSES in os.environ else []
    words += [] if options.resume else ["--resume"]
    return f"resume with: {shlex.join(words)}"


def _load(options: argparse.Namespace, *, trains: bool = True) -> Recipe:
    from mdpo_core.errors import RecipeError
    from mdpo_core.processes.world import current_world
    from mdpo_core.recipe.loading import load_recipe

    launched = current_world().size
    if options.processes and launched not in (1, options.processes):
        raise RecipeError(f"--processes {options.processes}, and the launcher has started {launched}; leave it out")
    return load_recipe(options.recipe, options.set, options.processes or launched, trains=trains)


def _run(options: argparse.Namespace) -> int:
    from mdpo_core.processes.world import current_world

    recipe = _load(options)
    if (options.processes or 1) > current_world().size:
        from mdpo_core.processes.launcher import launch

        return launch(options.processes, _run_arguments(options))
    if current_world().is_main:
        return _run_and_show(recipe, options)
    from mdpo_core.runner import run

    run(recipe, run_dir=options.run_dir, resume=options.resume)
    return 0


def _run_and_show(recipe: Recipe, options: argparse.Namespace) -> int:
    from mdpo_core.cli.console import Console
    from mdpo_core.registry import current_registry
    from mdpo_core.runner import run

    with Console(recipe) as console:
        current_registry().plugins.register(console)
        result = run(recipe, run_dir=options.run_dir, resume=options.resume)
    console.summarize(result, options.recipe)
    return 0


def _run_arguments(options: argparse.Namespace) -> list[str]:
    """Those of `mdpo run` that each of several processes gets."""
    words = [str(options.recipe)]
    words += [word for assignment in options.set for word in ("--set", assignment)]
    words += [word for plugin in options.without for word in ("--without", plugin)]
    words += ["--run-dir", str(options.run_dir)] if options.run_dir else []
    return [*words, "--resume"] if options.resume else words


def _check(options: argparse.Namespace) -> int:
    from mdpo_core.cli.console import Console
    from mdpo_core.registry import current_registry

    recipe = _load(options)
    if not (options.data or options.show):
        print(f"{options.recipe}: no problem found")  # noqa: T201
        return 0
    from mdpo_core.runner import read_data

    with Console(recipe) as console:
        current_registry().plugins.register(console)
        checked, builder = read_data(recipe)
    if options.show:
        from mdpo_core.cli.token_view import shown_rows

        print(shown_rows(builder, checked.sound(), options.show))  # noqa: T201
    print(f"{options.recipe}: no problem found, {len(checked.rows)} rows, {checked.num_bad} in quarantine")  # noqa: T201
    return 0


def _export(options: argparse.Namespace) -> int:
    from mdpo_core.storage.export import export_run

    checkpoint = export_run(options.run, options.out, step=options.step, merge=options.merge)
    print(f"{options.out}: the model of {checkpoint}, loaded again and found equal")  # noqa: T201
    return 0


def _make_data(options: argparse.Namespace) -> int:
    return DATA_COMMANDS[options.command].run(_load(options, trains=False), options)


def _corruptions(options: argparse.Namespace) -> int:
    from mdpo_core.cli.contact_sheet import write_contact_sheet

    drawn = write_contact_sheet(options.image, options.out)
    others = f"not drawn, as they need options or change whole rows: {', '.join(drawn.others)}"
    print(f"{options.out}: {options.image} under {', '.join(drawn.names)}\n{others}")  # noqa: T201
    if drawn.failed:
        return _fail("\n".join(f"the corruption '{name}' fails: {why}" for name, why in drawn.failed.items()), 1)
    return 0


def _new_plugin(options: argparse.Namespace) -> int:
    import shlex

    from mdpo_core.cli.new_plugin import write_plugin

    folder = write_plugin(options.name, options.kind, options.out)
    path, name = shlex.quote(f"{folder}"), options.name.removeprefix("mdpo_")
    install, test = 'pip install -e . "mdpo[testing]"', f"pytest --mdpo-plugin mdpo_{name}"
    steps = (f"cd {path}", install, test, "mdpo-run recipe.yaml")
    print("\n  ".join((f"{folder}: the {options.kind} '{name}'; next:", *steps)))  # noqa: T201
    return 0


def _plugins(options: argparse.Namespace) -> int:
    from mdpo_core.cli.plugins_table import components_table

    print(components_table())  # noqa: T201
    return 0


def _schema(options: argparse.Namespace) -> int:
    from mdpo_core.recipe.json_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))  # noqa: T201
    return 0
