"""Which frames of a video are taken; the same on every machine."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

FRAMES = 8  # of a file or a folder, if nothing else is said


class Taken(NamedTuple):
    """A frame that is taken: its number, from 0, and at which moment of the video, in seconds from its start."""

    number: int
    moment: Fraction

    @classmethod
    def of(cls, starts: Sequence[Fraction | int], number: int) -> Taken:
        """The frame of this number, when it begins."""
        return cls(number, Fraction(starts[number] - starts[0]))


@dataclass(frozen=True)
class Sampling:
    """How frames are chosen.

    ``frames``: a video is cut into as many equal parts of time, and the frame at the centre of each part is taken.
    ``fps``: the frames at 0, 1/fps, 2/fps, ... seconds are taken; of a video for which these are more than
    ``max_frames``, the frames at the centres of ``max_frames`` parts. Without either, `FRAMES` of a file or a folder,
    and all of a list. ``frame_rate``: how many frames of a folder or a list were taken in a second; None: nobody knows.

    A video with no more frames than asked for gives all of them, once. In a video with a variable rate, a frame that
    stands for long may be taken several times.
    """

    frames: int | None = None
    fps: float | None = None
    max_frames: int = 64
    frame_rate: float | None = None

    def taken(self, starts: Sequence[Fraction | int], end: Fraction | int) -> list[Taken]:
        """The frames to take, in order.

        ``starts``: when each frame begins, in seconds and in order; ``end``: when the last one ends. The first frame
        begins at 0 for ``fps``, whatever its time.
        """
        moments = self._moments(Fraction(end) - Fraction(starts[0]))
        if len(moments) >= len(starts):
            return [Taken.of(starts, number) for number in range(len(starts))]
        return [Taken(bisect_right(starts, starts[0] + moment) - 1, moment) for moment in moments]

    def of_times(self, starts: Sequence[Fraction | int], end: Fraction | int) -> list[int]:
        """The numbers of the frames to take, from 0, in order; see `taken`."""
        return [number for number, _ in self.taken(starts, end)]

    def of_count(self, count: int) -> list[int]:
        """The numbers of the frames to take of ``count`` frames, each as long as the others."""
        return [number for number, _ in self.taken_of_count(count)]

    def taken_of_count(self, count: int) -> list[Taken]:
        """The frames to take of ``count`` frames, each as long as the others: a second without ``frame_rate``."""
        length = 1 / Fraction(str(self.frame_rate or 1))
        return self.taken([number * length for number in range(count)], count * length)

    def _moments(self, length: Fraction) -> list[Fraction]:
        if self.fps is None:
            return _centres(self.frames or FRAMES, length)
        step = 1 / Fraction(str(self.fps))
        number = max(1, math.ceil(length / step))
        return (
            [place * step for place in range(number)]
            if number <= self.max_frames
            else _centres(self.max_frames, length)
        )


@dataclass(frozen=True)
class EndToEnd(Sampling):
    """The first frame, the last, and others between them, evenly by their numbers, as LLaVA's authors take them.

    A number between two frames is rounded down. One frame is the middle one. ``frames`` is set; a video with fewer
    gives all of them.
    """

    def taken(self, starts: Sequence[Fraction | int], end: Fraction | int) -> list[Taken]:
        return [Taken.of(starts, number) for number in self._numbers(len(starts))]

    def _numbers(self, length: int) -> Sequence[int]:
        count = self.frames or FRAMES
        if length <= count:
            return range(length)
        if count == 1:
            return [length // 2]
        step = (length - 1) / (count - 1)  # as numpy's linspace, which they call, computes it
        return [*(math.floor(place * step) for place in range(count - 1)), length - 1]


def _centres(count: int, length: Fraction) -> list[Fraction]:
    """The centres of as many equal parts."""
    return [(2 * place + 1) * length / (2 * count) for place in range(count)]
