"""The base class of all named readers: a format is a function from a stored row to pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdpo_core import DataError, ExampleField, LazyRows, Problem, suggestion
from mdpo_readers.file_reader import FileReader
from mdpo_readers.formats.pair import Pair, Row

if TYPE_CHECKING:
    from mdpo_readers.formats.rows import CountPairs, Format
    from mdpo_readers.tables.table import Table


class TableReader(FileReader):
    """A named format. Subclasses say which columns it has and what a row means; this class does everything else.

    ``title``: the name that people use. ``columns``: each row has them; they tell the format from others, and a table
    without them is refused. ``also``: more columns that `pairs` reads where they are. ``several``: a row may make
    several pairs, or none. ``mark_ending``: what follows the marks of pictures where the data have none.
    ``keeps_ready_prompts``: whether a question of plain text stays text, and may be ready-made; most formats make it a
    user's turn. ``declares``:
    what to do about a column with a system prompt or earlier turns that is not read, if the format can name it;
    ``{column}`` stands for the column, and ``{part}`` for ``system`` or ``history``. ``nested``: the columns with lists
    or objects, which may be written there as text: in JSON, or as Python writes them. Columns with pictures, and texts
    that are chat messages, are read so without being named. ``reads_order``: `pairs` finds in the row which answer is
    better. Without it, a row is refused if a column that is not read contradicts the order of the answers, such as
    ``winner: rejected``. ``called``: names of the better answer and of the worse one in such columns, besides chosen
    and rejected.
    """

    title: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    also: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False
    mark_ending: ClassVar[str] = "\n"
    keeps_ready_prompts: ClassVar[bool] = False
    declares: ClassVar[str] = ""
    nested: ClassVar[tuple[str, ...]] = ()
    reads_order: ClassVar[bool] = False
    called: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abstractmethod
    def pairs(self, row: Row) -> Iterable[Pair]:
        """The pairs of a row; one, unless the format has ``several``. Raises `DataError` if the row is bad."""

    def counting(self) -> CountPairs | None:
        """A function that counts the pairs of many rows at once, so that a table with ``several`` opens quickly.

        It takes stored rows as Arrow's table, and returns how many pairs each has, as `pairs` would make them; -1 for a
        row that `pairs` has to count. None: `pairs` counts all.
        """
        return None

    @classmethod
    def named(cls) -> Iterator[type[TableReader]]:
        """All formats that recipes can name."""
        for each in cls.__subclasses__():
            if each.has_name():
                yield each
            yield from each.named()

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        """Whether a table at ``path`` with these columns, and this first row, has this format."""
        return set(cls.columns) <= set(columns)

    @classmethod
    def options_for(cls, path: str) -> Sequence[Mapping[str, str]]:
        """The options of a recipe for each data set in a table of this format, without the folder of pictures."""
        return [{"path": path}]

    @classmethod
    def listed_in(cls, path: str) -> Sequence[tuple[str, Mapping[str, str]]]:
        """The file and the options of each data set that a file of this format at ``path`` lists, if it lists any."""
        return ()

    def wanted(self) -> tuple[Sequence[str], Sequence[str]]:
        """The columns that the table must have, and those that are read where they are."""
        return self.columns, self.also

    def nested_columns(self) -> Collection[str]:
        """The columns with lists or objects: see ``nested``."""
        return self.nested

    def orders(self) -> Sequence[tuple[str, str]]:
        """The names of the better answer and of the worse one: see ``called``. Empty if the format reads the order."""
        return [] if self.reads_order else [("chosen", "rejected"), *self.called]

    def table_path(self) -> str | Sequence[str]:
        """The file, folder or name of the table, for formats whose ``path`` is another file."""
        return self.path

    def rows_of(self, table: Table) -> LazyRows:
        from mdpo_readers.formats.rows import FormatRows, index_of

        self._require_columns(self.wanted()[0], table)
        problems = list(self.missing_images())
        if problems:
            raise DataError(problems)
        format = self._format()
        table = table.select_beside(format.columns, format.unread.is_watched)
        return FormatRows(format, table, index_of(format, table) if self.several else None)

    def first_rows(self, table: Table, count: int) -> LazyRows:
        """The pairs of the first ``count`` rows of an opened table."""
        from mdpo_readers.formats.rows import FormatRows, index_of
        from mdpo_readers.tables.part_table import PartTable

        format = self._format()
        beside = table.select_beside(format.columns, format.unread.is_watched)
        first = PartTable(beside, range(min(count, len(table))))
        return FormatRows(format, first, index_of(format, first))

    def gives(self) -> Mapping[ExampleField, Collection[str]] | None:
        return {"responses": ("chosen", "rejected")}

    def _format(self) -> Format:
        from mdpo_readers.formats.rows import Format
        from mdpo_readers.formats.unread import watch
        from mdpo_readers.formats.unread_pictures import is_picture_column

        columns = tuple(name for names in self.wanted() for name in names)
        pictures = filter(is_picture_column, columns)
        unread = watch(columns, pictures, self.unread, self.orders(), has_options=False, declares=self.declares)
        options = self.image_options(), self.sampling()
        root, nested = self.image_folder(), self.nested_columns()
        return Format(root, *options, self.pairs, self.mark_ending, columns, unread, nested, self.counting())

    def _require_columns(self, needed: Sequence[str], table: Table) -> None:
        from mdpo_readers.formats.recognition import format_line

        missing = table.missing(needed)
        if missing:
            names = table.column_names()
            near = suggestion(missing[0], names)
            text = f"the column '{missing[0]}' of {self.title} is missing{near}  (columns: {', '.join(names)})"
            raise DataError([Problem(self.source, "", text + format_line(self.source, table, TableReader.named()))])
