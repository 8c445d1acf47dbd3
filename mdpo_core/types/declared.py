"""Gives a term only what it has declared; anything else that it reads is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

Value = TypeVar("Value")
# The method of `Term`.
_WHERE = {
    "column": "columns()",
    "statistic": "statistics()",
    "probe": "probes()",
    "mean": "running_means() or step_means()",
}


class Undeclared(KeyError):
    """A term reads something that it has not declared."""


class OnlyDeclared(dict[str, Value]):
    """Values by name. Reading any other name raises `Undeclared`; ``what`` is the kind of value, for the error."""

    def __init__(self, values: Mapping[str, Value], what: str) -> None:
        super().__init__(values)
        self._what = what

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self) or "none"
        raise Undeclared(f"{self._what} '{name}' was not declared in {_WHERE[self._what]}; declared: {known}")
