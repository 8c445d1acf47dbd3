"""The file ``dataset_info.json`` of LLaMA-Factory: what it says of a ranking data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_core import DataError, Problem, note_file, suggestion
from mdpo_readers.cell_types import shown

INFO = "dataset_info.json"
_BOTH = {name: name for name in ("chosen", "rejected", "images", "videos")}
_SHAREGPT = {"messages": "conversations"} | _BOTH
_ALPACA = {"prompt": "instruction", "query": "input"} | _BOTH
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}


class Entry(NamedTuple):
    """A ranking data set. ``columns``: by what they hold, those that there are. ``tags``: by their names."""

    file_name: str
    is_sharegpt: bool
    columns: Mapping[str, str]
    tags: Mapping[str, str]

    @property
    def asked(self) -> str:
        """What the column with the prompt is called in ``columns``."""
        return "messages" if self.is_sharegpt else "prompt"


def read_entry(path: Path, name: str) -> Entry:
    """The entry of the data set ``name``. ``path``: the folder with the file, or the file. Raises `DataError`."""
    file = path if path.name == INFO else path / INFO
    entries = _entries(path, file)
    known = sorted(entries) if isinstance(entries, dict) else []
    if not isinstance(entries, dict) or not isinstance(entries.get(name), dict):
        text = f"the data set '{name}' is missing{suggestion(name, known)}"
        raise DataError([Problem(str(file), "", f"{text}  (data sets: {', '.join(known)})")])
    entry: Mapping[str, Any] = entries[name]
    if not entry.get("ranking"):
        raise DataError([Problem(str(file), name, "is no ranking data set: it has no ranking: true")])
    if entry.get("num_samples") is not None:
        text = f"is not read; remove it, and set data.split: train[:{shown(entry['num_samples'])}]"
        raise DataError([Problem(str(file), f"{name}.num_samples", text)])
    if entry.get("split", "train") not in ("train", None):
        text = f"is not read: a file has no split {shown(entry['split'])}; remove it, or name the file of that split"
        raise DataError([Problem(str(file), f"{name}.split", text)])
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt"):
        raise DataError(
            [Problem(str(file), f"{name}.formatting", f"must be alpaca or sharegpt, found {shown(formatting)}")]
        )
    is_sharegpt = formatting == "sharegpt"
    columns = (_SHAREGPT if is_sharegpt else _ALPACA) | _texts(file, name, "columns", entry)
    _require_no_context(file, name, entry, columns)
    read = Entry(_file_name(file, name, entry), is_sharegpt, _named(columns), _TAGS | _texts(file, name, "tags", entry))
    missing = [part for part in (read.asked, "chosen", "rejected") if part not in read.columns]
    if missing:
        raise DataError([Problem(str(file), f"{name}.columns.{missing[0]}", "must name a column, found null")])
    return read


def _require_no_context(file: Path, name: str, entry: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
    """Raise `DataError` if the columns name one that LLaMA-Factory itself does not read, and that must not be lost."""
    if columns.get("context") is not None:
        text = (
            "is read by SENTINEL's LLaMA-Factory alone, as the beginning of both answers; name the file itself: "
            f"{{reader: sentinel, path: {file.parent / _file_name(file, name, entry)}, images: FOLDER}}"
        )
        raise DataError([Problem(str(file), f"{name}.columns.context", text)])


def data_sets_of(path: Path) -> list[tuple[Path, str]]:
    """The folder and the name of each ranking data set whose file is ``path``.

    Their ``dataset_info.json`` is beside the file, or in a folder above it.
    """
    above = [path.parent / up for up in ("", "..", "../..")]
    return [(folder, name) for folder in above for file, name in ranking_sets(folder) if _is_same(folder / file, path)]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there, or its name is no path
        return False


def ranking_sets(folder: Path) -> list[tuple[str, str]]:
    """The file and the name of each ranking data set that ``dataset_info.json`` lists; several may share a file."""
    try:
        note_file(folder / INFO)
        entries = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [
        (entry["file_name"], name)
        for name, entry in (entries.items() if isinstance(entries, dict) else ())
        if isinstance(entry, dict) and entry.get("ranking") and isinstance(entry.get("file_name"), str)
    ]


def _entries(path: Path, file: Path) -> Any:
    try:
        if path.name != INFO and path.is_file():
            text = f"data.path must be the folder with {INFO}; write path: {path.parent}"
            raise DataError([Problem(str(path), "", text)])
        note_file(file)
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError([Problem(str(file), "", f"cannot be read: {error}")]) from error
    except RecursionError as error:
        raise DataError([Problem(str(file), "", "cannot be read: it is nested too deeply")]) from error


def _file_name(file: Path, name: str, entry: Mapping[str, Any]) -> str:
    found = entry.get("file_name")
    if isinstance(found, str) and found:
        return found
    elsewhere = [key for key in entry if key.endswith("_url") or key in ("script", "cloud_file_name")]
    if found is None and elsewhere:
        text = f"names only {elsewhere[0]}; download the data set, and write its file as file_name"
        raise DataError([Problem(str(file), name, text)])
    raise DataError([Problem(str(file), f"{name}.file_name", f"must be the name of a file, found {shown(found)}")])


def _texts(file: Path, name: str, key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An object of texts in an entry; a column may be null. An object that is absent is empty."""
    values = entry.get(key, {})
    if not isinstance(values, dict):
        raise DataError([Problem(str(file), f"{name}.{key}", f"must be an object of names, found {shown(values)}")])
    for part, value in values.items():
        if not isinstance(value, str) and not (value is None and key == "columns"):
            raise DataError([Problem(str(file), f"{name}.{key}.{part}", f"must be a name, found {shown(value)}")])
    return values


def _named(columns: Mapping[str, str | None]) -> dict[str, str]:
    return {part: column for part, column in columns.items() if column is not None}
