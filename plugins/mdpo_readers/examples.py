"""Examples from the rows of a table; a row is decoded when it is indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from mdpo_core import Begun, Example, LazyRows, Prompt, Reader
from mdpo_readers import cell_types, conversations, vectors_and_boxes
from mdpo_readers.cell_types import Cell, beginning
from mdpo_readers.formats.part_pictures import pictures_of_row, require_same_videos
from mdpo_readers.formats.unread import watch
from mdpo_readers.formats.written import meant
from mdpo_readers.images import images
from mdpo_readers.other_marks import require_own_mark, with_own_mark
from mdpo_readers.pair_columns import PairColumns
from mdpo_readers.stored_pairs import StoredPairs
from mdpo_readers.tables.table import Table
from mdpo_readers.videos.cells import require_frames, videos
from mdpo_readers.videos.marks import Shown, require_no_video, with_frames


class PairRows(LazyRows):
    """The rows of a table as examples; cheap to copy into a worker process."""

    def __init__(self, columns: PairColumns, table: Table, with_options: Callable[..., Reader]) -> None:
        """``with_options`` returns the reader of these rows with some options changed."""
        self._columns = columns
        self.as_stored = StoredPairs(columns, table, with_options)
        names = columns.names()
        answers = [column for name, column in sorted(columns.responses.items(), key=lambda item: item[0] != "chosen")]
        self._unread = watch(names, columns.of_images(), columns.unread, [answers], has_options=True)
        self._table = table.select_beside(names, self._unread.is_watched)

    def __len__(self) -> int:
        return len(self._table)

    def place(self, number: int) -> str:
        """The row as errors name it, such as ``pairs.json row 3``; ``number`` counts from 0."""
        return self._table.place(number)

    def row(self, number: int) -> Example:
        columns, values = self._columns, meant(self._table.row(number), self._columns.nested())
        self._unread.require_none(self.place(number), values)
        new_cell = partial(Cell, self.place(number))
        cell = {column: new_cell(column, values.get(column)) for column in columns.names()}
        prompt, responses = self._marked_texts(cell)
        require_no_video(cell[columns.prompt or next(iter(columns.responses.values()))], responses.values())
        if columns.video is not None and not self._table.of_text_alone(number):
            require_frames(cell[columns.video])  # CSV has no null
        read_number = cell_types.written_number if self._table.of_text_alone(number) else cell_types.number
        read = partial(images, root=columns.images, options=columns.image_options())
        shown = self._shown(cell, prompt)
        return Example(
            id=str(self._table.first + number + 1) if columns.id is None else cell_types.name(cell[columns.id]),
            prompt=shown.prompt,
            responses=responses,
            begun=self._begun(cell),
            images=shown.images,
            videos=shown.videos,
            frame_times=shown.frame_times,
            columns={column: read_number(cell[column]) for column in columns.columns},
            other_images={name: read(cell[column]) for name, column in columns.other_images.items()},
            other_prompts={name: self._other_prompt(cell[column]) for name, column in columns.other_prompts.items()},
            vectors={name: vectors_and_boxes.vector(cell[column]) for name, column in columns.vectors.items()},
            boxes={name: vectors_and_boxes.boxes(cell[column], shown.images) for name, column in columns.boxes.items()},
        )

    def _shown(self, cell: Mapping[str, Cell], prompt: Prompt) -> Shown:
        """The prompt with its pictures and the frames of its videos."""
        used, options = self._columns, self._columns.image_options()
        asked = cell[used.prompt or next(iter(used.responses.values()))]
        with_texts = [used.prompt, *used.responses.values(), *used.other_prompts.values()]
        read = [cell[column] for column in with_texts if column is not None]
        given = pictures_of_row(read, None if used.image is None else cell[used.image])
        pictures = () if given is None else images(given, used.images, options)
        if pictures:
            remedy = "write <image> in its place, or set data.image_mark: '{mark}'"
            require_own_mark(asked, prompt, remedy)
        inside = conversations.videos_inside(asked)
        require_same_videos(read, None if used.video is None else cell[used.video])
        shown_in = asked._replace(value=inside) if used.video is None or inside else cell[used.video]
        frames = videos(shown_in, used.images, used.sampling, options)
        ending, remedy = ("\n", "") if used.marks == "first" else (None, " or set data.marks: first")
        remedy = f"; write one for each video,{remedy}" if used.video else "; name the column of videos: data.video"
        return with_frames(asked, prompt, pictures, frames, ending, remedy)

    def _begun(self, cell: Mapping[str, Cell]) -> Begun | None:
        """The beginning of the answer, if the recipe names one, or says that the answers are unfinished."""
        used = self._columns
        if used.beginning is None:
            return Begun("", used.joint, unfinished=True) if used.unfinished else None
        text = with_own_mark(beginning(cell[used.beginning]), used.image_mark)
        assert isinstance(text, str)
        return Begun(text, used.joint, used.unfinished)

    def _other_prompt(self, cell: Cell) -> Prompt:
        return with_own_mark(conversations.prompt(cell), self._columns.image_mark)

    def _marked_texts(self, cell: Mapping[str, Cell]) -> tuple[Prompt, dict[str, Prompt]]:
        """The prompt, and the responses by name, with ``<image>`` for the mark of the data."""
        mark = self._columns.image_mark
        prompt, responses = self._texts(cell)
        return with_own_mark(prompt, mark), {name: with_own_mark(text, mark) for name, text in responses.items()}

    def _texts(self, cell: Mapping[str, Cell]) -> tuple[Prompt, dict[str, Prompt]]:
        """The prompt, and the responses by name."""
        column_of = self._columns.responses
        if self._columns.prompt is not None:
            remedy = "if the column contains whole conversations, set data.prompt: null"
            responses = {name: conversations.response(cell[column], remedy) for name, column in column_of.items()}
            return conversations.prompt(cell[self._columns.prompt]), responses
        split = {name: conversations.prompt_and_response(cell[column]) for name, column in column_of.items()}
        first, *others = column_of
        for name in others:
            if split[name][0] != split[first][0]:
                raise cell[column_of[name]].wrong(
                    f"the turns before the response differ from the turns in '{column_of[first]}'"
                )
        return split[first][0], {name: answer for name, (_, answer) in split.items()}
