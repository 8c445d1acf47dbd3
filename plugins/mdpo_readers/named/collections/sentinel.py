"""SENTINEL (arXiv:2507.12455): pairs of sentences that continue an answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from mdpo_core import Begun
from mdpo_readers.cell_types import beginning, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.messages import asked


class Sentinel(TableReader):
    """SENTINEL's sentences: ``{image_path, question, context, y_win, y_lose}``, a line for each pair of sentences.

    ``context`` is the beginning of the answer, which the model reads and which is not scored; null or empty: the
    sentences begin the answer. A blank joins it with a sentence, as in the authors' code. As the answer goes on after a
    sentence, the token that ends an answer is not scored; their code scores it where a context is null or empty.
    """

    title: ClassVar[str] = "SENTINEL"
    called: ClassVar[tuple[tuple[str, str], ...]] = (("y_win", "y_lose"),)
    columns: ClassVar[tuple[str, ...]] = ("image_path", "question", "context", "y_win", "y_lose")

    def pairs(self, row: Row) -> Iterable[Pair]:
        begun = Begun(beginning(row["context"]), unfinished=True)
        chosen, rejected = text(row["y_win"]), text(row["y_lose"])
        yield Pair(asked(row["question"]), chosen, rejected, row["image_path"], asked="question", begun=begun)
