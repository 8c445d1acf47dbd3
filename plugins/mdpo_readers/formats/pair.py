"""What a named format finds in a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mdpo_core import Begun, Prompt
from mdpo_readers.cell_types import Cell, number_or_text, written_number


class Row(Mapping[str, Cell]):
    """A stored row: its cells by column. A column that the row does not have is a cell with None.

    ``where``: the row as errors name it, such as ``pairs.json row 3``. ``of_text_alone``: numbers are text, too, as in
    CSV.
    """

    def __init__(self, where: str, values: Mapping[str, Any], of_text_alone: bool = False) -> None:
        self.where = where
        self._values, self._of_text_alone = values, of_text_alone

    def __getitem__(self, column: str) -> Cell:
        return Cell(self.where, column, self._values.get(column))

    def __contains__(self, column: object) -> bool:
        """Whether the row has a value in this column."""
        return isinstance(column, str) and self._values.get(column) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def number(self, column: str) -> float:
        """The finite number in a column, which may be written as text. Raises `DataError` if there is none."""
        return (written_number if self._of_text_alone else number_or_text)(self[column])

    def filled(self) -> list[str]:
        """The columns in which the row has a value."""
        return [column for column, value in self._values.items() if value is not None]


@dataclass(frozen=True)
class Pair:
    """A prompt and its answers.

    ``prompt``: text that is ready for the model, or the turns before the answer, with or without ``<image>`` marks.
    ``images``: the cell with the picture or the list of pictures; None: none. ``asked``: the prompt's column, for
    messages. ``rejected``: None if another picture is what is rejected. ``columns``, ``other_images`` and ``begun``:
    see `Example`; the cells of the other images are read like ``images``.

    ``videos``: the cell with the video or the list of videos, as `mdpo_readers.videos.cells.videos` reads them. The
    frames of a video become images where the prompt says ``<video>``; without any mark, pictures and then frames stand
    before the user's first text. A format with a ``frames`` option of its own, such as `Hound`, overrides
    `FileReader.sampling`; one that derives from `VideoReader` has the options ``frames``, ``fps`` and ``max_frames``.
    """

    prompt: Prompt
    chosen: Prompt
    rejected: Prompt | None = None
    images: Cell | None = None
    columns: Mapping[str, float] = field(default_factory=dict)
    other_images: Mapping[str, Cell] = field(default_factory=dict)
    videos: Cell | None = None
    asked: str = "prompt"
    begun: Begun | None = None

    @property
    def responses(self) -> dict[str, Prompt]:
        """The answers by name."""
        return {"chosen": self.chosen} | ({} if self.rejected is None else {"rejected": self.rejected})
