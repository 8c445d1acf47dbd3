"""What all readers of files share: where rows and pictures are, and how pictures are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import Field, field_validator

from mdpo_core import ImageOptions, LazyRows, Problem, Reader, RowStream
from mdpo_readers.cell_types import shown
from mdpo_readers.tables.splits import Split
from mdpo_readers.videos.sampling import Sampling

if TYPE_CHECKING:
    from mdpo_readers.tables.table import Table


class FileReader(Reader):
    """Rows of a file, a folder or a data set, with pictures in a folder or embedded."""

    path: str | tuple[str, ...] = Field(
        description="a file (.json .jsonl .ndjson .parquet .csv .tsv, also packed: .gz .zst), a pattern of files, a "
        "folder of files or of `datasets`, or a name on the hub; or a list of these; .tar is WebDataset, "
        "and a folder with metadata.jsonl (.csv, .parquet) an image folder"
    )
    split: str = Field(
        default="train",
        description="the split, if the data has several; or a slice of one, such as train[:10%] or train[100:200]",
    )
    config: str | None = Field(default=None, description="the configuration of a data set on the hub that has several")
    revision: str | None = Field(default=None, description="the branch, tag or commit of a data set on the hub")
    images: Path = Field(default=Path(), description="the folder of the images; paths start from it and stay in it")
    max_pixels: int = Field(
        default=ImageOptions.max_pixels, gt=0, description="a row whose image has more pixels is bad"
    )
    max_aspect_ratio: float = Field(
        default=ImageOptions.max_aspect_ratio,
        ge=1,
        description="a row is bad if a side of its image is longer than the other by more than this factor",
    )
    background: str = Field(
        default=ImageOptions.background, description="the colour behind transparent pixels, such as white or #808080"
    )

    unread: tuple[str, ...] = Field(
        default=(),
        description="columns with pictures, videos, preferences or tools that are meant to stay unread; any other such "
        "column makes a row bad",
    )
    streaming: bool = Field(
        default=False,
        description="read the rows in order, without counting them first (.jsonl, .ndjson, .parquet, the hub); needs "
        "train.max_steps",
    )
    shuffle_buffer: int = Field(
        default=1000, gt=0, le=10**6, description="rows of a stream that are read, checked and shuffled together"
    )

    @field_validator("path")
    @classmethod
    def _path_is_given(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        paths = (path,) if isinstance(path, str) else path
        if not paths or not all(each.strip() for each in paths):
            raise ValueError("name at least one file or folder, and no empty one")
        if len(set(paths)) < len(paths):
            raise ValueError("the same path is named twice; to read rows twice, use the reader mixture")
        return path

    @field_validator("split")
    @classmethod
    def _split_is_understood(cls, split: str) -> str:
        Split.of(split)
        return split

    @field_validator("background")
    @classmethod
    def _background_is_a_colour(cls, name: str) -> str:
        from PIL.ImageColor import getrgb

        if len(getrgb(name)) != 3:
            raise ValueError("the background must be opaque: a name or #RRGGBB")
        return name

    @abstractmethod
    def table_path(self) -> str | Sequence[str]:
        """The file, folder or name of the table."""

    @abstractmethod
    def rows_of(self, table: Table) -> LazyRows:
        """The examples of a table. Raises `DataError` if it lacks a column."""

    def open(self) -> LazyRows:
        """All rows; of a stream, those of its first block."""
        from mdpo_readers.tables.opening import open_table

        if self.streaming:
            return cast(LazyRows, next(self.stream().blocks()).rows)
        return self.rows_of(open_table(self.table_path(), self.split, self.config, self.revision))

    def is_streamed(self) -> bool:
        return self.streaming

    @property
    def rows_at_once(self) -> int:
        return self.shuffle_buffer

    def stream(self) -> RowStream:
        from mdpo_readers.tables.hub import HubOptions
        from mdpo_readers.tables.streams.parts import parts_of
        from mdpo_readers.tables.streams.row_stream import TableStream

        parts = parts_of(self.table_path(), self.split, HubOptions(self.config, self.revision))
        return TableStream(parts, self.shuffle_buffer, self.rows_of)

    @property
    def notes_files(self) -> bool:
        return not self.streaming  # `datasets` opens the files of a stream

    @property
    def source(self) -> str:
        """The path as messages name it; of several, the first."""
        return self.path if isinstance(self.path, str) else self.path[0]

    def image_folder(self) -> Path:
        """The folder from which the paths of pictures start."""
        return self.images

    def image_options(self) -> ImageOptions:
        """How images are read."""
        return ImageOptions(self.max_pixels, self.max_aspect_ratio, self.background)

    def sampling(self) -> Sampling:
        """Which frames of a video are taken."""
        return Sampling()

    def missing_images(self) -> Iterator[Problem]:
        """The problem with the folder of images, if there is one."""
        from mdpo_readers.tables.opening import file_suggestion

        try:
            if self.images.is_dir():
                return
        except OSError as error:  # too long a name, or a folder that may not be entered
            yield Problem(self.source, "", f"data.images: {shown(str(self.images))} cannot be read: {error.strerror}")
            return
        if self.images.is_file():
            yield Problem(self.source, "", f"data.images: '{self.images}' is a file, not a folder; name its folder")
            return
        message = f"data.images: the folder '{self.images}' does not exist{file_suggestion(self.images)}"
        yield Problem(self.source, "", message)
