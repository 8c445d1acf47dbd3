"""Which frames of a video are taken; the same on every machine."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

FRAMES = 8  # of a file or a folder, if nothing else is said


@dataclass(frozen=True)
class Sampling:
    """How frames are chosen.

    ``frames``: a video is cut into as many equal parts of time, and the frame at the centre of each part is taken.
    ``fps``: the frames at 0, 1/fps, 2/fps, ... seconds are taken; of a video for which these are more than
    ``max_frames``, the frames at the centres of so many parts. Without either, `FRAMES` of a file or a folder, and all
    of a list.

    A video with no more frames than asked for gives all of them, once. In a video with a variable rate, a frame that
    stands for long may be taken several times.
    """

    frames: int | None = None
    fps: float | None = None
    max_frames: int = 64

    def of_times(self, starts: Sequence[Fraction | int], end: Fraction | int) -> list[int]:
        """The numbers of the frames to take, from 0, in order.

        ``starts``: when each frame begins, in seconds and in order; ``end``: when the last one ends. The first frame
        begins at 0 for ``fps``, whatever its time.
        """
        moments = self._moments(Fraction(end) - Fraction(starts[0]))
        if len(moments) >= len(starts):
            return list(range(len(starts)))
        return [bisect_right(starts, starts[0] + moment) - 1 for moment in moments]

    def of_count(self, count: int) -> list[int]:
        """The numbers of the frames to take of ``count`` frames without times, each as long as the others."""
        return self.of_times(range(count), count)

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

    One frame is the middle one. ``frames`` is set; a video with fewer gives all of them.
    """

    def of_times(self, starts: Sequence[Fraction | int], end: Fraction | int) -> list[int]:
        count, last = self.frames or FRAMES, len(starts) - 1
        if len(starts) <= count:
            return list(range(len(starts)))
        return [round(place * last / (count - 1)) for place in range(count)] if count > 1 else [len(starts) // 2]


def _centres(count: int, length: Fraction) -> list[Fraction]:
    """The centres of as many equal parts."""
    return [(2 * place + 1) * length / (2 * count) for place in range(count)]
