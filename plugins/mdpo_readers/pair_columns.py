"""Which columns of a table contain which parts of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mdpo_core import ImageOptions
from mdpo_readers.videos.sampling import Sampling


@dataclass(frozen=True)
class PairColumns:
    """The options of `Pairs` that reading a row needs; each is described there."""

    images: Path
    prompt: str | None
    image: str | None
    video: str | None
    responses: Mapping[str, str]
    beginning: str | None
    joint: str
    unfinished: bool
    columns: tuple[str, ...]
    other_images: Mapping[str, str]
    other_prompts: Mapping[str, str]
    vectors: Mapping[str, str]
    boxes: Mapping[str, str]
    id: str | None
    marks: str
    image_mark: str
    max_pixels: int
    max_aspect_ratio: float
    background: str
    unread: tuple[str, ...]
    sampling: Sampling

    def image_options(self) -> ImageOptions:
        """How images are read."""
        return ImageOptions(self.max_pixels, self.max_aspect_ratio, self.background)

    def names(self) -> list[str]:
        """The columns that are read, without repetitions."""
        by_name = [self.responses, self.other_images, self.other_prompts, self.vectors, self.boxes]
        named = [
            self.prompt,
            self.image,
            self.video,
            self.beginning,
            *self.columns,
            self.id,
            *(column for mapping in by_name for column in mapping.values()),
        ]
        return list(dict.fromkeys(column for column in named if column is not None))

    def of_pairs(self) -> list[str]:
        """The columns of prompts, pictures, videos and answers."""
        named = [self.prompt, self.image, self.video, *self.responses.values()]
        return [column for column in named if column is not None]

    def nested(self) -> list[str]:
        """The columns with lists or objects; the others may have texts."""
        return [*self.of_images(), *self.vectors.values(), *self.boxes.values()]

    def of_images(self) -> list[str]:
        """The columns that contain images or videos."""
        return [*(column for column in (self.image, self.video) if column is not None), *self.other_images.values()]
