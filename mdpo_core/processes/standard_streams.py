"""Standard input, output and errors of a command that were closed, or that stop taking what is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any


def open_closed_streams() -> None:
    """Open what is closed of the three as ``/dev/null``: its number would go to the next file that is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


@contextmanager
def output_may_fail() -> Iterator[None]:
    """Go on inside the ``with`` if nobody takes the output any more: a reader that has ended, a full disk."""
    out, err = _ForgivingStream(sys.stdout), _ForgivingStream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()


class _ForgivingStream:
    """A stream that drops what is written to it after its first failure, and says so once. ``buffer`` is one, too."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> _ForgivingStream:
        """The stream of bytes below."""
        return _ForgivingStream(self._stream.buffer)

    def write(self, text: Any) -> int:
        """Write text, or bytes, and return its length."""
        with self._dropped():
            return int(self._stream.write(text))
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write each of some texts."""
        for line in lines:
            self.write(line)

    def reconfigure(self, **options: Any) -> None:
        """Change the encoding and the like, after a flush."""
        self.flush()
        self._stream.reconfigure(**options)

    def flush(self) -> None:
        """Write what is kept in memory."""
        with self._dropped():
            self._stream.flush()

    @contextmanager
    def _dropped(self) -> Iterator[None]:
        """Drop what cannot be written inside the ``with``."""
        try:
            yield
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        number = self._stream.fileno()
        discard(number)
        if number == 1:
            print(f"standard output takes nothing any more ({error}); the run goes on", file=sys.stderr)  # noqa: T201


def discard(number: int) -> None:
    """Let everything that is written to a standard stream from now on go to ``/dev/null``."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
