"""The results of a long command so far: it may be stopped at any moment, and continues from them."""

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
from mdpo_core.processes.stop_request import RunStopped, StopRequest
from mdpo_core.storage.differences import differences
from mdpo_core.storage.files import atomic_write

Entry: TypeAlias = "dict[str, Any]"


class State(Enum):
    """What the files of a journal belong to.

    FREE: there is no result: no file, or only settings of a call that found nothing to write. BEGUN: an earlier call
    with these settings started. FINISHED: it wrote the file. OTHER: there are results of other settings, or of
    unknown ones.
    """

    FREE = auto()
    BEGUN = auto()
    FINISHED = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Journal:
    """Keeps one line in ``OUT.partial`` for each finished row, until ``OUT`` is written.

    ``key``: everything that the results depend on, as JSON holds it; it stays in ``OUT.settings.json``. ``rows``: the
    numbers of the rows, in the order of their lines. ``at_once`` rows are computed together, always the same ones, so
    that a command that was stopped rounds as one that was not.
    """

    out: Path
    key: Mapping[str, Any]
    rows: Sequence[int]
    at_once: int = 1

    @property
    def settings(self) -> Path:
        """The file that holds the key."""
        return self.out.with_name(f"{self.out.name}.settings.json")

    @property
    def partial(self) -> Path:
        """The file that holds the finished rows."""
        return self.out.with_name(f"{self.out.name}.partial")

    def is_begun(self) -> bool:
        """Whether an earlier call with these settings started, or finished."""
        return self._state() in (State.BEGUN, State.FINISHED)

    def is_finished(self) -> bool:
        """Whether an earlier call wrote the file; raises `CheckpointError` if it had other settings."""
        return self._require_ours() is State.FINISHED

    def _require_ours(self) -> State:
        state = self._state()
        if state is not State.OTHER:
            return state
        if self.settings.is_file():
            raise CheckpointError(self._other_settings())
        present = self.out if self.out.exists() else self.partial
        raise CheckpointError(
            f"{present} exists already, but {self.settings.name}, which says which command made it, does not; choose "
            "another file with --out"
        )

    def _other_settings(self) -> str:
        """The message for results of other settings: what differs, and what to do."""
        files = [file.name for file in (self.out, self.partial, self.settings) if file.exists()]
        same_names = self._read_settings().keys() == self.key.keys()
        hint = "" if same_names else "; settings with other names come from another version of mdpo"
        return "\n  ".join(
            [
                f"{self.out} was made, or begun, with other settings{hint}; choose another file with --out, or remove "
                f"{' and '.join(files)} to start again",
                *self._different(),
            ]
        )

    def _state(self) -> State:
        """The state that the three files show together."""
        if not self.settings.is_file():
            return State.OTHER if self.out.exists() or self.partial.exists() else State.FREE
        if self._different():
            return State.OTHER if self._holds_something() else State.FREE
        return State.FINISHED if self.out.is_file() else State.BEGUN

    def _read_settings(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.settings.read_text()))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{self.settings} is damaged ({error}); choose another file with --out") from error

    def _different(self) -> list[str]:
        return differences(self._read_settings(), self.key)

    def _holds_something(self) -> bool:
        """Whether the file exists, or a finished row that belongs in it; an unreadable line may be such a row."""
        if self.out.exists() or not self.partial.exists():
            return self.out.exists()
        with self.partial.open("rb") as file:
            return any(line.endswith(b"\n") and not _is_left_out(line) for line in file)

    def fill(
        self, compute: Callable[[Sequence[int]], Sequence[Entry]], progress: Callable[[int, int], object]
    ) -> list[Entry]:
        """The entries of all rows: those that are kept, and what ``compute`` gives for the others.

        ``compute`` takes indices into ``rows``; ``progress`` takes how many rows are done, of how many. Raises
        `RunStopped` after a SIGTERM or SIGINT; the finished rows are kept.
        """
        total = len(self.rows)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if not self.settings.is_file():
            self._write_settings()
        with self._held() as file, StopRequest() as stop:
            if self._require_ours() is State.FREE:  # checked again: another process may have written since
                file.truncate(0)
                self._write_settings()
            entries = self._kept(file)
            progress(len(entries), total)
            while len(entries) < total:
                if stop.signum:
                    kept = f"{len(entries)} of {total} rows are kept in {self.partial}"
                    raise RunStopped(f"stopped, {kept}", stop.signum)
                indices = range(len(entries), min(len(entries) + self.at_once, total))
                entries += self._append(file, indices, compute(indices))
                progress(len(entries), total)
        return entries

    def _write_settings(self) -> None:
        atomic_write(self.settings, json.dumps(self.key, indent=2).encode() + b"\n")

    def close(self) -> None:
        """Remove the entries: the file that they are for is written."""
        self.partial.unlink(missing_ok=True)

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        with self.partial.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MdpoError(f"{self.partial} is being written by another process; wait for it") from error
            yield file

    def _append(self, file: IO[bytes], indices: Sequence[int], new: Sequence[Entry]) -> list[Entry]:
        entries = [{"row": self.rows[index] + 1, **entry} for index, entry in zip(indices, new, strict=True)]
        file.write("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())
        file.flush()
        os.fsync(file.fileno())
        return entries

    def _kept(self, file: IO[bytes]) -> list[Entry]:
        """The entries of complete lines, in complete groups of rows; the rest of the file is cut off."""
        file.seek(0)
        lines = [line for line in file.readlines() if line.endswith(b"\n")]
        if len(lines) < len(self.rows):
            lines = lines[: len(lines) // self.at_once * self.at_once]
        file.truncate(sum(map(len, lines)))
        return [self._entry(index, line) for index, line in enumerate(lines)]

    def _entry(self, index: int, line: bytes) -> Entry:
        try:
            entry: Entry = json.loads(line)
            if entry["row"] == self.rows[index] + 1:
                return entry
        except (ValueError, KeyError, TypeError, IndexError):
            pass
        raise CheckpointError(
            f"{self.partial}:{index + 1}: the line is not what the command wrote; remove this file to start again"
        )


def _is_left_out(line: bytes) -> bool:
    try:
        return "problem" in dict(json.loads(line))
    except (ValueError, TypeError):
        return False
