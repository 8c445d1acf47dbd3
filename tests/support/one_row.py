"""A file of one row, read by any reader or refused by it."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from mdpo_core import DataError, Example, component
from support.pictures import as_bytes, upright

PICTURE = as_bytes(upright(), "PNG")
BASE64 = b64encode(PICTURE).decode()


def read(folder: Path, row: dict[str, Any], reader: str = "pairs", **options: Any) -> Example:
    """The row, with its pictures in ``folder``."""
    file = folder / "rows.jsonl"
    file.write_text(json.dumps(row))
    [example] = component("reader", reader, path=str(file), images=folder, **options).open()  # type: ignore[attr-defined]
    return example  # type: ignore[no-any-return]


def refused(folder: Path, row: dict[str, Any], reader: str = "pairs", **options: Any) -> str:
    """What the reader says of a row that it refuses."""
    with pytest.raises(DataError) as caught:
        read(folder, row, reader, **options)
    return str(caught.value)
