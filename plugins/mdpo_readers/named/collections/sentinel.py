"""SENTINEL (arXiv:2507.12455): pairs of sentences that continue an answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import Begun, LazyRows
from mdpo_readers.cell_types import KEY, Cell, beginning, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked
from mdpo_readers.named.cells import first_filled, is_filled
from mdpo_readers.named.visual_genome import here, picture_of

if TYPE_CHECKING:
    from mdpo_readers.tables.table import Table

_SENTENCES = ("question", "context", "y_win", "y_lose")
_OF_LLAMAFACTORY = ("instruction", "context", "chosen", "rejected", "images")
# What the generator writes; what is published for LLaVA-1.5; what is published for the other models.
_LAYOUTS = (("image_path", *_SENTENCES), (KEY, *_SENTENCES), ("image_id", *_SENTENCES), _OF_LLAMAFACTORY)


class Sentinel(TableReader):
    """SENTINEL's sentences, in all three layouts, which the reader tells apart by itself.

    ``{IMAGE_ID: [{question, context, y_win, y_lose}, ...], ...}`` is published for LLaVA-1.5; the picture is
    ``IMAGE_ID.jpg`` in ``VG_100K``, ``VG_100K_2`` or ``images`` itself. ``{instruction, context, chosen, rejected,
    images}`` is published for the other models, and ``{image_path, question, context, y_win, y_lose}`` is what the
    authors' generator writes: a row for each pair. Of an absolute path that ``images`` does not contain, the part from
    ``VG_100K`` or ``VG_100K_2`` on is used.

    ``context`` is the beginning of the answer, which the model reads and which is not scored; null or empty: the
    sentences begin the answer. A blank joins it with a sentence, as in the authors' code. As the answer goes on after a
    sentence, the token that ends an answer is not scored; their code scores it where a context is null or empty.
    """

    title: ClassVar[str] = "SENTINEL"
    called: ClassVar[tuple[tuple[str, str], ...]] = (("y_win", "y_lose"),)
    columns: ClassVar[tuple[str, ...]] = ("context",)
    also: ClassVar[tuple[str, ...]] = tuple(
        dict.fromkeys(name for layout in _LAYOUTS for name in layout if name != "context")
    )

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        return any(set(layout) <= set(columns) for layout in _LAYOUTS)

    def rows_of(self, table: Table) -> LazyRows:
        known = set(table.column_names())
        self._require_columns(max(_LAYOUTS, key=lambda layout: len(known.intersection(layout))), table)
        return super().rows_of(table)

    def pairs(self, row: Row) -> Iterable[Pair]:
        question = first_filled(row, "question", "instruction")
        begun = Begun(beginning(row["context"]), unfinished=True)
        chosen, rejected = first_filled(row, "y_win", "chosen"), first_filled(row, "y_lose", "rejected")
        answers = text(chosen), text(rejected)
        yield Pair(asked(question), *answers, self._picture(row), asked=question.column, begun=begun)

    def _picture(self, row: Row) -> Cell:
        written, name = first_filled(row, "image_path", "images"), first_filled(row, KEY, "image_id")
        if not is_filled(written.value):
            return picture_of(name, self.images) if is_filled(name.value) else written
        value = written.value
        found = [here(each, self.images) for each in value] if isinstance(value, list) else here(value, self.images)
        return written._replace(value=found)
