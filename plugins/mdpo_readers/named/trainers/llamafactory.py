"""The ranking formats of LLaMA-Factory: sharegpt and alpaca, as ``dataset_info.json`` describes them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mdpo_core import DataError, Problem, Prompt, Turn, suggestion
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader

_INFO = "dataset_info.json"
_SHAREGPT = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
_ALPACA = {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected", "images": "images"}
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}


class LlamaFactory(TableReader):
    """A ranking data set of LLaMA-Factory: ``path`` is the folder with ``dataset_info.json``.

    Paths of pictures start from ``images``, which LLaMA-Factory calls media_dir; it is the folder itself by default.
    """

    title: ClassVar[str] = "LLaMA-Factory's ranking format"
    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    mark_ending: ClassVar[str] = ""

    path: str = Field(description="the folder with dataset_info.json, or that file")
    dataset: str = Field(description="the name of the data set in dataset_info.json")
    media_dir: Path | None = Field(default=None, description="the folder of the images; default: that of the data")

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        answers = [first.get(name) for name in ("chosen", "rejected")]
        has_messages = "conversations" in columns or "messages" in columns
        return _data_set_of(path) is not None or (has_messages and all(isinstance(each, dict) for each in answers))

    @classmethod
    def recipe_line(cls, path: str) -> str:
        name = _data_set_of(Path(path)) or f"NAME (of the entry in {_INFO})"
        return f"data: {{reader: llamafactory, path: {Path(path).parent}, dataset: {name}}}"

    @property
    def folder(self) -> Path:
        """The folder with ``dataset_info.json``."""
        path = Path(self.path)
        return path.parent if path.name == _INFO else path

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The data set's entry in ``dataset_info.json``. Raises `DataError`."""
        file = self.folder / _INFO
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError([Problem(str(file), "", f"cannot be read: {error}")]) from error
        if not isinstance(entries, dict) or not isinstance(entries.get(self.dataset), dict):
            known = sorted(entries) if isinstance(entries, dict) else []
            text = f"there is no data set '{self.dataset}'{suggestion(self.dataset, known)}"
            raise DataError([Problem(str(file), "", f"{text}  (data sets: {', '.join(known)})")])
        entry: Mapping[str, Any] = entries[self.dataset]
        if not entry.get("ranking"):
            raise DataError([Problem(str(file), self.dataset, "is no ranking data set: it has no ranking: true")])
        return entry

    def table_path(self) -> str:
        return str(self.folder / str(self.info.get("file_name")))

    def image_folder(self) -> Path:
        return self.folder if self.media_dir is None else self.folder / self.media_dir

    def wanted(self) -> tuple[Sequence[str], Sequence[str]]:
        names = self._names()
        asked = "messages" if self._is_sharegpt else "prompt"
        needed = [names.pop(part) for part in (asked, "chosen", "rejected")]
        return needed, list(names.values())

    def pairs(self, row: Row) -> Iterable[Pair]:
        names = self._names()
        prompt = self._of_messages(row[names["messages"]]) if self._is_sharegpt else self._of_alpaca(row)
        if names.get("system", "") in row:
            prompt = (Turn("system", text(row[names["system"]])), *prompt)
        chosen, rejected = (self._answer(row[names[answer]]) for answer in ("chosen", "rejected"))
        yield Pair(prompt, chosen, rejected, row[names["images"]])

    @property
    def _is_sharegpt(self) -> bool:
        return bool(self.info.get("formatting", "alpaca") == "sharegpt")

    def _names(self) -> dict[str, str]:
        """The columns by what they hold."""
        return (_SHAREGPT if self._is_sharegpt else _ALPACA) | dict(self.info.get("columns", {}))

    def _of_alpaca(self, row: Row) -> tuple[Turn, ...]:
        names = self._names()
        parts = [text(row[names[part]]) for part in ("prompt", "query") if names[part] in row]
        question = Turn("user", "\n".join(part for part in parts if part))
        history = row[names["history"]].value if names.get("history", "") in row else []
        before = [(Turn("user", asked), Turn("assistant", answer)) for asked, answer in history]
        return (*(turn for turns in before for turn in turns), question)

    def _of_messages(self, cell: Cell) -> tuple[Turn, ...]:
        if not isinstance(cell.value, list):
            raise cell.must_be("a list of messages")
        turns = conversations.prompt(cell._replace(value=[self._message(each) for each in cell.value]))
        assert not isinstance(turns, str)
        return turns

    def _answer(self, cell: Cell) -> Prompt:
        return conversations.response(cell._replace(value=self._message(cell.value)))

    def _message(self, message: Any) -> Any:
        """A message with the tags of chat messages; what is none stays as it is, and is refused when it is read."""
        tags = _TAGS | dict(self.info.get("tags", {}))
        role, content = tags["role_tag"], tags["content_tag"]
        if not isinstance(message, dict) or role not in message or content not in message:
            return message
        roles = {tags["user_tag"]: "user", tags["assistant_tag"]: "assistant", tags["system_tag"]: "system"}
        return {"role": roles.get(message[role], message[role]), "content": message[content]}


def _data_set_of(path: Path) -> str | None:
    """The name of the ranking data set whose file is ``path``, by the ``dataset_info.json`` beside it."""
    try:
        entries = json.loads((path.parent / _INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = entries.items() if isinstance(entries, dict) else ()
    fitting = (name for name, entry in named if isinstance(entry, dict) and entry.get("file_name") == path.name)
    return next(fitting, None)
