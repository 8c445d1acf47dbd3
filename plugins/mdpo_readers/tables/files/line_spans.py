"""Where the lines of a file are. Whole blocks are searched at once: a file may have millions of lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy
from numpy.typing import NDArray

BOM = b"\xef\xbb\xbf"
_BLOCK = 1 << 18  # bytes; larger blocks leave the processor's cache, and take twice as long
_BREAK = ord("\n")
_IS_SPACE = numpy.isin(numpy.arange(256), list(b" \t\n\r\v\f"))


class LineSpans(NamedTuple):
    """The first and the (exclusive) last byte of lines that follow one another, and their numbers, from 1."""

    starts: NDArray[numpy.int64]
    ends: NDArray[numpy.int64]
    lines: NDArray[numpy.int64]


def line_spans(file: IO[bytes], size: int = _BLOCK) -> Iterator[LineSpans]:
    """The lines of a file that are not empty, without space at their ends and without the mark of UTF-8.

    ``size``: bytes that are read in one go.
    """
    offset, line = 0, 1
    for content in _whole_lines(file, size):
        spans = _in_block(content, has_mark=offset == 0 and content.startswith(BOM))
        is_filled = spans.ends > spans.starts
        starts, ends, numbers = (each[is_filled] for each in spans)
        yield LineSpans(starts + offset, ends + offset, numbers + line)
        offset, line = offset + len(content), line + len(spans.starts)


def _whole_lines(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The content of a file in blocks that end with a line."""
    rest: list[bytes] = []
    while block := file.read(size):
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*rest, block[:end]])
            rest = []
        rest.append(block[end:])
    last = b"".join(rest)
    if last:
        yield last


def _in_block(content: bytes, has_mark: bool) -> LineSpans:
    """All lines of a block; those that are empty end where they start, or before. Numbers count from 0."""
    characters = numpy.frombuffer(content, numpy.uint8)
    ends = numpy.flatnonzero(characters == _BREAK)
    starts = numpy.concatenate([[0], ends + 1])
    if starts[-1] == len(content):
        starts = starts[:-1]
    else:
        ends = numpy.append(ends, len(content))
    if has_mark:
        starts[0] = len(BOM)
    ends -= _has_space_behind(characters, starts, ends)  # a carriage return, in each line of a file
    for place in numpy.flatnonzero(_has_space_behind(characters, starts, ends)):
        ends[place] = starts[place] + len(content[starts[place] : ends[place]].rstrip())
    return LineSpans(starts, ends, numpy.arange(len(starts)))


def _has_space_behind(
    characters: NDArray[numpy.uint8], starts: NDArray[numpy.int64], ends: NDArray[numpy.int64]
) -> NDArray[numpy.bool_]:
    found: NDArray[numpy.bool_] = (ends > starts) & _IS_SPACE[characters[ends - 1]]
    return found
