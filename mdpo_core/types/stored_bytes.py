"""What is stored of a row: digests of its pictures' bytes, and the files that were read for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image

# Size in bytes, and the times of the last change of its content and of its inode, in ns. (-1, -1, -1): there is none.
FileState: TypeAlias = tuple[int, int, int]
Files: TypeAlias = dict[str, FileState]

_STORED = "mdpo_stored"
_noted: ContextVar[Files | None] = ContextVar("noted files", default=None)


def remember_stored(image: Image, content: bytes, background: str) -> None:
    """Let `stored_digest` know the bytes that an image was decoded from, until somebody changes it."""
    # With this flag, Pillow gives an image new pixels when somebody paints on it, and a copy does not have the digest.
    image.readonly = 1
    of_content = hashlib.sha256(content).digest()
    setattr(image, _STORED, (image.im, hashlib.sha256(background.encode() + of_content).digest(), of_content))


def stored_digest(image: Image) -> bytes | None:
    """The digest of what `read_image` made this image of, its background too; None for an image that was changed."""
    pixels, digest, _ = getattr(image, _STORED, (None, None, None))
    return digest if pixels is image.im else None


def content_digest(image: Image) -> bytes | None:
    """The digest of the stored bytes alone: equal for one picture before two backgrounds."""
    pixels, _, digest = getattr(image, _STORED, (None, None, None))
    return digest if pixels is image.im else None


def note_file(path: Path) -> None:
    """Say that a row depends on a file or folder: if that changes, or appears, the row has to be checked again.

    `read_image` calls this. A reader calls it for files that it reads in another way when a row is indexed, and for
    files that are missing.
    """
    noted = _noted.get()
    if noted is not None:
        name = os.path.abspath(path)  # noqa: PTH100  # a link is followed when its state is asked for
        noted.setdefault(name, state_of(name))


def state_of(path: str) -> FileState:
    """The state of a file or folder as it is now."""
    try:
        state = os.stat(path)  # noqa: PTH116  # a million of them: a Path for each would take longer
    except (OSError, ValueError):
        return -1, -1, -1
    # Copying and unpacking may set the modification time back, but nothing sets back the change time.
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


@contextmanager
def noted_files() -> Iterator[Files]:
    """The files that are noted in the context, in order, and how they were when they were first noted."""
    found: Files = {}
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)
