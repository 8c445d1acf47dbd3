"""The frames of one video, and when they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from PIL.Image import Image


class Frames(tuple["Image", ...]):
    """The frames of a video, in order.

    ``times``: when each of them is shown, in seconds from the start of the video; empty if nobody knows.
    """

    times: tuple[float, ...] = ()

    @classmethod
    def at(cls, pictures: Iterable[Image], times: Iterable[float]) -> Self:
        """Frames with their times."""
        frames = cls(pictures)
        frames.times = tuple(times)
        return frames
