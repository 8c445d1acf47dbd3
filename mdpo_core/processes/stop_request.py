"""A request to stop, which a run follows between two steps."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar

from mdpo_core.errors import MdpoError
from mdpo_core.processes.end_signals import ECHO, EndSignals, heeded_signals, speaks, write_below
from mdpo_core.processes.world import World


class RunStopped(MdpoError):
    """The run was asked to stop, finished its step and saved a checkpoint."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.signum = signum


class StopRequest:
    """Notes SIGTERM, SIGINT or SIGHUP inside a ``with`` as a request to stop. A second one acts at once.

    The main process answers the first one with a line, which says what it finishes: ``finishes``. Signals within two
    seconds count as one request, because a terminal, a launcher and a scheduler may each send one.
    ``signum``: the signal's number, None before there was one.
    """

    # The last request in this process. The run may have ended for another reason before it stopped.
    noted: ClassVar[int | None] = None
    # Writes the answer where a display has a part of the terminal; None: on standard error.
    display: ClassVar[Callable[[str], object] | None] = None
    _active: ClassVar[StopRequest | None] = None

    def __init__(self, finishes: str = "this step, then saving") -> None:
        self.signum: int | None = None
        self._finishes = finishes
        self._unanswered = threading.Lock()  # held once the answer is written

    def __enter__(self) -> StopRequest:
        StopRequest.noted = None
        StopRequest._active = self
        if EndSignals.installed is not None:
            EndSignals.installed.await_request()
        # Only the main thread may set handlers. In another thread, the code that started it decides when it stops.
        in_main = threading.current_thread() is threading.main_thread()
        handler = _Handler(self)
        self._previous = {number: signal.signal(number, handler) for number in heeded_signals()} if in_main else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        StopRequest._active = None
        self._restore()

    def note(self, signum: int) -> None:
        """Note a signal, or give it its usual effect if it is a second request."""
        if EndSignals.installed is not None:
            EndSignals.installed.note_request()
        if self.signum is None:
            self.signum = StopRequest.noted = signum
            self._since = time.monotonic()
            self.answer(signum)
        elif time.monotonic() - self._since > ECHO:
            self._restore()
            signal.raise_signal(signum)

    def answer(self, signum: int) -> None:
        """Say, once and in the main process, what is finished before the stop, and what a second signal does."""
        if self._unanswered.acquire(blocking=False) and speaks():
            again = "Ctrl-C again" if signum == signal.SIGINT else "a second signal"
            line = f"finishing {self._finishes}; {again} ends at once"
            if StopRequest.display is None:
                write_below(f"{line}\n")
            else:
                StopRequest.display(line)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class _Handler:
    """Python's handler of a signal that is a request; `EndSignals` recognizes it by ``requests_stop``."""

    requests_stop = True

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self.answer = request.answer

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._request.note(signum)


def asked_to_stop(world: World) -> int:
    """The signal that asked this run to stop, in any of its processes; 0 without one. All processes must call it."""
    request = StopRequest._active
    return world.max_over_processes(0 if request is None else request.signum or 0)
