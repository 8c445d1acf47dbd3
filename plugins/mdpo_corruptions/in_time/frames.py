"""Corruptions in time: they change which frames a video shows, and in which order. Other pictures of a row stay."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import Corruption, DataError, Example, Problem, rows_in_random_order

if TYPE_CHECKING:
    from PIL.Image import Image


class FrameCorruption(Corruption):
    """A corruption that shows other frames of the same video. It applies to rows with a video whose frames differ."""

    def applies_to(self, example: Example) -> bool:
        return any(self.can_change(kinds_of(frames)) for frames in _frames(example))

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = list(example.images)
        for video, frames in zip(example.videos, _frames(example), strict=True):
            kinds = kinds_of(frames)
            if self.can_change(kinds):
                images[video.start : video.stop] = [frames[number] for number in self.shown(kinds, rng)]
        return replace(example, images=tuple(images))

    def can_change(self, kinds: Sequence[int]) -> bool:
        """Whether a video looks different under this corruption. ``kinds``: see `kinds_of`."""
        return len(set(kinds)) > 1

    @abstractmethod
    def shown(self, kinds: Sequence[int], rng: random.Random) -> Sequence[int]:
        """The numbers of the frames that are shown, from 0: as many as the video has, and not the same pictures."""


class ShuffleFrames(FrameCorruption):
    """Show the frames of each video in a random order, which differs from the right one.

    A row without a video, or whose frames are all equal, stays as it is.
    """

    def shown(self, kinds: Sequence[int], rng: random.Random) -> Sequence[int]:
        order = list(range(len(kinds)))
        while True:  # at least one of two orders differs, so this ends after few draws
            rng.shuffle(order)
            if [kinds[number] for number in order] != list(kinds):
                return order


class ReverseFrames(FrameCorruption):
    """Show the frames of each video from the last to the first.

    A row without a video, or whose videos look the same both ways, stays as it is.
    """

    def can_change(self, kinds: Sequence[int]) -> bool:
        return list(kinds) != list(kinds)[::-1]

    def shown(self, kinds: Sequence[int], rng: random.Random) -> Sequence[int]:
        return range(len(kinds))[::-1]


class DropFrames(FrameCorruption):
    """Drop a share of the frames of each video: where a frame is dropped, the frame before it stands still.

    The number of images stays. The first frame is never dropped; at least one frame is, and it differs from the frame
    before it. A row without a video, or whose frames are all equal, stays as it is.
    """

    share: float = Field(default=0.5, gt=0, le=1, description="share of the frames to drop")

    def shown(self, kinds: Sequence[int], rng: random.Random) -> Sequence[int]:
        later = range(1, len(kinds))
        seen = rng.choice([number for number in later if kinds[number] != kinds[number - 1]])
        count = min(len(later), max(1, round(self.share * len(kinds))))
        dropped = {seen, *rng.sample([number for number in later if number != seen], count - 1)}
        shown: list[int] = []
        for number in range(len(kinds)):
            shown.append(shown[-1] if number in dropped else number)
        return shown


class OtherVideo(Corruption):
    """Show the frames of another row's video in place of each video, the same number of them.

    Of a video with more or fewer frames, those at the centres of as many equal parts are taken. Videos with the same
    frames do not count. A row without a video stays as it is.
    """

    def applies_to(self, example: Example) -> bool:
        return bool(example.videos)

    def apply(self, example: Example, rng: random.Random, data: Sequence[Example]) -> Example:
        images = list(example.images)
        for video in example.videos:
            images[video.start : video.stop] = _of_other_row(example, video, rng, data)
        return replace(example, images=tuple(images))


def _of_other_row(example: Example, video: range, rng: random.Random, data: Sequence[Example]) -> Sequence[Image]:
    own = [example.images[index] for index in video]
    for row in rows_in_random_order(len(data), rng):
        other = data[row]
        found = _frames(other) if other.id != example.id else []
        for frames in found:
            shown = [frames[(2 * place + 1) * len(frames) // (2 * len(own))] for place in range(len(own))]
            if any(not _is_same(new, old) for new, old in zip(shown, own, strict=True)):
                return shown
    message = f"other_video found none of {len(data)} rows with another id and a different video; the data needs two"
    raise DataError([Problem(f"example '{example.id}'", "", message)])


def _frames(example: Example) -> list[Sequence[Image]]:
    """The frames of each video."""
    return [example.images[video.start : video.stop] for video in example.videos]


def kinds_of(frames: Sequence[Image]) -> list[int]:
    """For each frame the number of the first frame that shows the same: ``[0, 1, 0]``."""
    kinds: list[int] = []
    for number, frame in enumerate(frames):
        same: Iterator[int] = (first for first in dict.fromkeys(kinds) if _is_same(frames[first], frame))
        kinds.append(next(same, number))
    return kinds


def _is_same(one: Image, other: Image) -> bool:
    return (one.mode, one.size) == (other.mode, other.size) and one.tobytes() == other.tobytes()
