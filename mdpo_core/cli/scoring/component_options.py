"""The options of a component as options of the command line: its field ``judge_replies`` is ``--judge-replies``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from mdpo_core.errors import RecipeError, suggestion
from mdpo_core.interfaces.component import Component

Made = TypeVar("Made", bound=Component)


class _Parser(argparse.ArgumentParser):
    """Raises `RecipeError` where argparse would end the program."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(message)


def component_from(cls: type[Made], words: Sequence[str], command: str) -> Made:
    """A component made with the options in ``words``, which stood behind ``command``.

    Raises `RecipeError` for an option that it does not have, or a value that does not fit.
    """
    parser = _Parser(prog=command, allow_abbrev=False, add_help=False)
    flags = {f"--{name.replace('_', '-')}": field for name, field in cls.model_fields.items()}
    for flag, field in flags.items():
        action = "store_true" if field.annotation is bool else "store"
        parser.add_argument(flag, action=action, default=argparse.SUPPRESS)
    found, more = parser.parse_known_args(words)
    if more:
        near = suggestion(more[0], flags) if more[0].startswith("--") else ""
        lists = f"mdpo plugins {cls.kind} {command.rpartition(' ')[2]}"
        raise RecipeError(f"{command} has no option {more[0]}{near}; {lists} lists those that it has")
    given: dict[str, Any] = vars(found)
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        raise RecipeError(f"{flag}: {first['msg']}, found {given.get(str(first['loc'][0]))!r}") from error
