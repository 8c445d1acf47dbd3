"""Mappings that give a term only what it has declared. Reading anything else is an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, TypeVar

Value = TypeVar("Value")
# The method of `Term` that declares each kind of value.
_DECLARING_METHOD = {
    "column": "columns()",
    "statistic": "statistics()",
    "probe": "probes()",
    "mean": "running_means() or step_means()",
    "batch mean": "means()",
}


class Undeclared(KeyError):
    """A term read something that it has not declared."""


class OnlyDeclared(dict[str, Value]):
    """Values by name. Reading any other name raises `Undeclared`.

    ``kind``: the kind of value, for the error: "column", "statistic", "probe", "mean" or "batch mean".
    """

    def __init__(self, values: Mapping[str, Value], kind: str) -> None:
        super().__init__(values)
        self._kind = kind

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self) or "none"
        raise Undeclared(
            f"{self._kind} '{name}' was not declared in {_DECLARING_METHOD[self._kind]}; declared: {known}"
        )
