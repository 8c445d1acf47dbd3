"""The `pairs` reader: its options, and the checks before a row is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mdpo_core import IMAGE_MARK, DataError, DataSummary, ExampleField, Problem, suggestion
from mdpo_readers.pair_columns import PairColumns
from mdpo_readers.video_reader import VideoReader

if TYPE_CHECKING:
    from mdpo_readers.examples import PairRows
    from mdpo_readers.tables.table import Table

# What the readers of formats give; what else is asked for is lost with them.
_OF_FORMATS = frozenset(("chosen", "rejected"))
_UNKNOWN = "COLUMN"  # what `mdpo data` writes where the user has to choose one


class Pairs(VideoReader):
    """Preference pairs from JSON, JSONL or Parquet, a folder saved by `datasets`, or a hub name.

    The default columns are the ones of the paper's published data: ``{img_path, prompt, chosen, rejected}``. Prompts
    and responses are text, or lists of chat messages ``{role, content}`` (or ``{from, value}``). The content of a
    message is text with ``<image>`` marks, or a list of parts ``{type: text, text}``, ``{type: image}`` and
    ``{type: video}``.
    """

    prompt: str | None = Field(
        default="prompt",
        description="the column of prompts; null: responses are whole conversations, whose last turn is the response",
    )
    image: str | None = Field(
        default="img_path", description="the column of images: paths or embedded, one or a list; null: text only"
    )
    video: str | None = Field(
        default=None,
        description="the column of videos: a file, a folder of frames below images, a list of frames, or a list of "
        "these; their frames become images where the prompt says <video>",
    )
    responses: dict[str, str] = Field(
        default={"chosen": "chosen", "rejected": "rejected"}, description="responses by name, and their columns"
    )
    beginning: str | None = Field(
        default=None,
        description="the column of the beginning of the answer, which each response continues; it is read and not "
        "scored, and null or blank text is none",
    )
    joint: str = Field(
        default=" ",
        description="the text between a beginning and a response, unless one of the two has white space there",
    )
    unfinished: bool = Field(
        default=False,
        description="the answers go on after the responses, as after single sentences: the token that ends an answer "
        "is not scored",
    )
    columns: tuple[str, ...] = Field(default=(), description="numeric columns that terms ask for")
    other_images: dict[str, str] = Field(
        default={}, description="other images of a row by name, and their columns, which are read like images"
    )
    other_prompts: dict[str, str] = Field(default={}, description="other prompts of a row by name, and their columns")
    vectors: dict[str, str] = Field(
        default={}, description="lists of numbers by name, such as an image's embedding, and their columns"
    )
    boxes: dict[str, str] = Field(
        default={},
        description="boxes [left, top, right, bottom] by name, in pixels, and their columns: a list of boxes, or, for "
        "rows with several images, a list of boxes for each image",
    )
    id: str | None = Field(default=None, description="the column of row names; default: the row's number, from 1")
    marks: Literal["as_written", "first"] = Field(
        default="as_written",
        description="where <image> and <video> marks stand: as_written, or first: rows without any get one for each "
        "image and video before the first text of the user's",
    )
    image_mark: str = Field(
        default=IMAGE_MARK,
        min_length=1,
        description="what stands for an image in the texts of the data, such as <img>; it is read as <image>",
    )

    @field_validator("prompt", "image", "responses")
    @classmethod
    def _columns_are_chosen(cls, named: object) -> object:
        if _UNKNOWN in (named.values() if isinstance(named, dict) else (named,)):
            raise ValueError(f"write the name of a column of the data in place of {_UNKNOWN} (mdpo data FILE has them)")
        return named

    @model_validator(mode="after")
    def _prompts_come_from_somewhere(self) -> Self:
        if self.prompt is None and not self.responses:
            raise ValueError("prompt: null reads prompts from the responses, but responses is empty: name one")
        return self

    @model_validator(mode="after")
    def _joint_stands_behind_a_beginning(self) -> Self:
        if self.joint != " " and self.beginning is None:
            raise ValueError("joint stands behind the beginning of an answer: add beginning: COLUMN, or leave it out")
        for mark in (IMAGE_MARK, self.image_mark):
            if mark in self.joint:
                raise ValueError(f"joint contains the mark {mark}; only prompts may contain one")
        return self

    def table_path(self) -> str | Sequence[str]:
        return self.path

    def rows_of(self, table: Table) -> PairRows:
        from mdpo_readers.examples import PairRows

        columns = self.used()
        self._require(columns, table)
        return PairRows(columns, table, self.with_options)

    def gives(self) -> Mapping[ExampleField, Collection[str]]:
        return {
            "responses": self.responses,
            "columns": self.columns,
            "other_images": self.other_images,
            "other_prompts": self.other_prompts,
            "vectors": self.vectors,
            "boxes": self.boxes,
        }

    @classmethod
    def option_for(cls, field: ExampleField, name: str) -> str:
        if field == "columns":
            return f"data.columns: [{name}]"
        others = "..., " if field == "responses" else ""  # the default's entries
        return f"data.{field}: {{{others}{name}: COLUMN}}"

    @classmethod
    def summarize(cls, path: str, count: int) -> DataSummary | None:
        from mdpo_readers.formats.recognition import summary_of
        from mdpo_readers.formats.table_reader import TableReader

        return summary_of(path, TableReader.named(), cls, count)

    def first_rows(self, table: Table, count: int) -> PairRows:
        """The first ``count`` rows of an opened table. Raises `DataError` if a column is missing."""
        from mdpo_readers.examples import PairRows
        from mdpo_readers.tables.part_table import PartTable

        if problems := self._missing_columns(self.used(), table):
            raise DataError(problems)
        return PairRows(self.used(), PartTable(table, range(min(count, len(table)))), self.with_options)

    def used(self) -> PairColumns:
        """The options that reading a row needs."""
        options = {field.name: getattr(self, field.name) for field in fields(PairColumns) if field.name != "sampling"}
        return PairColumns(sampling=self.sampling(), **options)

    def with_options(self, **changes: Any) -> Pairs:
        """A copy of this reader with some options changed, without checking them again."""
        return self.model_copy(update=changes)

    def _require(self, columns: PairColumns, table: Table) -> None:
        """Raise `DataError` if the table lacks a column, or the folder of images does not exist."""
        missing = table.missing(columns.names())
        other = self._other_reader(columns, table) if missing else ""
        found = zip(missing, self._missing_columns(columns, table), strict=True)
        problems = [replace(each, message=each.message + (other or self._remedy(name))) for name, each in found]
        problems += self.missing_images() if columns.of_images() else ()
        if problems:
            raise DataError(problems)

    def _other_reader(self, columns: PairColumns, table: Table) -> str:
        """What else reads the table, as the end of a message; empty where it would give less than is asked for."""
        from mdpo_readers.formats.recognition import format_line
        from mdpo_readers.formats.table_reader import TableReader

        has_pairs = not table.missing(columns.of_pairs())
        asks_for_more = any(set(names) - _OF_FORMATS for names in self.gives().values())
        return "" if has_pairs or asks_for_more else format_line(self.source, table, TableReader.named(), Pairs)

    def _remedy(self, column: str) -> str:
        """What to do about a missing column, with the option that names it."""
        named = {name: (getattr(self, name),) for name in ("prompt", "image", "video", "beginning", "id")}
        by_name = ("responses", "other_images", "other_prompts", "vectors", "boxes")
        several = {"columns": self.columns, **{name: tuple(getattr(self, name).values()) for name in by_name}}
        option = next(option for option, columns in (named | several).items() if column in columns)
        return f"; add it to the data, or name a column that the data has in data.{option}"

    def _missing_columns(self, columns: PairColumns, table: Table) -> list[Problem]:
        names = table.column_names()
        listed = f"  (columns: {', '.join(names)})"
        return [
            Problem(self.source, "", f"the column '{name}' is missing{suggestion(name, names)}{listed}")
            for name in table.missing(columns.names())
        ]
