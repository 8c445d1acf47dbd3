"""When a video file shows each of its frames: read from its packets, without decoding them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mdpo_core import DataError, other_kind

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Formats without this list include playlists, which open other files and web addresses.
_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "flv", "asf", "ogg", "gif", "h264", "hevc"),
    *("mp3", "wav", "flac", "aac"),  # sounds, of which another message says more
)
_OTHER_KINDS = (
    (
        rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|....ftypavi[fs]",
        "a picture, not a video; name its column as one of pictures, or write [FILE] for a video of one frame",
    ),
    (rb"\s*#EXTM3U", "a playlist, not a video; download the video itself"),
    (rb"\s*[{\[]\s*[\"{\[\]}]", "a JSON text, such as the error of a web server; download the video again"),
)
_COVER = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: the picture on the cover of a song
_HEAD = 1024
_CUT = Fraction(1, 50)  # a file of which a larger share is missing was cut off
_UNKNOWN = -(2**63)  # a time that a packet does not say; it comes before all others


class Timeline(NamedTuple):
    """When each frame is shown, in units of ``unit`` seconds and in order, and ``end``, when the last one ends.

    ``keys``: the times of the frames from which decoding can begin, in order; empty if the file does not say any times.
    Then ``times`` are the numbers of the frames.
    """

    times: list[int]
    end: int
    unit: Fraction
    keys: list[int]

    def starts(self) -> list[Fraction]:
        """When each frame begins, in seconds."""
        return [time * self.unit for time in self.times]


@contextmanager
def opened(source: Path | bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file, or its bytes, and its pictures. Raises `DataError` if there are none, or the file is damaged."""
    import av

    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        head = file.read(_HEAD)
        file.seek(0)
        found = "empty" if not head else other_kind(head, _OTHER_KINDS)
        if found is not None:
            raise DataError(f"it is {found}")
        try:
            with av.open(
                file, "r", options={"format_whitelist": ",".join(_FORMATS)}, metadata_errors="replace"
            ) as container:
                yield container, _pictures(container)
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            raise DataError(_reason(error)) from error


def _reason(error: Any) -> str:
    said = (error.log[2] if error.log else "") or error.strerror
    return f"it is damaged, was cut off, or is not a video ({' '.join(str(said).split())}); download it again"


def _pictures(container: InputContainer) -> VideoStream:
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & _COVER]
    if streams and streams[0].codec_context is None:
        raise DataError("its pictures are stored in a way that PyAV does not know; convert it to MP4 with H.264")
    if streams:
        return streams[0]
    what = "only sound" if container.streams.audio else "no pictures"
    raise DataError(f"it has {what}; a video needs pictures")


def timeline_of(source: Path | bytes) -> Timeline:
    """The timeline of a file. Raises `DataError` if it has no frames, or if its end is missing."""
    with opened(source) as (container, stream):
        stored = list(_stored(container))
        found = [each for each in stored if each.stream == stream.index]
        _require_whole(container, stream, stored, len(found))
        shown = sorted(each for each in found if each.is_shown)
        if not shown:
            raise DataError("it has no frames")
        times = [each.time for each in shown]
        unit = stream.time_base
        says_times = unit is not None and len(set(times)) == len(times) and times[0] != _UNKNOWN
        if unit is not None and says_times:
            end = max(times[-1] + 1, *(each.time + each.length for each in shown))
            return Timeline(times, end, unit, [each.time for each in shown if each.is_key])
    return _counted(source)


class _Packet(NamedTuple):
    """What a packet says without being decoded; times in units of its stream."""

    time: int
    length: int
    stream: int
    end: Fraction
    is_key: bool
    is_shown: bool


def _stored(container: InputContainer) -> Iterator[_Packet]:
    """All packets. Raises `DataError` for a damaged one."""
    for packet in container.demux():
        if not packet.size and packet.dts is None:  # the mark of a stream's end
            continue
        if packet.is_corrupt:
            raise DataError("a part of it is damaged; download it again")
        time, length = (_UNKNOWN if packet.pts is None else packet.pts), packet.duration or 0
        end = Fraction(0) if packet.pts is None else (time + length) * packet.time_base
        is_shown = bool(packet.size) and not packet.is_discard
        yield _Packet(time, length, packet.stream_index, end, packet.is_keyframe, is_shown)


def _require_whole(container: InputContainer, stream: VideoStream, stored: Sequence[_Packet], count: int) -> None:
    """Raise `DataError` if a file holds fewer frames than it says, or ends earlier."""
    if count < stream.frames * (1 - _CUT):
        message = f"it says that it has {stream.frames} frames, but holds only {count}"
        raise DataError(f"{message}: the file is damaged or was cut off; download it again")
    length, start = (Fraction(each or 0, 1_000_000) for each in (container.duration, container.start_time))
    end = max((each.end for each in stored), default=start) - start
    if end < length * (1 - _CUT) - 1:
        message = f"it says that it lasts {float(length):.1f} s, but ends at {float(end):.1f} s"
        raise DataError(f"{message}: the file is damaged or was cut off; download it again")


def _counted(source: Path | bytes) -> Timeline:
    """The timeline of a file that does not say when its frames are shown: each as long as the others."""
    with opened(source) as (container, stream):
        count = sum(1 for _ in container.decode(stream))
        if not count:
            raise DataError("it has no frames that can be decoded")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Timeline(list(range(count)), count, 1 / Fraction(rate), [])
