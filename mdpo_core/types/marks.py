r"""Marks in texts: places of images and videos. A backslash right before a mark makes it plain text: ``\<image>``."""

from __future__ import annotations

import re

IMAGE_MARK = "<image>"  # marks the place of an image in a prompt
VIDEO_MARK = "<video>"  # marks the place of a video in a prompt as it is stored
# Marks by which other data sets say where an image stands. It matches those that are plain text, too.
OTHER_MARKS = re.compile(
    r"<(?:img|image_?here|image_?placeholder|image_?\d+|img_context|picture)>|<\|(?:image|img)(?:_\d+|_pad)?\|>|"
    r"\[(?:img|image)\]",
    re.IGNORECASE,
)
MARK = re.compile(rf"(?<!\\)(?:{IMAGE_MARK}|{VIDEO_MARK})")  # matches no mark that is plain text


def count_marks(text: str, mark: str = IMAGE_MARK) -> int:
    """The number of these marks in a text; those that are plain text do not count."""
    return sum(found == mark for found in MARK.findall(text))


def replace_marks(text: str, replacement: str, mark: str = IMAGE_MARK) -> str:
    """The text with ``replacement`` in the place of each of these marks; those that are plain text stay."""
    return MARK.sub(lambda found: replacement if found[0] == mark else found[0], text)


def escape_marks(text: str) -> str:
    r"""The text with every mark as plain text: ``\<image>`` for ``<image>``."""
    return MARK.sub(lambda found: f"\\{found[0]}", text)


def unescape_marks(text: str) -> str:
    r"""The text with every mark that is plain text as it is read: ``<image>`` for ``\<image>``."""
    return re.sub(rf"\\({IMAGE_MARK}|{VIDEO_MARK})", r"\1", text)
