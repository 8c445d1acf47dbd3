"""Worker processes that compute ahead, in order: batches for the training loop, chunks of rows for the data check."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

import torch

from mdpo_core.errors import MdpoError, PluginError, raised
from mdpo_core.processes.file_modules import FileModule, execute_all, file_modules
from mdpo_core.processes.parcels import Parcel, pack, unpack
from mdpo_core.processes.portable_error import PortableError

Task = TypeVar("Task")
Result = TypeVar("Result")

_TASKS_PER_WORKER = 2  # one in progress, one waiting
_GRACE = 1.0  # seconds that a worker has to finish its task after the main process has closed or died
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DIED = (
    "a worker process (train.workers) died, most often because it was killed for lack of memory: see the kernel's log, "
    "and use fewer workers. If /dev/shm was full, make it larger (docker: --shm-size)"
)
_NEVER_BEGAN = (
    "the worker processes (train.workers) died before their first result. Their output is above; if there is none, "
    "they were killed, most often for lack of memory. Each of them imports the script that started the run, so that "
    'script must call run() under `if __name__ == "__main__":`'
)


@contextmanager
def computed_ahead(
    function: Callable[[Task], Result], tasks: Iterable[Task], num_workers: int
) -> Iterator[Iterator[Result]]:
    """``function(task)`` for each task, in order, computed ahead by worker processes: see `Workers.ahead`."""
    with Workers(num_workers) as workers, workers.ahead(function, tasks) as results:
        yield results


class Workers:
    """Worker processes for one function after another: starting them takes seconds.

    With 0 workers, each result is computed in this process when it is read. Workers are spawned, not forked, because a
    fork copies locks whose threads it does not copy. They start with the first task and end with the context.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._num_functions = 0
        self._open = ExitStack()
        self._pool: _Pool | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @contextmanager
    def ahead(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Iterator[Result]]:
        """``function(task)`` for each task, in order, computed ahead. One call at a time.

        An error of ``function`` is raised when its result is read. Raises `PluginError` if ``function`` cannot be
        pickled, `MdpoError` if a worker dies.
        """
        if self._num_workers == 0:
            yield map(function, tasks)
            return
        content = _pickled(function)
        if self._pool is None:
            self._pool = self._open.enter_context(_pool_of(self._num_workers, content))
            file = None
        else:
            file = self._written(content)
        results = _Results(self._pool, file, iter(tasks), self._num_workers * _TASKS_PER_WORKER)
        try:
            yield results
        finally:
            results.cancel()
            if file is not None:
                file.unlink()

    def _written(self, content: bytes) -> Path:
        """A file with the pickled function: all workers read it, and a task must not carry it again."""
        if self._folder is None:
            self._folder = Path(self._open.enter_context(TemporaryDirectory(prefix="mdpo-")))
        self._num_functions += 1
        file = self._folder / f"{self._num_functions}"
        file.write_bytes(content)
        return file


@dataclass
class _Pool:
    """Processes. ``num_given``: the results that were read."""

    executor: ProcessPoolExecutor
    num_given: int = 0


@contextmanager
def _pool_of(num_workers: int, content: bytes) -> Iterator[_Pool]:
    context = get_context("spawn")
    # Nothing is written to this pipe. It ends when this process closes it or dies.
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(num_workers, context, _begin, (content, file_modules(), theirs))
    try:
        yield _Pool(executor)
    finally:
        ours.close()
        executor.shutdown(cancel_futures=True)
        theirs.close()


def _pickled(function: Callable[[Task], Result]) -> bytes:
    try:
        return pickle.dumps(function)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise PluginError(
            f"the data, a corruption or the encoder cannot be sent to worker processes: {error}; fix it, or do "
            "without workers: train.workers: 0"
        ) from error


class _Results(Iterator[Any]):
    """The results of all tasks, in order. Keeps ``num_ahead`` tasks submitted."""

    def __init__(self, pool: _Pool, file: Path | None, tasks: Iterator[Any], num_ahead: int) -> None:
        """``file``: with the function; None: that with which the pool began."""
        self._pool, self._file = pool, file
        self._tasks = tasks
        self._submitted: deque[Future[Any]] = deque()
        with self._dead_workers_reported():
            self._submit(num_ahead)

    def __next__(self) -> Any:
        if not self._submitted:
            raise StopIteration
        with self._dead_workers_reported():
            outcome = self._submitted.popleft().result()
            self._submit(1)
        self._pool.num_given += 1
        if isinstance(outcome, _Failure):
            raise outcome.to_raise()
        return unpack(outcome)

    def cancel(self) -> None:
        """Leave the results that nobody has read."""
        for each in self._submitted:
            each.cancel()

    def _submit(self, num_tasks: int) -> None:
        # A process that starts here inherits the blocked signals, until it ignores them. A terminal sends Ctrl-C to
        # all processes, but only the main one has to react.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for task in islice(self._tasks, num_tasks):
                self._submitted.append(self._pool.executor.submit(_compute, self._file, task))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextmanager
    def _dead_workers_reported(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            raise MdpoError(_DIED if self._pool.num_given else _NEVER_BEGAN) from error


# The code below runs in a worker.


@dataclass(frozen=True)
class _Failure:
    """An error, its notes, and the traceback of the place where it was raised."""

    error: PortableError
    where: str

    def to_raise(self) -> Exception:
        error = self.error.to_raise()
        # The message of an `MdpoError` is enough.
        if not isinstance(error, MdpoError):
            error.add_note(f"in a worker process:\n{self.where}")
        return error


_content = b""
_files: tuple[FileModule, ...] = ()
_closing = threading.Event()


def _begin(content: bytes, files: tuple[FileModule, ...], lifeline: Connection) -> None:
    global _content, _files
    _content, _files = content, files
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this process after the main process has closed its end of the pipe or died."""
    lifeline.poll(None)
    _closing.set()
    time.sleep(_GRACE)
    os._exit(1)


@lru_cache(maxsize=1)
def _function(file: Path | None) -> Callable[[Any], Any]:
    _run_plugin_files()
    try:
        function: Callable[[Any], Any] = pickle.loads(_content if file is None else file.read_bytes())
    except (AttributeError, ImportError) as error:
        raise PluginError(
            f"worker processes (train.workers) cannot import what they need: {error}. They import modules and the top "
            "of the script that started the run; put the class into a module and import it, or set train.workers: 0"
        ) from error
    return function


def _run_plugin_files() -> None:
    try:
        execute_all(_files)
    except BaseException as error:  # the main process has run them, but their code may look at where it runs
        raise PluginError(
            f"a plugin file does not load in a worker process (train.workers): it {raised(error)}"
        ) from error


def _compute(file: Path | None, task: object) -> Parcel | _Failure | None:
    if _closing.is_set():
        return None
    try:
        return pack(_function(file)(task))
    except Exception as error:
        return _Failure(PortableError.of(error), traceback.format_exc())
