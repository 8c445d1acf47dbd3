"""A wish to stop, granted between two steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import ClassVar

from mdpo_core.errors import MdpoError


class RunStopped(MdpoError):
    """The run was asked to stop, finished its step and saved a checkpoint."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class StopRequest:
    """Notes SIGTERM and SIGINT inside a ``with``; one more acts at once, as if nothing were in its way.

    Those that follow closely are the same wish, told by a terminal, a launcher and a scheduler.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)
    _ECHO = 2.0  # seconds
    # The wish that was last noted, and may not have been granted: the run may end of something else before.
    noted: ClassVar[int | None] = None

    def __init__(self) -> None:
        self.signum: int | None = None

    def __enter__(self) -> StopRequest:
        StopRequest.noted = None
        # Only the main thread may set handlers; elsewhere whoever started the thread decides when it stops.
        in_main = threading.current_thread() is threading.main_thread()
        self._previous = {number: signal.signal(number, self._note) for number in self._SIGNALS} if in_main else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = StopRequest.noted = signum
            self._since = time.monotonic()
        elif time.monotonic() - self._since > self._ECHO:
            self._restore()
            signal.raise_signal(signum)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
