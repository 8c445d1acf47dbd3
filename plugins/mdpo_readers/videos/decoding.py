"""The chosen frames of a video file, as people see them. Only one frame more than these is in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdpo_core import DataError, ImageOptions
from mdpo_readers.videos.frames import Frames
from mdpo_readers.videos.sampling import Sampling
from mdpo_readers.videos.timeline import Timeline, opened, timeline_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image


class _SeekMissedError(Exception):
    """A jump ended behind the frame that it was to reach."""


def read_video(source: Path | bytes, sampling: Sampling, options: ImageOptions) -> Frames:
    """The frames that ``sampling`` chooses, upright and in RGB, with their times.

    Raises `DataError` if the file is damaged, has no frames, or is no video; the message does not name the file.
    """
    timeline = timeline_of(source)
    taken = sampling.taken(timeline.starts(), timeline.end * timeline.unit)
    numbers = sorted({number for number, _ in taken})
    try:
        pictures = _pictures(source, timeline, numbers, options, jumps=True)
    except _SeekMissedError:
        pictures = _pictures(source, timeline, numbers, options, jumps=False)
    return Frames.at((pictures[number] for number, _ in taken), (float(moment) for _, moment in taken))


def _pictures(
    source: Path | bytes, timeline: Timeline, numbers: Sequence[int], options: ImageOptions, jumps: bool
) -> dict[int, Image]:
    with opened(source) as (container, stream):
        _require_size(stream, options)
        frames = _frames(container, stream, timeline, numbers, jumps)
        return {number: _picture(frame, stream) for number, frame in zip(numbers, frames, strict=True)}


def _frames(
    container: InputContainer, stream: VideoStream, timeline: Timeline, numbers: Sequence[int], jumps: bool
) -> Iterator[VideoFrame]:
    """The frames of these numbers, in order; decoding begins at the last key frame before each."""
    decoded = _timed(container, stream, timeline)
    reached = timeline.times[0] - 1
    for number in numbers:
        wanted = timeline.times[number]
        place = bisect_right(timeline.keys, wanted) - 1
        jumped = jumps and place > 0 and timeline.keys[place] > reached
        if jumped:
            container.seek(timeline.keys[place], stream=stream)
            decoded = _timed(container, stream, timeline)
        time, frame = next(((time, frame) for time, frame in decoded if time >= wanted), (None, None))
        if time != wanted and jumps:
            raise _SeekMissedError
        if time is None or frame is None or frame.is_corrupt:
            raise DataError(f"its frame {number + 1} of {len(timeline.times)} cannot be decoded; download it again")
        reached = time
        yield frame


def _timed(container: InputContainer, stream: VideoStream, timeline: Timeline) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their times; where the file says none, with their numbers."""
    for number, frame in enumerate(container.decode(stream)):
        time = frame.pts if timeline.keys else number
        if time is not None:
            yield time, frame


def _require_size(stream: VideoStream, options: ImageOptions) -> None:
    width, height = stream.width, stream.height
    size = f"its frames have {width} x {height} pixels"
    if width * height > options.max_pixels:
        raise DataError(f"{size}, more than the reader's max_pixels = {options.max_pixels}; raise it, or scale them")
    if max(width, height) > options.max_aspect_ratio * max(1, min(width, height)):
        raise DataError(f"{size}, too thin for the reader's max_aspect_ratio = {options.max_aspect_ratio:g}")


def _picture(frame: VideoFrame, stream: VideoStream) -> Image:
    """A frame in RGB, with square pixels, turned as the file says."""
    from av.video.reformatter import Interpolation
    from PIL.Image import Resampling, Transpose, fromarray

    # Without these flags, the colours of a pixel depend on what the processor can do at once.
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    image = fromarray(frame.reformat(format="rgb24", interpolation=int(exact), threads=1).to_ndarray())
    ratio = stream.sample_aspect_ratio
    if ratio and ratio != 1:
        image = image.resize((max(1, round(image.width * ratio)), image.height), Resampling.BICUBIC)
    turn = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}.get(frame.rotation % 360)
    return image if turn is None else image.transpose(turn)
