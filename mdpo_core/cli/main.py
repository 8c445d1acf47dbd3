"""The entry points ``mdpo`` and ``mdpo-run``: parse the command, run it, and turn an error into an exit code.

`mdpo-run` is `mdpo run`. Exit codes: 0 done, 1 failed while running, 2 the user's recipe, plugin or data is wrong,
128 + N stopped by signal N.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdpo_core.cli.farewell import farewell_of, how_to_resume
from mdpo_core.cli.parser import build_parser, parsed
from mdpo_core.cli.pipe import nobody_reads, until_nobody_reads
from mdpo_core.cli.starting.completion import complete_run, complete_words
from mdpo_core.processes.end_signals import EndSignals
from mdpo_core.remedies import in_words_of_commands

if TYPE_CHECKING:
    from mdpo_core.processes.rendezvous import LostProcess
    from mdpo_core.processes.stop_request import RunStopped

_WITHOUT_PLUGINS = ("recipes",)
_FOR_THE_LAUNCHER = 5.0  # seconds in which a launcher notices a lost process and says why


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``mdpo COMMAND ...`` and return its exit code; ``arguments``: those of this process by default.

    Without a command it prints the help.
    """
    _print_any_text()
    code = 1  # that of Python after a traceback
    try:
        words = sys.argv[1:] if arguments is None else arguments
        parser = build_parser()
        complete_words(parser)
        with in_words_of_commands():
            code = until_nobody_reads(lambda: _exit_code(parsed(parser, words)))
        return code
    finally:
        if EndSignals.installed is not None:
            EndSignals.installed.finish(code)


def _print_any_text() -> None:
    """Escape characters that the terminal's encoding does not have (LANG=C), so that printing them raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main_run() -> int:
    """Run ``mdpo-run RECIPE ...`` and return its exit code."""
    complete_run(build_parser())
    return main(["run", *sys.argv[1:]])


def _exit_code(options: argparse.Namespace) -> int:
    """Run the command and return its exit code; print a user's error as a message without a traceback."""
    from mdpo_core.errors import DataError, MdpoError, PluginError, RecipeError
    from mdpo_core.processes.rendezvous import LostProcess
    from mdpo_core.processes.stop_request import RunStopped

    try:
        if EndSignals.installed is not None:
            EndSignals.installed.farewell = farewell_of(options)
        return _act(options)
    except LostProcess as lost:
        return _after_a_lost_process(lost, options)
    except (RecipeError, DataError, PluginError) as error:
        return _fail(str(error), 2)
    except RunStopped as stopped:
        return _after_a_stop(stopped, options)
    except (MdpoError, OSError) as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            raise
        # An OSError names the file and the reason: a full disk, a directory without permission to write.
        told = [str(error) or type(error).__name__, *getattr(error, "__notes__", [])]
        kept = [farewell_of(options)()] if getattr(options, "trains", False) else []
        return _fail("\n".join([*told, *kept]), 1)
    except BaseException as error:  # a signal raises nothing, so a KeyboardInterrupt is raised by code, too
        return _after_a_fault(error)


def _act(options: argparse.Namespace) -> int:
    """Discover the plugins, and run those files that the command line names; then call the command.

    A command that only prints what is shipped needs no plugins.
    """
    if options.command in _WITHOUT_PLUGINS and not (options.without or options.plugin):
        printed: int = options.action(options)
        return printed
    from mdpo_core.registry.discovery import Registry, use_registry
    from mdpo_core.registry.plugin_files import use_plugin_file

    use_registry(Registry.discover(options.without))
    for file in options.plugin:
        use_plugin_file(file)
    code: int = options.action(options)
    return code


def _after_a_stop(stopped: RunStopped, options: argparse.Namespace) -> int:
    """The main process alone says it, as all of them have stopped: its bar is gone by then, and others do not know."""
    from mdpo_core.processes.world import current_world

    if current_world().is_main:
        return _fail(f"{stopped}\n{how_to_resume(options)}", 128 + stopped.signum)
    return 128 + stopped.signum


def _after_a_lost_process(lost: LostProcess, options: argparse.Namespace) -> int:
    from mdpo_core.processes.stop_request import StopRequest

    # If the launcher notices first, it ends this process or asks it to stop, and the launcher prints the reason.
    if StopRequest.noted is not None:
        return 128 + StopRequest.noted
    time.sleep(_FOR_THE_LAUNCHER)
    return _fail(f"{lost}\n{how_to_resume(options)}", 1)


def _after_a_fault(error: BaseException) -> int:
    """Print one line for an error of a plugin's code, and the traceback of any other."""
    from mdpo_core.errors import fault_of_plugin, place_of_plugin, raised
    from mdpo_core.processes.world import current_world

    fault = fault_of_plugin(error)
    if not isinstance(error, Exception) and place_of_plugin(error) is not None:
        # argparse is done, so a plugin has called sys.exit(), or the like. With exit code 0, nobody would notice.
        fault = f"a plugin's code {raised(error)}"
    if fault is not None:
        return _fail(f"{fault}; correct the plugin, or tell its author", 2)
    if not isinstance(error, Exception) or current_world().size == 1:
        raise error
    return _after_a_bug()


def _after_a_bug() -> int:
    """Print the traceback in the first process that fails, since the others fail because of it; return 1."""
    from mdpo_core.processes.rendezvous import is_first_to_fail

    if is_first_to_fail():
        traceback.print_exc()
    return 1


def _fail(message: str, code: int) -> int:
    """Print an error message, in one process only, and return ``code``."""
    from mdpo_core.cli.terminal.lines import fitted
    from mdpo_core.processes.rendezvous import is_first_to_fail

    if is_first_to_fail():
        print(fitted(message), file=sys.stderr)  # noqa: T201  # the one place where an error meets its user
    if EndSignals.installed is not None:
        EndSignals.installed.finish(code)
    return code
