"""Files that are packed: .gz and .zst are unpacked while they are read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from mdpo_core import DataError, Problem

PACKED = (".gz", ".zst")


def kind_of(path: Path) -> str:
    """The ending that tells how rows are stored: ``.jsonl`` of ``pairs.jsonl.gz``."""
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked. Raises `DataError` if the packed file is damaged, inside the context, too."""
    try:
        with _opened(path) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError([Problem(str(path), "", f"cannot be unpacked: {error}")]) from error


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix != ".zst":
        return path.open("rb")
    try:
        import zstandard
    except ImportError as error:
        text = "is packed by zstd; pip install zstandard, or unpack the file"
        raise DataError([Problem(str(path), "", text)]) from error
    stream: IO[bytes] = zstandard.open(path, "rb")
    return stream
