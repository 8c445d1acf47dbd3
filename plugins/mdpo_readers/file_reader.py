"""What all readers of files share: where rows and pictures are, and how pictures are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from mdpo_core import ImageOptions, Problem, Reader
from mdpo_readers.cell_types import shown


class FileReader(Reader):
    """Rows of a file, a folder or a data set, with pictures in a folder or embedded."""

    path: str = Field(description="a .json, .jsonl or .parquet file, a folder of `datasets`, or a name on the hub")
    split: str = Field(default="train", description="the split, if the data has several")
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

    @field_validator("background")
    @classmethod
    def _background_is_a_colour(cls, name: str) -> str:
        from PIL.ImageColor import getrgb

        if len(getrgb(name)) != 3:
            raise ValueError("the background must be opaque: a name or #RRGGBB")
        return name

    def image_options(self) -> ImageOptions:
        """How images are read."""
        return ImageOptions(self.max_pixels, self.max_aspect_ratio, self.background)

    def missing_images(self) -> Iterator[Problem]:
        """The problem with the folder of images, if there is one."""
        from mdpo_readers.tables.opening import file_suggestion

        try:
            if self.images.is_dir():
                return
        except OSError as error:  # too long a name, or a folder that may not be entered
            yield Problem(self.path, "", f"data.images: {shown(str(self.images))} cannot be read: {error.strerror}")
            return
        message = f"data.images: there is no folder '{self.images}'{file_suggestion(self.images)}"
        yield Problem(self.path, "", message)
