"""A view: one response under one image condition."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from reprlib import repr as short
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

CLEAN = "clean"
_WITH_PROMPT = "prompt+"
_FORM = "a view is text such as 'chosen' or 'chosen@crop'"
_LONGEST_NAME = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, order=True)
class View:
    """One response under one image condition, written ``chosen`` or ``chosen@crop``.

    The condition ``clean`` is the image as it was read. Every other condition is a key of a recipe's ``corruptions``.
    A view ``with_prompt``, written ``prompt+chosen@crop``, is scored from the first word after the prompt's images.
    Raises `ValueError` for a name that is not valid.
    """

    response: str
    condition: str = CLEAN
    with_prompt: bool = False

    def __post_init__(self) -> None:
        for name in (self.response, self.condition):
            if not is_name(name):
                raise ValueError(
                    f"{short(name)} is not a valid name of a response or condition; write 'chosen' or 'chosen@crop'"
                )

    @classmethod
    def parse(cls, text: str | View) -> View:
        """Read ``response`` or ``response@condition``, which ``prompt+`` may precede; a `View` stays as it is."""
        if isinstance(text, View):
            return text
        if not isinstance(text, str):
            raise ValueError(f"{_FORM}, found {short(text)}")
        response, mark, condition = text.removeprefix(_WITH_PROMPT).partition("@")
        return cls(response, condition if mark else CLEAN, text.startswith(_WITH_PROMPT))

    @classmethod
    def _from_option(cls, value: Any) -> View:
        """As `parse`. The message about a recipe's options says what was found, except of a mapping."""
        if isinstance(value, str | View | dict):
            return cls.parse(value)  # type: ignore[arg-type]  # which refuses a mapping
        raise ValueError(_FORM)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        scored = f"{_WITH_PROMPT if self.with_prompt else ''}{self.response}"
        return scored if self.condition == CLEAN else f"{scored}@{self.condition}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._from_option,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )


def is_name(text: str) -> bool:
    """Whether a text can name a response or a condition."""
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


CHOSEN = View("chosen")
REJECTED = View("rejected")


def with_prompt(view: View | str) -> View:
    """The view, scored with its prompt."""
    return replace(View.parse(view), with_prompt=True)
