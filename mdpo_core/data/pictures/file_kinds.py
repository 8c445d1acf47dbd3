"""Files of another kind than their name says: what they are, and what to do about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

_START = 1024  # bytes that tell what a file is
# Patterns of how a file begins, each with what it is and what to do.
Kinds: TypeAlias = "Sequence[tuple[bytes, str]]"

_KINDS: Kinds = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (rb"\s*(<.*)?<(!doctype\s+html|html|head|body)\b", "a web page; download the file itself"),
    (rb"\x1f\x8b", "an archive (gzip); unpack it"),
    (rb"PK\x03\x04", "an archive (zip); unpack it"),
    (rb"\x28\xb5\x2f\xfd", "an archive (zstd); unpack it"),
    (rb"\xfd7zXZ", "an archive (xz); unpack it"),
    (rb"BZh", "an archive (bzip2); unpack it"),
    (rb"7z\xbc\xaf", "an archive (7z); unpack it"),
    (rb"Rar!", "an archive (rar); unpack it"),
    (rb"\0{4}", "a file that begins with zeros, so it was not written whole; download it again"),
)


def other_kind(content: bytes, more: Kinds = ()) -> str | None:
    """What a file is that begins with ``content``, and what to do about it; None if that shows no known kind.

    Looks at the first 1024 bytes. ``more``: kinds that only the caller knows; they come after the common ones.
    """
    start = content[:_START].removeprefix(b"\xef\xbb\xbf")
    found = (words for pattern, words in (*_KINDS, *more) if re.match(pattern, start, re.IGNORECASE | re.DOTALL))
    return next(found, None)
