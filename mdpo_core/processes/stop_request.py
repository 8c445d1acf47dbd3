"""A request to stop, which a run follows between two steps."""

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
    """Notes SIGTERM or SIGINT inside a ``with`` as a request to stop. A second signal has its usual effect at once.

    Signals within two seconds count as one request, because a terminal, a launcher and a scheduler may each send one.
    ``signum``: the signal's number, None before there was one.
    """

    _SIGNALS = (signal.SIGTERM, signal.SIGINT)
    _ECHO = 2.0  # seconds
    # The last request in this process. The run may have ended for another reason before it stopped.
    noted: ClassVar[int | None] = None

    def __init__(self) -> None:
        self.signum: int | None = None

    def __enter__(self) -> StopRequest:
        StopRequest.noted = None
        # Only the main thread may set handlers. In another thread, the code that started it decides when it stops.
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
