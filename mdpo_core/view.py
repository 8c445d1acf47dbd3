"""A view: one response under one image condition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

CLEAN = "clean"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, order=True)
class View:
    """One response under one image condition, written ``chosen`` or ``chosen@crop``.

    ``clean`` is the image as it was read; every other condition is a key of a recipe's ``corruptions``.
    """

    response: str
    condition: str = CLEAN

    def __post_init__(self) -> None:
        for name in (self.response, self.condition):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a response or condition; write 'chosen' or 'chosen@crop'")

    @classmethod
    def parse(cls, text: str | View) -> View:
        """Read ``response`` or ``response@condition``; a view is returned as it is."""
        if isinstance(text, View):
            return text
        if not isinstance(text, str):
            raise ValueError(f"a view is text such as 'chosen' or 'chosen@crop', not {text!r}")
        response, mark, condition = text.partition("@")
        return cls(response, condition) if mark else cls(response)

    def __str__(self) -> str:
        return self.response if self.condition == CLEAN else f"{self.response}@{self.condition}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.to_string_ser_schema(),
            json_schema_input_schema=core_schema.str_schema(),
        )


CHOSEN = View("chosen")
REJECTED = View("rejected")
