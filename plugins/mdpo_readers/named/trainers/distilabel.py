"""The rows that pipelines of distilabel write: generations with ratings, or a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import Prompt, replace_marks
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, number_or_text, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import first_filled, is_filled, listed, with_system
from mdpo_readers.named.rated import Rated, best_over_worst, pair_of, require_better

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs

_ASKED = ("instruction", "prompt", "messages")
_RATINGS = {"chosen_score": "chosen_rating", "rejected_score": "rejected_rating"}


class Distilabel(TableReader):
    """Rows of distilabel (1.x): ``{instruction or messages, generations, ratings}``, or ``chosen`` and ``rejected``.

    Of the generations, the best is compared with the worst, as ``FormatTextGenerationDPO`` does; one without a rating
    is left out, and a row whose ratings are equal makes no pair. ``chosen`` and ``rejected`` are text, answers, or
    whole conversations. Pictures are in ``image``, ``images`` or parts of the messages. ``system_prompt`` is the
    system's turn. A row whose ``chosen_rating`` is not above its ``rejected_rating`` is refused.
    """

    title: ClassVar[str] = "distilabel's rows"
    nested: ClassVar[tuple[str, ...]] = (
        "messages",
        "generations",
        "ratings",
    )
    columns: ClassVar[tuple[str, ...]] = ()
    also: ClassVar[tuple[str, ...]] = (
        *_ASKED,
        *("generations", "ratings", "chosen", "rejected", "image", "images", "system_prompt"),
        *_RATINGS.values(),
    )
    several: ClassVar[bool] = True

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        return {"generations", "ratings"} <= set(columns) or {"chosen", "rejected", "chosen_rating"} <= set(columns)

    def gives(self) -> None:
        return None  # some rows have ratings

    def counting(self) -> CountPairs:
        from mdpo_readers.named.counts.scores import count_rated

        return count_rated

    def pairs(self, row: Row) -> Iterable[Pair]:
        question = _question(row)
        pictures = first_filled(row, "image", "images")
        if "chosen" in row:
            yield _of_answers(row, question, pictures)
            return
        answers = list(_rated(row["generations"], row["ratings"]))
        for better, worse in best_over_worst(answers):
            yield pair_of(with_system(_prompt(question), row["system_prompt"]), better, worse, pictures)


def _of_answers(row: Row, question: Cell, pictures: Cell) -> Pair:
    require_better(row, "chosen_rating", "rejected_rating")
    scores = {name: row.number(column) for name, column in _RATINGS.items() if column in row}
    if _is_conversation(row["chosen"]):
        prompt, chosen, rejected = conversations.split_alike(row["chosen"], row["rejected"])
        asked_so = with_system(prompt, row["system_prompt"])
        return Pair(asked_so, chosen, rejected, pictures, columns=scores)
    better, worse = (conversations.response(row[name]) for name in ("chosen", "rejected"))
    asked_so = with_system(_prompt(question), row["system_prompt"])
    return Pair(asked_so, better, worse, pictures, columns=scores)


def _question(row: Row) -> Cell:
    """The one cell with the question; several may hold the same one. Raises `DataError` if they differ."""
    filled = [row[name] for name in _ASKED if is_filled(row[name].value)]
    for each in filled[1:]:
        if _last_text(each) != _last_text(filled[0]):
            raise each.wrong(f"asks something else than '{filled[0].column}'; keep one of them")
    return filled[-1] if filled else row["instruction"]


def _last_text(cell: Cell) -> str:
    """The question alone, without marks of pictures."""
    prompt = _prompt(cell)
    return replace_marks(prompt if isinstance(prompt, str) else prompt[-1].text, "").strip()


def _is_conversation(cell: Cell) -> bool:
    """Whether a cell holds the question, too."""
    first = cell.value[0] if isinstance(cell.value, list) and cell.value else None
    return isinstance(first, dict) and first.get("role", "") in ("user", "system")


def _prompt(cell: Cell) -> Prompt:
    return conversations.prompt(cell) if isinstance(cell.value, list) else asked(cell)


def _rated(generations: Cell, ratings: Cell) -> Iterator[Rated]:
    """The answers that have a rating."""
    answers, scores = listed(generations, "an answer"), listed(ratings, "a number or null")
    if len(answers) != len(scores):
        raise ratings.wrong(f"has {len(scores)} ratings, and '{generations.column}' has {len(answers)} answers")
    for answer, score in zip(answers, scores, strict=True):
        if score.value is not None and answer.value is not None:
            yield Rated(text(answer), number_or_text(score))
