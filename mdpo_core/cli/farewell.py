"""What a command that a signal ends says: what is kept, and how to go on."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core.processes.world import PROCESSES, current_world
from mdpo_core.storage.files import UNFINISHED, remove

if TYPE_CHECKING:
    from mdpo_core.storage.run_directory import RunDirectory


def farewell_of(options: argparse.Namespace) -> Callable[[], str]:
    """The words that `EndSignals` writes when a signal ends the command of these options."""
    resume = how_to_resume(options)

    def farewell() -> str:
        kept = _KEPT.get(options.command, _nothing)
        try:
            return f"{kept(options)}; {resume}"
        except OSError as error:
            return f"what is kept cannot be listed ({error}); {resume}"

    return farewell


def run_arguments(options: argparse.Namespace) -> list[str]:
    """The words after ``mdpo run`` that start each of several processes."""
    words = recipe_arguments(options)
    words += ["--run-dir", str(options.run_dir)] if options.run_dir else []
    words += ["--resume"] if options.resume else []
    return [*words, "--accept-changed-code"] if options.accept_changed_code else words


def recipe_arguments(options: argparse.Namespace) -> list[str]:
    """The words that name a recipe and change it."""
    words = [str(options.recipe)]
    words += [word for assignment in options.set for word in ("--set", assignment)]
    words += [word for plugin in options.without for word in ("--without", plugin)]
    return words + [word for file in options.plugin for word in ("--plugin", str(file))]


def processes_arguments(options: argparse.Namespace) -> list[str]:
    """The words that ask for as many processes as ``mdpo run`` was asked for."""
    processes = os.environ.get(PROCESSES, options.processes)
    return ["--processes", str(processes)] if processes else []


def how_to_resume(options: argparse.Namespace) -> str:
    """The command that continues what was stopped, or starts it again if it keeps nothing."""
    if options.command != "run":
        goes_on = "continue" if options.command in _CONTINUE else "start it again"
        return f"{goes_on} with the same command"
    if "WORLD_SIZE" in os.environ and PROCESSES not in os.environ and current_world().size > 1:
        return "resume with the same command and --resume, on every node"
    words = ["mdpo-run", *run_arguments(options), *processes_arguments(options)]
    words += [] if options.resume else ["--resume"]
    return f"resume with: {shlex.join(words)}"


def _nothing(options: argparse.Namespace) -> str:
    return "nothing was changed"


def _kept_of_run(options: argparse.Namespace) -> str:
    directory: RunDirectory | None = getattr(options, "directory", None)
    if directory is None or not directory.path.is_dir():
        return "nothing was changed"
    if directory.final.is_dir():
        return f"the model is in {directory.final}"
    step = directory.checkpoints.newest_step()
    kept = [f"the checkpoint of step {step}"] if step else []
    kept += ["the finished part of the reference"] if directory.reference.is_dir() else []
    if not kept:
        return f"no step is kept in {directory.path}"
    return f"{' and '.join(kept)} {'is' if len(kept) == 1 else 'are'} kept in {directory.path}"


def _kept_of_export(options: argparse.Namespace) -> str:
    out: Path = options.out.absolute()
    remove(out.with_name(UNFINISHED + out.name))
    return f"the model is in {out}" if out.is_dir() and any(out.iterdir()) else f"nothing was written to {out}"


def _kept_of_data(options: argparse.Namespace) -> str:
    partial = options.out.with_name(f"{options.out.name}.partial")
    return f"the finished rows are kept in {partial}" if partial.is_file() else "no row was finished"


def _kept_of_sweep(options: argparse.Namespace) -> str:
    return f"the runs in {options.out} keep what they have saved"


_CONTINUE = ("answer", "generate-rejected", "relabel", "sweep")
_KEPT = {
    "run": _kept_of_run,
    "export": _kept_of_export,
    "generate-rejected": _kept_of_data,
    "relabel": _kept_of_data,
    "answer": _kept_of_data,
    "sweep": _kept_of_sweep,
}
