"""Rows whose responses are candidates: nothing says yet which one is preferred."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mdpo_core.errors import DataError, Problem, RecipeError, suggestion
from mdpo_core.remedies import option
from mdpo_core.types.example import Example
from mdpo_core.types.rows import LazyRows, place_in

if TYPE_CHECKING:
    from mdpo_core.interfaces.reader import StoredRows
    from mdpo_core.types.example import Turn

Response = TypeVar("Response", bound="str | tuple[Turn, ...]")


@dataclass(frozen=True)
class CandidateRows(LazyRows):
    """Rows with the texts of a list column as responses ``candidate_0``, ``candidate_1``, ...; equal texts count once.

    ``candidates``: the column with the lists; None: the candidates are the responses that the rows name. ``scores``:
    the column with a score for each candidate; the scores become columns named like the responses.
    """

    data: Sequence[Example]
    stored: StoredRows | None
    candidates: str | None
    scores: str | None

    @classmethod
    def of(cls, data: Sequence[Example], candidates: str | None, scores: str | None) -> CandidateRows:
        """Read candidates from ``data``. Raises `RecipeError` if the reader does not give the columns."""
        stored: StoredRows | None = getattr(data, "as_stored", None)
        if candidates is not None and stored is None:
            raise RecipeError(
                f"{option('--candidates')}: this reader does not give columns of lists; use one that does, such as "
                f"'pairs', or leave {option('--candidates')} out to compare the responses that the rows name"
            )
        available = stored.stored(0) if candidates is not None and stored is not None else {}
        for name, column in (("candidates", candidates), ("scores", scores)):
            if column is not None and column not in available:
                near = suggestion(column, available)
                columns = ", ".join(available)
                raise RecipeError(
                    f"{option(f'--{name} {column}')}: this column does not exist{near}  (columns: {columns})"
                )
        return cls(data, stored, candidates, scores)

    def __len__(self) -> int:
        return len(self.data)

    def place(self, number: int) -> str:
        return place_in(self.data, number)

    def row(self, number: int) -> Example:
        example = self.data[number]
        if self.candidates is None or self.stored is None:
            return replace(example, responses=_distinct(example.responses), columns={})
        row = self.stored.stored(number)
        texts = self._list(row, self.candidates, number)
        responses = {f"candidate_{index}": text for index, text in enumerate(texts)}
        for name, text in responses.items():
            if not isinstance(text, str):
                raise self._wrong(number, self.candidates, f"must be a list of texts; {name} is {text!r}")
        kept = _distinct(responses)
        return replace(example, responses=kept, columns=self._scores(row, number, responses, kept))

    def _scores(
        self, row: dict[str, Any], index: int, responses: dict[str, str], kept: dict[str, str]
    ) -> dict[str, float]:
        if self.scores is None:
            return {}
        values = self._list(row, self.scores, index)
        if len(values) != len(responses):
            raise self._wrong(index, self.scores, f"has {len(values)} scores for {len(responses)} candidates")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self._wrong(index, self.scores, f"must be a list of finite numbers; one is {value!r}")
        first = {text: name for name, text in kept.items()}
        scores = dict(zip(responses, map(float, values), strict=True))
        for name, text in responses.items():
            if scores[name] != scores[first[text]]:
                raise self._wrong(index, self.scores, f"{first[text]} and {name} are equal, but their scores differ")
        return {name: scores[name] for name in kept}

    def _list(self, row: dict[str, Any], column: str, index: int) -> list[Any]:
        if not isinstance(row[column], list):
            raise self._wrong(index, column, f"must be a list, found {row[column]!r}")
        return list(row[column])

    def _wrong(self, index: int, column: str, message: str) -> DataError:
        return DataError([Problem(self.place(index), column, message)])


def _distinct(responses: Mapping[str, Response]) -> dict[str, Response]:
    """The responses without later copies of equal ones."""
    first: dict[Response, str] = {}
    for name, text in responses.items():
        first.setdefault(text, name)
    return {name: text for text, name in first.items()}
