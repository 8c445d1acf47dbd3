"""Watching over the processes of a run: a collective waits for ever for one that died, or is cut off."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mdpo_core.processes.world import World

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # public, and not in its list of names

BEAT = 2.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without one after which a process counts as lost
GRACE = 10.0  # seconds that a process has to end by itself once another one has
# Tells the processes of one machine which process started them.
LAUNCHER = "MDPO_LAUNCHER"
_DONE = "done"
_ENDED = "mdpo/ended"


@contextmanager
def watched(store: Store, world: World) -> Iterator[None]:
    """Give signs of life and listen to the next process's, in threads of their own, for the time of a ``with``.

    A process that hears none any more, or cannot reach the store, says so and exits at once, whatever its other
    threads wait for; the rest learn it from the store.
    """
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # as above

    # A connection of its own, as the other may be waiting for an answer.
    own = store.clone()  # type: ignore[attr-defined]  # missing in its stubs
    watch = _Watch(PrefixStore("mdpo/alive", own), world)
    watch.start()
    try:
        yield
    except BaseException:
        watch.stop(failed=True)
        raise
    watch.stop(failed=False)


@dataclass
class _Watch:
    store: Store
    world: World
    _over: threading.Event = field(default_factory=threading.Event)
    # When the store last answered: it may keep a thread waiting that it will never answer.
    _answered: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        tasks = [self._beat, self._listen, *([self._mind_launcher] if LAUNCHER in os.environ else [])]
        self._threads = [threading.Thread(target=each, daemon=True) for each in tasks]
        self.store.set(str(self.world.rank), "0")
        for thread in self._threads:
            thread.start()

    def stop(self, failed: bool) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * BEAT)
        if any(thread.is_alive() for thread in self._threads):
            return  # the store does not answer
        try:
            self.store.set(*((_ENDED, "") if failed else (str(self.world.rank), _DONE)))
        except RuntimeError:
            return  # the store is gone, and with it whoever would have read this

    def _beat(self) -> None:
        """Speak, and hear the next process, by rank."""
        ahead = str((self.world.rank + 1) % self.world.size)
        heard, when, number = "", time.monotonic(), 0
        while not self._over.wait(BEAT):
            number += 1
            try:
                self.store.set(str(self.world.rank), str(number))
                said = self.store.get(ahead).decode()
                ended = self.store.check([_ENDED])
            except RuntimeError as error:
                self._lose_first_node(f"cannot be reached ({str(error).splitlines()[0]})")
                return
            self._answered = time.monotonic()
            # Whoever ended it has said why; what this process has to say of it itself may take a moment.
            if ended and not self._over.wait(GRACE):
                self._end("")
            if said != heard or said == _DONE:
                heard, when = said, time.monotonic()
            elif time.monotonic() - when > SILENCE:
                self._tell_the_others()
                self._end(
                    f"process {ahead} has given no sign of life for {SILENCE:.0f} seconds: it was killed, or the "
                    "network is cut"
                )

    def _tell_the_others(self) -> None:
        try:
            self.store.set(_ENDED, "")
        except RuntimeError:
            return  # they will find out as this process did

    def _listen(self) -> None:
        """See to it that the other thread is answered."""
        while not self._over.wait(BEAT):
            if time.monotonic() - self._answered > SILENCE:
                self._lose_first_node(f"has not answered for {SILENCE:.0f} seconds")

    def _mind_launcher(self) -> None:
        """Save and stop if the launcher was killed: nobody else passes signals on or ends the others."""
        while not self._over.wait(BEAT):
            if os.getppid() != int(os.environ[LAUNCHER]):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _lose_first_node(self, how: str) -> None:
        # Without the store each node speaks for itself.
        speaks = self.world.local_rank == 0
        self._end(f"the run's first node {how}: it is down, or the network is cut" if speaks else "")

    def _end(self, message: str) -> None:
        if self._over.is_set():
            return
        if message:
            sys.stderr.write(f"{message}\nthe run can go on from its newest checkpoint, with --resume\n")
            sys.stderr.flush()
        os._exit(1)
