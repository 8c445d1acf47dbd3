"""Files that are packed: .gz and .zst are unpacked while they are read."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from mdpo_core import DataError, Problem

PACKED = (".gz", ".zst")
_CHUNK = 2**20  # bytes


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


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".zst":
        # The library cannot go back in a file, so there is an unpacked copy.
        with tempfile.TemporaryFile() as copy:
            _unpack_zstd(path, copy)
            copy.seek(0)
            yield copy
        return
    with cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb") as file:
        yield file


def _unpack_zstd(path: Path, copy: IO[bytes]) -> None:
    """Write the unpacked file to ``copy``. Raises `EOFError` if it ends early, which the library would not notice."""
    try:
        import zstandard
    except ImportError as error:
        text = "is packed by zstd; pip install zstandard, or unpack the file"
        raise DataError([Problem(str(path), "", text)]) from error
    frame = None
    with path.open("rb") as packed:
        try:
            while rest := packed.read(_CHUNK):
                while rest:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    copy.write(frame.decompress(rest))
                    rest, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        except zstandard.ZstdError as error:
            raise DataError([Problem(str(path), "", f"cannot be unpacked: {error}")]) from error
    if frame is not None:
        raise EOFError("the file ends early")
