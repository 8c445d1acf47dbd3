"""The options of readers of videos."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mdpo_readers.file_reader import FileReader
from mdpo_readers.videos.sampling import FRAMES, Sampling


class FrameReader(FileReader):
    """A reader of files whose rows may have videos that are folders or lists of frames."""

    frame_rate: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="how many frames of a folder or a list were taken in a second of the video; models with a video "
        "input of their own that reads times need it. Files say their times themselves",
    )


class VideoReader(FrameReader):
    """A reader of files whose rows may have videos."""

    frames: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="frames of each video: those at the centres of as many equal parts; fewer if it has fewer. "
        f"Default: {FRAMES} of a file or a folder, all of a list",
    )
    fps: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="frames of each second of a video, from its start, in place of frames; of folders and lists with "
        "frame_rate only",
    )
    max_frames: int = Field(
        default=Sampling.max_frames,
        ge=1,
        le=1000,
        description="with fps: the most frames of a video; a longer one gives the centre of each of that many parts",
    )

    @model_validator(mode="after")
    def _frames_or_fps(self) -> Self:
        if self.frames is not None and self.fps is not None:
            raise ValueError("frames and fps both say which frames of a video are taken; set one of them")
        if self.fps is None and self.max_frames != Sampling.max_frames:
            raise ValueError("max_frames has no effect without fps; set fps, or frames in its place")
        return self

    def sampling(self) -> Sampling:
        return Sampling(self.frames, self.fps, self.max_frames, self.frame_rate)
