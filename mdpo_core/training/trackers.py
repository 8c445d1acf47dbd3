"""The trackers of a run. An error names the tracker that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mdpo_core.errors import PluginError, blame_on
from mdpo_core.interfaces.tracker import Tracker, TrackerLog
from mdpo_core.types.read_only import ReadOnly


@contextmanager
def logs_of(trackers: Sequence[Tracker], folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """A function that records a step's metrics with all trackers, which are closed at the end."""
    with ExitStack() as stack:
        logs = [(_name(tracker), _started(tracker, folder, stack)) for tracker in trackers]

        def record(step: int, metrics: Mapping[str, float]) -> None:
            for name, log in logs:
                with blame_on(name):
                    log.log(step, ReadOnly(metrics))

        yield record


def _started(tracker: Tracker, folder: Path, stack: ExitStack) -> TrackerLog:
    name = _name(tracker)
    with blame_on(name):
        log = tracker.start(folder)
    if not all(callable(getattr(log, method, None)) for method in ("log", "close")):
        raise PluginError(f"{name}: start() must return a TrackerLog, with log() and close(); it returned {log!r}")
    stack.callback(_close, name, log)
    return log


def _close(name: str, log: TrackerLog) -> None:
    with blame_on(name):
        log.close()


def _name(tracker: Tracker) -> str:
    return f"the tracker '{tracker.component_name()}'"
