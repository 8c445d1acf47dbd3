"""Files that are packed: .gz and .zst are unpacked into the cache of `datasets`."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from hashlib import sha256
from pathlib import Path
from typing import IO

from mdpo_core import DataError, Problem
from mdpo_readers.tables.datasets_library import cache_problem

PACKED = (".gz", ".zst")
_CHUNK = 2**20  # bytes
_FOLDER = "mdpo_unpacked"


def kind_of(path: Path) -> str:
    """The ending that tells how rows are stored, in lower case: ``.jsonl`` of ``pairs.jsonl.gz``."""
    return (path.with_suffix("") if is_packed(path) else path).suffix.lower()


def is_packed(path: Path) -> bool:
    """Whether a file is packed, by its ending."""
    return path.suffix.lower() in PACKED


def plain_file(path: Path) -> Path:
    """The file itself, or, of a packed file, an unpacked copy in the cache of `datasets`.

    Raises `DataError` if the packed file is damaged, or if the cache cannot be written.
    """
    if not is_packed(path):
        return path
    # Copying and unpacking may set the modification time back, but never the change time.
    state = path.stat()
    version = f"{path.resolve()}|{state.st_size}|{state.st_ctime_ns}"
    name = sha256(version.encode(errors="surrogateescape")).hexdigest()
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE) / _FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_file():
            _write_unpacked(path, folder / name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            [Problem(str(path), "", f"cannot be unpacked: {error}; download it, or pack it, again")]
        ) from error
    except OSError as error:
        raise DataError([cache_problem(error) or Problem(str(path), "", f"cannot be read: {error}")]) from error
    return folder / name


def _write_unpacked(path: Path, target: Path) -> None:
    """Write the unpacked file, whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as copy:
        try:
            if path.suffix.lower() == ".zst":
                _unpack_zstd(path, copy)
            else:
                with gzip.open(path, "rb") as packed:
                    shutil.copyfileobj(packed, copy, _CHUNK)
            copy.close()
            Path(copy.name).replace(target)
        except BaseException:
            Path(copy.name).unlink(missing_ok=True)
            raise


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
            raise DataError(
                [Problem(str(path), "", f"cannot be unpacked: {error}; download it, or pack it, again")]
            ) from error
    if frame is not None:
        raise EOFError("the file ends early")
