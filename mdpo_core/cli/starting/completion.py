"""Completion of words in bash, zsh and fish, by argcomplete; a shell asks for it by an environment variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping

_ASKED = "_ARGCOMPLETE"
_RECIPES = (".yaml", ".yml")


def complete_words(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for words, and end the program; without such a shell do nothing."""
    if _ASKED in os.environ:
        import argcomplete

        _name_words(parser)
        argcomplete.autocomplete(parser)


def complete_run(parser: argparse.ArgumentParser) -> None:
    """The same for `mdpo-run`, whose words are those of the command ``run``."""
    if _ASKED in os.environ:
        complete_words(dict(_commands(parser))["run"])


def _commands(parser: argparse.ArgumentParser) -> Iterable[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _name_words(parser: argparse.ArgumentParser) -> None:
    """Say which words stand for recipes and components; argcomplete itself knows options, choices and files."""
    completers = {"RECIPE": _recipes, "KIND": _kinds}
    named = _shipped if parser.prog == "mdpo recipes copy" else _components if parser.prog == "mdpo plugins" else None
    for action in parser._actions:
        completer = named if action.metavar == "NAME" else completers.get(str(action.metavar))
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]
    for _, command in _commands(parser):
        _name_words(command)


def _shipped(**asked: object) -> Iterable[str]:
    from mdpo_core.recipe.shipped import shipped_recipes

    return shipped_recipes()


def _recipes(prefix: str, **asked: object) -> Iterable[str]:
    from argcomplete.completers import FilesCompleter

    return [*_shipped(), *FilesCompleter(_RECIPES)(prefix, **asked)]


def _kinds(**asked: object) -> Iterable[str]:
    from mdpo_core.registry.kinds import KIND_NAMES

    return KIND_NAMES


def _components(parsed_args: argparse.Namespace, **asked: object) -> Iterable[str]:
    from mdpo_core.registry.discovery import Registry

    components: Mapping[str, object] = Registry.discover(()).components(str(parsed_args.kind))
    return components
