"""Keeps the results of a long command, so that it can stop at any moment and continue from them."""

from __future__ import annotations

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
from mdpo_core.remedies import option
from mdpo_core.storage.differences import differences
from mdpo_core.storage.file_locks import lock
from mdpo_core.storage.files import atomic_write
from mdpo_core.words.amounts import counted

Entry: TypeAlias = "dict[str, Any]"


class State(Enum):
    """The state of a journal's files.

    FREE: there is no result: no file, or only settings of a call that had nothing to write. BEGUN: an earlier call
    with these settings started. FINISHED: an earlier call with these settings wrote the file. OTHER: the results come
    from other or unknown settings.
    """

    FREE = auto()
    BEGUN = auto()
    FINISHED = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Journal:
    """Keeps one line in ``OUT.partial`` for each finished row, until ``OUT`` is written.

    ``key``: everything that the results depend on, as JSON values; it stays in ``OUT.settings.json``. ``rows``: the row
    numbers, in the order of their lines. ``at_once`` rows are computed together, always the same ones, so that a
    resumed command rounds like an uninterrupted one.
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
            f"{present} already exists, but {self.settings.name}, which records the command that made it, does not; "
            f"choose another file with {option('--out FILE')}"
        )

    def _other_settings(self) -> str:
        """The message for results of other settings: what differs, and what to do."""
        files = [file.name for file in (self.out, self.partial, self.settings) if file.exists()]
        same_names = self._read_settings().keys() == self.key.keys()
        hint = "" if same_names else "; the names of the settings differ, so they come from another version of mdpo"
        return "\n  ".join(
            [
                f"{self.out} was written or begun with other settings{hint}; choose another file with "
                f"{option('--out FILE')}, or remove {' and '.join(files)} to start again",
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
            other = option("--out FILE")
            raise CheckpointError(f"{self.settings} is damaged ({error}); choose another file with {other}") from error

    def _different(self) -> list[str]:
        return differences(self._read_settings(), self.key)

    def _holds_something(self) -> bool:
        """Whether the file exists, or a finished row for it. An unreadable line counts as a row."""
        if self.out.exists() or not self.partial.exists():
            return self.out.exists()
        with self.partial.open("rb") as file:
            return any(line.endswith(b"\n") and not _is_left_out(line) for line in file)

    @contextmanager
    def filled(
        self, compute: Callable[[Sequence[int]], Sequence[Entry]], progress: Callable[[int, int], object]
    ) -> Iterator[list[Entry] | None]:
        """The entries of all rows: kept entries, and new ones from ``compute`` for the other rows.

        No other process can fill the journal while this context is open, so write ``out`` within it. It gives None if
        another process has written ``out`` since `is_finished`. ``compute`` takes indices into ``rows``; ``progress``
        takes the number of finished rows and of all rows. Raises `RunStopped` after a SIGTERM or SIGINT; the finished
        rows are kept.
        """
        self.out.parent.mkdir(parents=True, exist_ok=True)
        if not self.settings.is_file():
            self._write_settings()
        with self._held() as file:
            state = self._require_ours()  # checked again: another process may have written since
            if state is State.FREE:
                file.truncate(0)
                self._write_settings()
            yield None if state is State.FINISHED else self._fill(file, compute, progress)

    def _fill(
        self,
        file: IO[bytes],
        compute: Callable[[Sequence[int]], Sequence[Entry]],
        progress: Callable[[int, int], object],
    ) -> list[Entry]:
        total, entries = len(self.rows), self._kept(file)
        with StopRequest("these rows; all that are finished are kept") as stop:
            progress(len(entries), total)
            while len(entries) < total:
                if stop.signum:
                    are = "is" if len(entries) == 1 else "are"
                    kept = f"{len(entries)} of {counted(total, 'row')} {are} kept in {self.partial}"
                    raise RunStopped(f"stopped, {kept}", stop.signum)
                indices = range(len(entries), min(len(entries) + self.at_once, total))
                entries += self._append(file, indices, compute(indices))
                progress(len(entries), total)
        return entries

    def _write_settings(self) -> None:
        atomic_write(self.settings, json.dumps(self.key, indent=2).encode() + b"\n")

    def close(self) -> None:
        """Remove the kept entries, after the file was written."""
        self.partial.unlink(missing_ok=True)

    @contextmanager
    def _held(self) -> Iterator[IO[bytes]]:
        with self.partial.open("a+b") as file:
            try:
                lock(file)
            except BlockingIOError as error:
                raise MdpoError(f"another process is writing {self.partial}; wait until it ends") from error
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
            f"{self.partial}:{index + 1}: the command did not write this line; remove this file to start again"
        )


def _is_left_out(line: bytes) -> bool:
    try:
        return "problem" in dict(json.loads(line))
    except (ValueError, TypeError):
        return False
