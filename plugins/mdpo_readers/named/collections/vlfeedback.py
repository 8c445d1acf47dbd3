"""VLFeedback (arXiv:2410.09421): several rated answers to a question."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from mdpo_core import ExampleField
from mdpo_readers.cell_types import Cell, number_in, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import first_filled
from mdpo_readers.named.rated import HIGHEST, LOWEST, Rated, all_pairs, best_over_worst, has_score, pair_of

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs


class VLFeedback(TableReader):
    """VLFeedback as published: ``{prompt, img_path, completions}``; an answer counts as the mean of its ratings.

    The mean skips a null rating; ratings go from 1 to 5. As in Silkie, any two answers of a row with different means
    make a pair. An answer makes none if one of its ratings is no number.
    """

    title: ClassVar[str] = "VLFeedback"
    reads_order: ClassVar[bool] = True
    nested: ClassVar[tuple[str, ...]] = ("completions",)
    columns: ClassVar[tuple[str, ...]] = ("prompt", "completions")
    also: ClassVar[tuple[str, ...]] = ("img_path", "image")
    several: ClassVar[bool] = True

    take: Literal["all_pairs", "best_over_worst"] = Field(
        default="all_pairs", description="all_pairs of answers with different means, or only best_over_worst"
    )

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        # BPO has completions, too, each with a score.
        answers = first.get("completions")
        is_scored = isinstance(answers, list) and bool(answers) and has_score(answers[0])
        return set(cls.columns) <= set(columns) and not is_scored

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {"responses": ("chosen", "rejected"), "columns": ("chosen_score", "rejected_score")}

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.ratings import count_all_pairs, count_best_over_worst

        return count_all_pairs if self.take == "all_pairs" else count_best_over_worst

    def pairs(self, row: Row) -> Iterable[Pair]:
        prompt, picture = asked(row["prompt"]), first_filled(row, "img_path", "image")
        answers = list(_rated(row["completions"]))
        for better, worse in all_pairs(answers) if self.take == "all_pairs" else best_over_worst(answers):
            yield pair_of(prompt, better, worse, picture)


def _rated(cell: Cell) -> Iterator[Rated]:
    """The answers with ratings that are numbers."""
    for number, completion in enumerate(_completions(cell)):
        found = cell._replace(column=f"{cell.column}[{number}]", value=completion)
        if not isinstance(completion, dict) or not isinstance(completion.get("annotations"), dict):
            raise found.must_be("an answer: {response, annotations: {ASPECT: {Rating}}}")
        ratings = [_number(aspect) for aspect in completion["annotations"].values() if not _is_null(aspect)]
        _require_on_scale(found, ratings)
        answer = text(found._replace(value=completion.get("response")))
        if ratings and all(rating is not None for rating in ratings):
            yield Rated(answer, sum(rating or 0.0 for rating in ratings) / len(ratings))


def _completions(cell: Cell) -> list[Any]:
    """The answers."""
    if isinstance(cell.value, list):
        return cell.value
    same = ", or an object of lists of the same length" if isinstance(cell.value, dict) else ""
    raise cell.must_be(f"a list of rated answers{same}")


def _is_null(aspect: Any) -> bool:
    """Whether nothing is stored for an aspect: Parquet stores each aspect that any answer of the table has."""
    if not isinstance(aspect, dict):
        return aspect is None
    return aspect.get("Rating") is None and all(value is None for value in aspect.values())


def _require_on_scale(cell: Cell, ratings: Iterable[float | None]) -> None:
    wrong = next((each for each in ratings if each is not None and not LOWEST <= each <= HIGHEST), None)
    if wrong is not None:
        scale = f"VLFeedback's ratings go from {LOWEST} to {HIGHEST}"
        raise cell.wrong(f"has the rating {wrong:g}, and {scale}; correct it, or write 'N/A' to leave the answer out")


def _number(aspect: Any) -> float | None:
    """A rating, which is a number in a text; None for any other text."""
    rating = aspect.get("Rating") if isinstance(aspect, dict) else None
    return number_in(rating if isinstance(rating, str) else repr(rating))
