"""The file of a judge's replies: a line for each, written as soon as it is there, so that none is paid for twice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from mdpo_core import ChatReply, ChatRequest, DataError, Problem, UnusableReply, reply_in

_BEGINNING = '{"key": "'


class ReplyCache:
    """The replies in a file, and their file, which grows while the judge is asked. A context manager.

    A line is cut where the writer was killed; it counts as not there. Several threads may use it.
    """

    def __init__(self, path: Path) -> None:
        """Read the file if it exists. Raises `DataError` if it holds anything else than replies."""
        self.path = path
        self._lock = Lock()
        self._replies: dict[str, list[ChatReply]] = {}
        self._file = -1
        for key, reply in _stored(path):
            self._replies.setdefault(key, []).append(reply)

    def __enter__(self) -> ReplyCache:
        """Open the file for more replies. Raises `DataError` if it cannot be written."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")  # behind a line that was cut
        except OSError as error:
            raise DataError(f"the judge's replies cannot be kept in '{self.path}': {error.strerror}") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._file)

    def replies_to(self, request: ChatRequest) -> list[ChatReply]:
        """All replies to a request that are there, the oldest first."""
        return self._replies.get(request.key, [])

    def add(self, request: ChatRequest, completion: Any, reply: ChatReply) -> None:
        """Write a reply to the disk, with all that the server sent."""
        line = json.dumps({"key": request.key, "asked": request.model, "completion": completion}) + "\n"
        with self._lock:
            try:
                os.write(self._file, line.encode())
                os.fsync(self._file)
            except OSError as error:
                raise DataError(f"the judge's reply cannot be kept in '{self.path}': {error.strerror}") from error
            self._replies.setdefault(request.key, []).append(reply)


def _stored(path: Path) -> Iterator[tuple[str, ChatReply]]:
    """The keys and replies in a file, but for lines that were cut."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        text = line.decode("ascii", "replace")
        try:
            stored = json.loads(text)
            yield stored["key"], reply_in(stored["completion"])
        except (ValueError, LookupError, TypeError, UnusableReply) as error:
            if not (text.startswith(_BEGINNING) or _BEGINNING.startswith(text)):
                message = "is not a reply of a judge that mdpo kept; name another file with --judge-cache"
                raise DataError([Problem(f"{path.name}:{number}", "", message)]) from error
