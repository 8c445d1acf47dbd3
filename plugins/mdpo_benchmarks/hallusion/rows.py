"""The rows of HallusionBench, and a model's answers to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mdpo_core import Answer, DataError, Problem, StoredRow, answers_in_order

NUM_ROWS = 1129
_PLACE = ("category", "subcategory", "set_id", "figure_id", "question_id")
_NEEDED = (*_PLACE, "visual_input", "question", "gt_answer", "gt_answer_details")
_ALLOWED = {"category": ("VD", "VS"), "visual_input": ("0", "1", "2"), "gt_answer": ("0", "1")}


@dataclass(frozen=True)
class Row:
    """A question. ``needs_picture``: its category is VD, visual dependent; else VS, where figure 0 is no picture.

    ``visual_input``: 0 no picture, 1 the original one, 2 an altered one. ``truth``: whether yes is right; ``details``:
    the right answer in words.
    """

    where: str
    category: str
    subcategory: str
    set_id: str
    figure_id: str
    question_id: str
    visual_input: str
    question: str
    truth: bool
    details: str
    picture: str | None

    @property
    def id(self) -> str:
        """The name of the row: those of its places, joined."""
        return "_".join((*self.figure, self.question_id))

    @property
    def pair(self) -> tuple[str, ...]:
        """What the rows of a question share, whatever their figures."""
        return self.category, self.subcategory, self.set_id, self.question_id

    @property
    def figure(self) -> tuple[str, ...]:
        """What the rows of a figure share, whatever their questions."""
        return self.category, self.subcategory, self.set_id, self.figure_id

    @property
    def needs_picture(self) -> bool:
        """Whether nobody can answer without the picture."""
        return self.category == "VD"

    @property
    def is_original(self) -> bool:
        """Whether the row is the one of its pair to which others are compared: with figure 0."""
        return self.figure_id == "0"


def read(rows: Sequence[StoredRow]) -> list[Row]:
    """The rows. Raises `DataError` if they are not complete pairs of HallusionBench."""
    found = [_row(row) for row in rows]
    for id, number in Counter(row.id for row in found).items():
        if number > 1:
            raise DataError(f"{_file(found)} has {number} rows {id}")
    originals = {row.pair for row in found if row.is_original}
    for row in found:
        if row.pair not in originals:
            raise DataError([Problem(row.where, "", f"no row has figure 0 of its question: {'_'.join(row.pair)}")])
        if not row.is_original and not row.needs_picture and row.visual_input == "0":
            raise DataError([Problem(row.where, "visual_input", "is 0, no picture, but only figure 0 has none")])
    return found


def _file(rows: Sequence[Row]) -> str:
    return rows[0].where.partition(" row ")[0]


def _row(row: StoredRow) -> Row:
    missing = [name for name in _NEEDED if name not in row.values]
    if missing:
        message = (
            f"lacks {', '.join(missing)}, which the rows of HallusionBench have; answers in another layout need --data "
            "DIR with HallusionBench.json"
        )
        raise DataError([Problem(row.where, "", message)])
    values = {name: str(row.values[name]) for name in _NEEDED}
    for name, allowed in _ALLOWED.items():
        if values[name] not in allowed:
            message = f"must be {' or '.join(allowed)}, found {values[name][:40]!r}"
            raise DataError([Problem(row.where, name, message)])
    place = {name: values[name] for name in (*_PLACE, "visual_input", "question")}
    picture = row.values.get("filename")
    return Row(
        row.where,
        **place,
        truth=values["gt_answer"] == "1",
        details=values["gt_answer_details"],
        picture=picture if isinstance(picture, str) and picture else None,
    )


def in_order(answers: Sequence[Answer], rows: Sequence[Row], file: str) -> list[str]:
    """What the model said to each row. Raises `DataError` if a row has no answer, or an answer no row."""
    named = [answer._replace(id=_id_of(answer)) for answer in answers]
    ordered = answers_in_order(named, [row.id for row in rows], file)
    for answer, row in zip(ordered, rows, strict=True):
        asked = answer.values.get("question")
        if "category" in answer.values and isinstance(asked, str) and asked != row.question:
            message = f"answers {asked[:60]!r}, but {file} asks {row.question[:60]!r} in this place"
            raise DataError([Problem(answer.where, "", f"{message}; are they the answers to another file?")])
    return [answer.response for answer in ordered]


def _id_of(answer: Answer) -> str | None:
    """The name of the row that an answer is to. VLMEvalKit's index has the kind of picture in its third place."""
    if answer.values.keys() >= set(_PLACE):
        return "_".join(str(answer.values[name]) for name in _PLACE)
    parts = [] if answer.id is None else answer.id.split("_")
    return "_".join(parts[:2] + parts[3:]) if len(parts) == len(_PLACE) + 1 else answer.id
