"""A term reads what it has declared; what else it asks for is named."""

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
    """A term asks for what it has not declared."""


class Declared(dict[str, Value]):
    """Values by name; ``what`` they are is for the message about any other name."""

    def __init__(self, values: Mapping[str, Value], what: str) -> None:
        super().__init__(values)
        self._what = what

    def __missing__(self, name: str) -> NoReturn:
        known = ", ".join(self) or "none"
        raise Undeclared(f"{self._what} '{name}' was not declared in {_WHERE[self._what]}; declared: {known}")
