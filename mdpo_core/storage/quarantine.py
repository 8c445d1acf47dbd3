"""The list of rows that are left out, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdpo_core.data.checking import CheckedData
from mdpo_core.storage.files import atomic_write
from mdpo_core.types.rows import LazyRows


def write_quarantine(path: Path, *checks: CheckedData) -> None:
    """List the rows of some checks that are left out: ``row`` (from 1), ``source``, ``file``, ``id``, ``problems``.

    ``source``: that of a mixture; ``id``: null if the row could not be read.
    """
    lines = [json.dumps(entry, ensure_ascii=True) + "\n" for checked in checks for entry in _entries(checked)]
    atomic_write(path, "".join(lines).encode())


def _entries(checked: CheckedData) -> Iterator[dict[str, Any]]:
    for row in sorted({*checked.bad, *checked.duplicates}):
        if row in checked.bad:
            reasons = [str(problem) for problem in checked.bad[row]]
        else:
            same = checked.place(checked.duplicates[row])
            reasons = [f"{checked.place(row)}: its prompt, answers and pictures are those of {same}"]
        data = checked.data
        source, file = data.origin(row) if isinstance(data, LazyRows) else ("", "")
        yield {"row": row + 1, "source": source, "file": file, "id": checked.ids.get(row), "problems": reasons}
