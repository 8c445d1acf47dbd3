"""The trackers of a run: each works in a thread of its own, so that none that fails or hangs ends the run."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

from mdpo_core.errors import MdpoError, PluginError, blame_on, first_line, raised, shown
from mdpo_core.interfaces.evaluator import Sample
from mdpo_core.interfaces.tracker import Tracker, TrackerLog
from mdpo_core.processes.end_signals import EndSignals
from mdpo_core.storage.files import atomic_write
from mdpo_core.types.read_only import ReadOnly

PATIENCE = 30.0  # seconds for which a finished run waits for a tracker that completes no call
LONGEST_WAIT = 300.0  # seconds for which it waits for a tracker that does
_MOST_WAITING = 10_000  # calls
_LONGEST_REASON = 240  # letters
_FAILED = Path("trackers") / "failed.json"
_REST = "metrics.jsonl has every step"

_Call: TypeAlias = Callable[[TrackerLog], None]
_T = TypeVar("_T")


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """Raise `PluginError` or `RecipeError` if a tracker cannot work: its library is missing, for example."""
    for tracker in trackers:
        with blame_on(_name(tracker)):
            tracker.check()


@dataclass(frozen=True)
class Failure:
    """What was said of a tracker that failed, and whether it had started, so that it has a part of the run."""

    said: str
    started: bool


def failures_in(folder: Path) -> dict[int, Failure]:
    """The trackers that failed in the run of a run directory when it last trained, by their positions in the recipe."""
    file = folder / _FAILED
    listed = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return {each["position"]: Failure(each["said"], each["started"]) for each in listed}


class Tracking:
    """Hands what happens in a run to its trackers, and waits for none of them."""

    def __init__(self, trackers: Sequence[Tracker] = (), folder: Path = Path()) -> None:
        self._file = folder / _FAILED
        if trackers:
            self._file.unlink(missing_ok=True)  # of an earlier process of the run
        self._threads = [_TrackerThread(tracker, folder) for tracker in trackers]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of a step."""
        told = ReadOnly(dict(metrics))
        self._tell(lambda log: log.log(step, told))

    def log_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """Record answers of the policy."""
        told = tuple(samples)
        self._tell(lambda log: log.log_samples(step, told) if hasattr(log, "log_samples") else None)

    def _tell(self, call: _Call) -> None:
        for thread in self._threads:
            thread.put(call)

    def close(self) -> None:
        """Let all trackers finish, side by side; give up one that hangs."""
        for thread in self._threads:
            thread.put(None)
        for thread in self._threads:
            thread.wait()
        failures = [thread.failure for thread in self._threads]
        found = [{"position": at, **asdict(each)} for at, each in enumerate(failures) if each is not None]
        if found:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._file, json.dumps(found, indent=1).encode())


@contextmanager
def tracking(trackers: Sequence[Tracker], folder: Path) -> Iterator[Tracking]:
    """Start the trackers of a run; close them at the end, or when the run stops."""
    all_of_them = Tracking(trackers, folder)
    try:
        yield all_of_them
    finally:
        all_of_them.close()


class _TrackerThread:
    """A tracker at work. It takes calls from a queue; its first failure is told, and none reaches the run."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self._name = _name(tracker)
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._untold = threading.Lock()  # held once a failure is told
        self._is_down = self._is_started = False
        self.failure: Failure | None = None  # the first one
        self._last_progress = time.monotonic()
        # A daemon: a tracker that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, args=(tracker, folder), name=self._name, daemon=True)
        self._thread.start()

    def put(self, call: _Call | None) -> None:
        """Queue a call; None closes the log."""
        if call is not None and self._calls.qsize() >= _MOST_WAITING:
            self._tell(f"{self._name} does not keep up: {_MOST_WAITING} calls wait, and others are left out")
        elif not self._is_down:
            self._calls.put(call)

    def wait(self) -> None:
        """Wait until the log is closed, but not for a tracker that hangs."""
        if self._is_down:
            return
        began = self._last_progress = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.05)
            now = time.monotonic()
            if now - self._last_progress > PATIENCE or now - began > LONGEST_WAIT:
                if EndSignals.installed is not None:
                    EndSignals.installed.hangs = True
                self._tell(f"{self._name} hangs, and the run does not wait for it any longer")
                return

    def _work(self, tracker: Tracker, folder: Path) -> None:
        log = self._tried(lambda: _started(tracker, folder))
        if log is None:
            self._is_down = True
            return
        self._is_started = True
        for call in iter(self._calls.get, None):
            self._tried(partial(call, log))
            self._last_progress = time.monotonic()
        self._tried(log.close)

    def _tried(self, act: Callable[[], _T]) -> _T | None:
        try:
            return act()
        except MdpoError as error:
            self._tell(_short(first_line(error)))
        except BaseException as error:  # also sys.exit(): nothing that a tracker does may end the run
            self._tell(_short(f"{self._name} {raised(error)}"))
        return None

    def _tell(self, what: str) -> None:
        """Say that the tracker failed, once."""
        if self._untold.acquire(blocking=False):
            self.failure = Failure(what, self._is_started)
            logging.getLogger(__name__).warning("%s; the run goes on, and %s", what, _REST)


def _started(tracker: Tracker, folder: Path) -> TrackerLog:
    log = tracker.start(folder)
    if not all(callable(getattr(log, method, None)) for method in ("log", "close")):
        returned = f"it returned {shown(log)}"
        raise PluginError(f"{_name(tracker)}: start() must return a TrackerLog, with log() and close(); {returned}")
    return log


def _short(text: str) -> str:
    """A text of libraries in one line: they put whole answers of servers into it."""
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def _name(tracker: Tracker) -> str:
    return f"the tracker '{tracker.component_name()}'"
