"""The warnings of a run, kept in its directory: each once, however often the run is resumed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mdpo_core.storage.metrics_file import WarningsFile

_OURS = "mdpo"  # the packages of plugins begin with it, too; libraries warn of much that no user can change
_hearing: list[_Heard] = []  # at most one


@contextmanager
def hearing_warnings() -> Iterator[None]:
    """Hear what mdpo and its plugins log as a warning inside the ``with``, for `keep_warnings`.

    A ``with`` inside another one hears nothing twice. Whoever prints the warnings prints them as before.
    """
    if _hearing:
        yield
        return
    heard, made_before = _Heard(), logging.getLogRecordFactory()

    def make(*args: object, **named: object) -> logging.LogRecord:
        record = made_before(*args, **named)
        if record.levelno >= logging.WARNING and record.name.startswith(_OURS):
            heard.take(record)
        return record

    # A handler of the root logger would silence Python's handler of last resort, which prints warnings, and would not
    # hear loggers that do not propagate.
    logging.setLogRecordFactory(make)
    _hearing.append(heard)
    try:
        yield
    finally:
        _hearing.clear()
        logging.setLogRecordFactory(made_before)


def keep_warnings(file: WarningsFile) -> None:
    """Keep in ``file`` what was heard so far, and from now on each warning at once; nothing if nobody hears.

    Raises `CheckpointError` if the file is damaged or cannot be written.
    """
    for heard in _hearing:
        heard.keep_in(file)


class _Heard:
    """The warnings of this process. They wait until there is a file for them."""

    def __init__(self) -> None:
        self._file: WarningsFile | None = None
        self._texts: dict[str, None] = {}  # in their order, each once
        self._lock, self._process = threading.RLock(), os.getpid()

    def take(self, record: logging.LogRecord) -> None:
        """Keep the words of a record. What cannot be kept has been printed, and ends no run."""
        if os.getpid() != self._process:  # a worker that this process forked
            return
        with suppress(Exception), self._lock:
            text = record.getMessage()
            if text not in self._texts:
                self._texts[text] = None
                if self._file is not None:
                    self._file.append(text)

    def keep_in(self, file: WarningsFile) -> None:
        with self._lock:
            kept = file.records()
            new = [text for text in self._texts if text not in kept]
            if file.path.is_file() or new:
                file.write([*kept, *new])
            self._file, self._texts = file, dict.fromkeys([*kept, *new])
