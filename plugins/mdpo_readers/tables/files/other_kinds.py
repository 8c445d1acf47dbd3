"""Files of another kind, or in another encoding, than their names say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mdpo_core import DataError, Problem, other_kind

_START = 1024  # bytes that tell what a file is


def require_kind(path: Path, file: IO[bytes], kind: str, others: Sequence[tuple[bytes, str]] = ()) -> None:
    """Raise `DataError` if an open file begins like one of another kind; it is read from its start again.

    ``kind``: what it should be, for messages. ``others``: more kinds, as in `other_kind`.
    """
    head = file.read(_START)
    file.seek(0)
    found = other_kind(head, others)
    if found is not None:
        raise _is(found, path, kind)


def require_utf8(path: Path, file: IO[bytes], kind: str) -> None:
    """Raise `DataError` if an open file begins in UTF-16 or UTF-32; it is read from its start again."""
    encoding = json.detect_encoding(file.read(_START))
    file.seek(0)
    if not encoding.startswith("utf-8"):
        raise _is(f"{encoding[:6].upper()}; save it as UTF-8", path, kind)


def _is(found: str, path: Path, kind: str) -> DataError:
    return DataError([Problem(str(path), "", f"cannot be read as {kind}: it is {found}")])
