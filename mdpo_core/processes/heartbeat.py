"""Each process watches another one: without this, a collective waits forever for a process that died or is cut off.

Every process writes a count into the store every `BEAT` seconds and reads the count of the next process, by rank:

    state       entered when                                            what this process does
    HEARD       the count has changed, or the next process is done      continues
    SILENT      the count has been the same for `SILENCE` seconds       ends the run for all, says why, exits
    STORE_LOST  the store fails, or does not answer for `SILENCE` s     one process of each node says why, exits;
                                                                        the others do as in ENDED
    ENDED       another process has ended the run                       waits `GRACE` seconds, exits without a message

`transition` is this table. Each thread of `_Watch` calls it and acts on the state.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from mdpo_core.errors import first_line
from mdpo_core.processes.world import World
from mdpo_core.remedies import option

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, but missing in torch's list of names

BEAT = 2.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without a sign of life after which a process counts as lost
GRACE = 10.0  # seconds that a process has to end by itself after another process has ended the run
# The environment variable that tells the processes of one machine which process started them.
LAUNCHER = "MDPO_LAUNCHER"
DONE = "done"  # what a process writes instead of a count when it has finished
_ENDED = "mdpo/ended"


class State(Enum):
    """What a process knows about the others; see the table above."""

    HEARD = auto()
    SILENT = auto()
    STORE_LOST = auto()
    ENDED = auto()


@dataclass(frozen=True)
class Answer:
    """The store's answer to one beat: the count of the next process, or `DONE`, and whether the run was ended."""

    count: str
    run_ended: bool = False


@dataclass(frozen=True)
class StoreError:
    """The store did not answer a beat but failed."""

    reason: str


@dataclass(frozen=True)
class Watched:
    """A state and what it follows from. Times are in seconds of `time.monotonic`.

    ``count``: what the next process wrote last. ``heard_at``: when that changed. ``answered_at``: when the store last
    answered. ``fault``: what is wrong with the store, in `State.STORE_LOST`.
    """

    state: State
    count: str
    heard_at: float
    answered_at: float
    fault: str = ""

    @classmethod
    def begin(cls, now: float) -> Watched:
        """The state before the first beat."""
        return cls(State.HEARD, "", now, now)


def transition(before: Watched, event: Answer | StoreError | None, now: float) -> Watched:
    """The state after ``event`` at the time ``now``; None: time has passed without an answer."""
    if isinstance(event, StoreError):
        return replace(before, state=State.STORE_LOST, fault=f"cannot be reached ({event.reason})")
    if event is None:
        if now - before.answered_at <= SILENCE:
            return before
        return replace(before, state=State.STORE_LOST, fault=f"has not answered for {SILENCE:.0f} seconds")
    gives_sign = event.count != before.count or event.count == DONE
    heard_at = now if gives_sign else before.heard_at
    if event.run_ended:
        return Watched(State.ENDED, event.count, heard_at, now)
    return Watched(State.SILENT if now - heard_at > SILENCE else State.HEARD, event.count, heard_at, now)


@contextmanager
def watched(store: Store, world: World) -> Iterator[None]:
    """Give signs of life and watch the next process, in separate threads, inside the ``with``.

    If the next process is silent or the store is lost, this process says so and exits at once, although its other
    threads may be waiting in a collective. The other processes learn it from the store.
    """
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # as above

    # A separate connection: the main thread may be waiting for an answer on the first one.
    connection = store.clone()  # type: ignore[attr-defined]  # missing in torch's stubs
    watch = _Watch(PrefixStore("mdpo/alive", connection), world)
    watch.start()
    try:
        yield
    except BaseException:
        watch.stop(failed=True)
        raise
    watch.stop(failed=False)


class _Watch:
    """The threads of one process: one asks the store, one notices if it does not answer, one watches the launcher."""

    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._key = str(world.rank)
        self._next_key = str((world.rank + 1) % world.size)
        self._speaks_for_node = world.local_rank == 0
        self._over = threading.Event()
        # Only the thread that asks the store writes it.
        self._watched = Watched.begin(time.monotonic())
        tasks = [self._ask_store, self._await_store, *([self._watch_launcher] if LAUNCHER in os.environ else [])]
        self._threads = [threading.Thread(target=task, daemon=True) for task in tasks]

    def start(self) -> None:
        self._store.set(self._key, "0")
        for thread in self._threads:
            thread.start()

    def stop(self, failed: bool) -> None:
        """End the threads; tell the others that this process is done, or that the run has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(2 * BEAT)
        if any(thread.is_alive() for thread in self._threads):
            return  # the store does not answer
        try:
            self._store.set(*((_ENDED, "") if failed else (self._key, DONE)))
        except RuntimeError:
            return  # the store is gone, so no process can read this

    def _ask_store(self) -> None:
        count = 0
        while not self._over.wait(BEAT):
            count += 1
            event = self._exchange(count)
            self._watched = transition(self._watched, event, time.monotonic())
            self._act_on(self._watched)

    def _exchange(self, count: int) -> Answer | StoreError:
        try:
            self._store.set(self._key, str(count))
            return Answer(self._store.get(self._next_key).decode(), self._store.check([_ENDED]))
        except RuntimeError as error:
            return StoreError(first_line(error))

    def _await_store(self) -> None:
        """Act if the thread that asks the store gets no answer: a call into the store may never return."""
        while not self._over.wait(BEAT):
            before = self._watched
            after = transition(before, None, time.monotonic())
            # The thread that asks the store has acted on the state before.
            if after is not before:
                self._act_on(after)

    def _watch_launcher(self) -> None:
        """Save and stop if the launcher was killed: no other process passes on signals or ends the others."""
        while not self._over.wait(BEAT):
            if os.getppid() != int(os.environ[LAUNCHER]):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _act_on(self, watched: Watched) -> None:
        if watched.state is State.SILENT:
            self._end_for_all()
            self._exit(
                f"process {self._next_key} has given no sign of life for {SILENCE:.0f} seconds: it was killed, or the "
                "network is cut"
            )
        elif watched.state is State.STORE_LOST and self._speaks_for_node:
            # Without the store each node has to say why it ends.
            self._exit(f"the run's first node {watched.fault}: it is down, or the network is cut")
        # Another process says why: if this one ended before, torchrun would end that one. This one may need a moment to
        # report its own error.
        elif watched.state is not State.HEARD and not self._over.wait(GRACE):
            self._exit("")

    def _end_for_all(self) -> None:
        try:
            self._store.set(_ENDED, "")
        except RuntimeError:
            return  # the others will notice it as this process did

    def _exit(self, message: str) -> None:
        if self._over.is_set():
            return
        if message:
            sys.stderr.write(f"{message}\nthe run can continue from its newest checkpoint, with {option('--resume')}\n")
            sys.stderr.flush()
        os._exit(1)
