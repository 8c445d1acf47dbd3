"""The options of a component as options of the command line: its field ``judge_replies`` is ``--judge-replies``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from mdpo_core.cli.plugins_table import description
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.component import Component

Made = TypeVar("Made", bound=Component)


def component_from(cls: type[Made], words: Sequence[str], command: str) -> Made:
    """A component made with the options in ``words``. Raises `RecipeError` for a value that does not fit.

    ``command``: what the user typed before them, for the messages of argparse, which ends the program.
    """
    parser = argparse.ArgumentParser(prog=command, allow_abbrev=False, add_help=False)
    for name, field in cls.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=description(field))
        else:
            parser.add_argument(flag, default=argparse.SUPPRESS, help=description(field))
    given: dict[str, Any] = vars(parser.parse_args(words))
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
        raise RecipeError(f"{flag}: {first['msg']}, found {given.get(str(first['loc'][0]))!r}") from error
