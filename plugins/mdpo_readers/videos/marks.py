"""Frames and pictures where the marks of a prompt stand. A video's frames are images, each with a mark of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from mdpo_core import IMAGE_MARK, MARK, VIDEO_MARK, Prompt, count_marks, replace_marks
from mdpo_readers.cell_types import Cell
from mdpo_readers.messages import with_marks
from mdpo_readers.videos.frames import Frames

if TYPE_CHECKING:
    from PIL.Image import Image


class Shown(NamedTuple):
    """What a prompt shows: see `Example`."""

    prompt: Prompt
    images: tuple[Image, ...]
    videos: tuple[range, ...]
    frame_times: tuple[tuple[float, ...], ...] = ()


def with_frames(
    cell: Cell,
    prompt: Prompt,
    pictures: Sequence[Image],
    videos: Sequence[Frames],
    ending: str | None,
    remedy: str,
) -> Shown:
    """A prompt whose ``<video>`` marks are replaced by a mark for each frame, with pictures and frames in its order.

    ``cell``: the prompt's, for messages. ``ending``: what follows the marks that a prompt without any gets before the
    user's first text; None: it gets none. If a row has videos and no pictures, and no mark says ``<video>``, then
    ``<image>`` stands for a video, as in LLaVA's files. Raises `DataError`, which says the ``remedy``, unless there is
    a mark for each video.
    """
    if ending is not None:
        prompt = with_marks(prompt, IMAGE_MARK * len(pictures) + VIDEO_MARK * len(videos), ending)
    if videos and not pictures and _count(prompt, VIDEO_MARK) == 0 and _count(prompt, IMAGE_MARK) == len(videos):
        prompt = _changed(prompt, lambda text: replace_marks(text, VIDEO_MARK))
    marks = _count(prompt, VIDEO_MARK)
    if marks != len(videos):
        raise cell.wrong(f"has {marks} {VIDEO_MARK} marks, and the row has {len(videos)} videos{remedy}")
    if not videos:
        return Shown(prompt, tuple(pictures), ())
    found = _count(prompt, IMAGE_MARK)
    if found != len(pictures):
        raise cell.wrong(f"has {found} {IMAGE_MARK} marks, and beside its videos the row has {len(pictures)} pictures")
    times = tuple(video.times for video in videos)
    return _replaced(prompt, pictures, videos)._replace(frame_times=times if any(times) else ())


def require_no_video(cell: Cell, answers: Iterable[Prompt]) -> None:
    """Raise `DataError` if an answer to the prompt in ``cell`` has a ``<video>`` mark."""
    if any(_count(answer, VIDEO_MARK) for answer in answers):
        raise cell.wrong(
            f"an answer contains {VIDEO_MARK}; only a prompt may show a video: write \\{VIDEO_MARK} if the word "
            "is meant, or remove the row"
        )


def _replaced(prompt: Prompt, pictures: Sequence[Image], videos: Sequence[Sequence[Image]]) -> Shown:
    left, coming = iter(pictures), iter(videos)
    images: list[Image] = []
    ranges: list[range] = []

    def marks_of(mark: re.Match[str]) -> str:
        start = len(images)
        if mark[0] == IMAGE_MARK:
            images.append(next(left))
            return IMAGE_MARK
        images.extend(next(coming))
        ranges.append(range(start, len(images)))
        return IMAGE_MARK * len(ranges[-1])

    return Shown(_changed(prompt, lambda text: MARK.sub(marks_of, text)), tuple(images), tuple(ranges))


def _changed(prompt: Prompt, change: Callable[[str], str]) -> Prompt:
    if isinstance(prompt, str):
        return change(prompt)
    return tuple(replace(turn, text=change(turn.text)) for turn in prompt)


def _count(prompt: Prompt, mark: str) -> int:
    texts = [prompt] if isinstance(prompt, str) else [turn.text for turn in prompt]
    return sum(count_marks(text, mark) for text in texts)
