"""Signals that end a command: one line says what is kept and how to go on, whatever the command is doing.

The process ends without unwinding: everything on the disk is whole or absent, as for a process that is killed. Inside
a `StopRequest` a first signal is a request instead.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from types import FrameType
from typing import ClassVar

# The environment variable with the path of a file that the launcher writes once a process has failed, which it reports.
FAILED = "MDPO_FAILED"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Signals within these seconds count as one: a terminal, a launcher and a scheduler may each send one.
ECHO = 2.0
_LAST = 5.0  # seconds in which libraries may end their work, once one of them has hung
_PATIENCE = 1.0  # seconds in which the main thread handles a signal, unless it is inside of a library's code
_PROGRAMS = ("mdpo", "mdpo-run")
_MODULE = "mdpo_core.cli"
# Python's options with a value, which may be the next word; the first two end its options.
_WITH_VALUE = re.compile("-[^-cmWX]*([cmWX])(.*)", re.DOTALL)
_LONG_WITH_VALUE = "--check-hash-based-pycs"
_STDOUT, _STDERR = 1, 2
_SHOW_CURSOR = b"\x1b[?25h\n"  # a progress bar hides it


def heeded_signals() -> list[signal.Signals]:
    """The signals that end a command: without those that are ignored, as ``nohup`` and a shell's ``&`` ask."""
    return [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def is_command() -> bool:
    """Whether this process was started as ``mdpo``, ``mdpo-run`` or ``python -m mdpo_core.cli``."""
    option, program = _program_of(iter(sys.orig_argv[1:]))
    return program == _MODULE if option == "m" else not option and PurePath(program).name in _PROGRAMS


def _program_of(words: Iterator[str]) -> tuple[str, str]:
    """What Python's command line runs: ``m`` and a module, ``c`` and code, or nothing and the path of a script."""
    for word in words:
        found = _WITH_VALUE.fullmatch(word)
        if found is not None:
            value = found[2] or next(words, "")
            if found[1] in "cm":
                return found[1], value
        elif word == _LONG_WITH_VALUE:
            next(words, "")
        elif not word.startswith("-") or word == "-":  # "-" is a script on standard input
            return "", word
    return "", ""


class EndSignals:
    """What the signals of this process do. There is one for each process that is a command.

    ``farewell()`` says what is kept and how to go on; it must not import anything, as a signal may interrupt an import.
    ``temporary``: folders that are removed when a signal ends the process. ``hangs``: whether a library's thread does;
    the process then ends soon after its command.
    """

    installed: ClassVar[EndSignals | None] = None

    def __init__(self) -> None:
        self.farewell: Callable[[], str] = lambda: "continue with the same command"
        self.temporary: list[str] = []
        self.hangs = False
        self._ends = threading.Lock()
        self._said = False
        self._code: int | None = None
        self._since = 0.0
        self._handled = threading.Event()
        self._requested: float | None = None

    @classmethod
    def install(cls) -> EndSignals:
        """Handle the signals until the process ends; a second call gives what the first one installed."""
        if cls.installed is None:
            cls.installed = cls()
            cls.installed._listen()
        return cls.installed

    def finish(self, code: int | None = None) -> None:
        """From now on a signal ends the process at once, without a word: the command has told its user why it ends.

        ``code``: the command's exit code, which the process keeps; by default that of the signal. What runs after the
        command, such as a library's threads, may hang.
        """
        self._code = code
        self._said = True
        for number in heeded_signals():
            signal.signal(number, self.end)
        if self.hangs and code is not None:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            ending = threading.Timer(_LAST, os._exit, (code,))
            ending.daemon = True
            ending.start()

    def await_request(self) -> None:
        """From now on a first signal is a request."""
        self._requested = None

    def note_request(self) -> None:
        """The main thread has handled a signal as a request."""
        self._requested = self._requested or time.monotonic()
        self._handled.set()

    def end(self, signum: int, frame: FrameType | None = None) -> None:
        """Say what is kept, and end this process; at once if that has been said."""
        self._handled.set()
        if self._said:
            os._exit(128 + signum if self._code is None else self._code)
        if not self._ends.acquire(blocking=False):
            # The line of the first signal is not yet written, or nobody reads it.
            if time.monotonic() - self._since > ECHO:
                os._exit(128 + signum)
            return
        self._since = time.monotonic()
        if speaks():
            write_below(f"stopped by {signal.Signals(signum).name}: {self._words()}\n")
        self._said = True
        _remove_semaphores()
        for folder in self.temporary:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + signum)

    def _words(self) -> str:
        try:
            return self.farewell()
        except Exception as error:  # the process must end, whatever is wrong with what it has to say
            return f"what is kept is not known ({type(error).__name__}: {error})"

    def _listen(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        for number in heeded_signals():
            signal.signal(number, self.end)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        os.register_at_fork(after_in_child=_forget)

    def _watch(self, reading: int) -> None:
        """End the process if the main thread cannot: Python calls handlers only between two of its own instructions."""
        while True:
            signum, came = os.read(reading, 1)[0], time.monotonic()
            if signum in SIGNALS and not self._handled.wait(_PATIENCE):
                if self._must_end(signum, came):
                    self.end(signum)
                elif answer := getattr(signal.getsignal(signum), "answer", None):
                    answer(signum)
            self._handled.clear()

    def _must_end(self, signum: int, came: float) -> bool:
        """Whether a signal ends the process that its main thread has not handled yet."""
        handler = signal.getsignal(signum)
        if handler == self.end:
            return True
        if not getattr(handler, "requests_stop", False):
            return False  # the launcher or a library handles it
        self._requested = self._requested or came
        return came - self._requested > ECHO


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder, removed at the end of the context or when a signal ends the command. ``prefix``: of its name."""
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        if EndSignals.installed is not None:
            EndSignals.installed.temporary.append(name)
        yield Path(name)


def _forget() -> None:
    """Give a forked child the usual signals: it is not the command, and its parent must not hear of its signals."""
    signal.set_wakeup_fd(-1)
    for number in heeded_signals():
        signal.signal(number, signal.SIG_DFL)
    EndSignals.installed = None


def speaks() -> bool:
    """Whether this process tells of signals: the main one does, unless the launcher reports that another has failed."""
    failed = os.environ.get(FAILED)
    return os.environ.get("RANK", "0") == "0" and not (failed and Path(failed).exists())


def write_below(line: str) -> None:
    """Write a line on standard error, below a progress bar whose process ended without clearing it."""
    try:
        if os.isatty(_STDOUT):
            os.write(_STDOUT, _SHOW_CURSOR)
        os.write(_STDERR, line.encode(errors="replace"))
    except OSError:
        return  # a closed terminal: nobody can read it


def _remove_semaphores() -> None:
    """Remove what worker processes share; multiprocessing would warn of it after this process has ended."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._run_finalizers(0)
