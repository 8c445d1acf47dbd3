"""What a tracker has got of a run: a resumed run goes on in the same tracker run, and sends no step twice."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any


class Journal:
    """A small file in the run directory: the id of the run at the tracker, and the last step of each kind of record.

    ``place``: where at the tracker the run is, such as its server and project; elsewhere it is another run.
    """

    def __init__(self, folder: Path, tracker: str, *place: str | None) -> None:
        key = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:8]
        self._file = folder / "trackers" / f"{tracker}-{key}.json"
        self._content = self._read() or {"id": secrets.token_hex(4), "steps": {}}
        self.is_new = not self._file.is_file()

    @property
    def id(self) -> str:
        """The id of the run, which no other run has."""
        return str(self._content["id"])

    def has(self, kind: str, step: int) -> bool:
        """Whether the tracker has got the record of this kind and step, or one of a later step."""
        return bool(step <= self._content["steps"].get(kind, -1))

    def note(self, kind: str, step: int) -> None:
        """The tracker has got a record."""
        self._content["steps"][kind] = step
        self.write()

    def rename(self, id: str) -> None:
        """Take the id that the tracker gave to the run."""
        self._content["id"] = id
        self.write()

    def write(self) -> None:
        """Write the file; it is whole at every moment."""
        self._file.parent.mkdir(exist_ok=True)
        unfinished = self._file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(self._content))
        unfinished.replace(self._file)

    def _read(self) -> dict[str, Any] | None:
        """The content; None if no run has written the file."""
        try:
            content = json.loads(self._file.read_text())
            return {"id": str(content["id"]), "steps": dict(content["steps"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None
