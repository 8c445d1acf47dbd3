"""What a long command has found so far, so that it may be stopped at any moment and go on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import IO, Any, TypeAlias

from mdpo_core.errors import CheckpointError, MdpoError
from mdpo_core.processes.stop import RunStopped, StopRequest
from mdpo_core.storage.differences import differences
from mdpo_core.storage.files import atomic_write

Entry: TypeAlias = "dict[str, Any]"


class State(Enum):
    """What the files of a journal belong to.

    FREE: nothing is there, or only settings with which nothing was found that could be written. BEGUN: an earlier call
    with these settings said so. FINISHED: it wrote the file. OTHER: there are results of other settings, or of unknown
    ones.
    """

    FREE = auto()
    BEGUN = auto()
    FINISHED = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Journal:
    """A line of ``OUT.partial`` for each row that is done, which is removed once ``OUT`` is written.

    ``key``: everything that the results depend on, as JSON holds it; it stays in ``OUT.settings.json``. ``rows``:
    numbers of the rows, in the order of their lines. Rows are computed ``at_once`` together, always the same ones, so
    that rounding, too, is as in a command that was never stopped.
    """

    out: Path
    key: Mapping[str, Any]
    rows: Sequence[int]
    at_once: int = 1

    @property
    def settings(self) -> Path:
        return self.out.with_name(f"{self.out.name}.settings.json")

    @property
    def partial(self) -> Path:
        return self.out.with_name(f"{self.out.name}.partial")

    def is_begun(self) -> bool:
        """Whether an earlier call with these settings got as far as to say so."""
        return self._state() in (State.BEGUN, State.FINISHED)

    def is_finished(self) -> bool:
        """Whether the file is there. Raises `CheckpointError` if it is another one, and writes nothing."""
        return self._require_ours() is State.FINISHED

    def _require_ours(self) -> State:
        state = self._state()
        if state is not State.OTHER:
            return state
        if self.settings.is_file():
            raise CheckpointError(
                f"{self.out} was made, or begun, with other settings; choose another file with --out\n  "
                + "\n  ".join(self._different())
            )
        present = self.out if self.out.exists() else self.partial
        raise CheckpointError(
            f"{present} is there, and {self.settings.name} beside it, which would say by what command, is "
            "not; choose another file with --out"
        )

    def _state(self) -> State:
        """What the three files say together."""
        if not self.settings.is_file():
            return State.OTHER if self.out.exists() or self.partial.exists() else State.FREE
        if self._different():
            return State.OTHER if self._holds_something() else State.FREE
        return State.FINISHED if self.out.is_file() else State.BEGUN

    def _different(self) -> list[str]:
        try:
            there = dict(json.loads(self.settings.read_text()))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{self.settings} is damaged ({error}); choose another file with --out") from error
        return differences(there, self.key)

    def _holds_something(self) -> bool:
        """Whether the file is there, or a row that would be in it; a line that is not ours may be one."""
        if self.out.exists() or not self.partial.exists():
            return self.out.exists()
        with self.partial.open("rb") as file:
            return any(line.endswith(b"\n") and not _is_left_out(line) for line in file)

    def fill(
        self, compute: Callable[[Sequence[int]], Sequence[Entry]], progress: Callable[[int, int], object]
    ) -> list[Entry]:
        """The entries of all rows: those that are there, and what ``compute`` gives for the others.

        ``compute`` is given places in ``rows``. Raises `RunStopped` after a SIGTERM or SIGINT; what was found is kept.
        """
        total = len(self.rows)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if not self.settings.is_file():
            self._write_settings()
        with self._held() as file, StopRequest() as stop:
            if self._require_ours() is State.FREE:  # asked again, as another process may have been faster
                file.truncate(0)
                self._write_settings()
            entries = self._kept(file)
            progress(len(entries), total)
            while len(entries) < total:
                if stop.signum:
                    kept = f"{len(entries)} of {total} rows are kept in {self.partial}"
                    raise RunStopped(f"stopped, {kept}", stop.signum)
                places = range(len(entries), min(len(entries) + self.at_once, total))
                entries += self._append(file, places, compute(places))
                progress(len(entries), total)
        return entries

    def _write_settings(self) -> None:
        atomic_write(self.settings, json.dumps(self.key, indent=2).encode() + b"\n")

    def close(self) -> None:
        """Forget the entries: what they are for has been written."""
        self.partial.unlink(missing_ok=True)

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        with self.partial.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MdpoError(f"{self.partial} is being written by another process; wait for it") from error
            yield file

    def _append(self, file: IO[bytes], places: Sequence[int], found: Sequence[Entry]) -> list[Entry]:
        entries = [{"row": self.rows[place] + 1, **entry} for place, entry in zip(places, found, strict=True)]
        file.write("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())
        file.flush()
        os.fsync(file.fileno())
        return entries

    def _kept(self, file: IO[bytes]) -> list[Entry]:
        """The entries of whole lines and of rows that were computed together; the rest is cut off."""
        file.seek(0)
        lines = [line for line in file.readlines() if line.endswith(b"\n")]
        if len(lines) < len(self.rows):
            lines = lines[: len(lines) // self.at_once * self.at_once]
        file.truncate(sum(map(len, lines)))
        return [self._entry(place, line) for place, line in enumerate(lines)]

    def _entry(self, place: int, line: bytes) -> Entry:
        try:
            entry: Entry = json.loads(line)
            if entry["row"] == self.rows[place] + 1:
                return entry
        except (ValueError, KeyError, TypeError, IndexError):
            pass
        raise CheckpointError(f"{self.partial}:{place + 1}: is not what was written; remove this file to begin anew")


def _is_left_out(line: bytes) -> bool:
    try:
        return "problem" in dict(json.loads(line))
    except (ValueError, TypeError):
        return False
