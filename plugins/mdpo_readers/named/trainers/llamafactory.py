"""The ranking formats of LLaMA-Factory: sharegpt and alpaca, as ``dataset_info.json`` describes them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mdpo_core import Problem, Prompt, Turn
from mdpo_readers import conversations
from mdpo_readers.cell_types import Cell, shown, text
from mdpo_readers.formats.pair import Pair, Row
from mdpo_readers.formats.table_reader import TableReader
from mdpo_readers.formats.unread import require_no_tools
from mdpo_readers.formats.written import list_of_objects
from mdpo_readers.named.cells import earlier_turns, is_filled, with_system
from mdpo_readers.named.trainers.dataset_info import INFO, Entry, data_sets_of, ranking_sets, read_entry
from mdpo_readers.video_reader import VideoReader


class LlamaFactory(VideoReader, TableReader):
    """A ranking data set of LLaMA-Factory: ``path`` is the folder with ``dataset_info.json``.

    Paths of pictures start from ``images``; without it from ``media_dir``, LLaMA-Factory's option; else from ``path``.
    """

    title: ClassVar[str] = "LLaMA-Factory's ranking format"
    nested: ClassVar[tuple[str, ...]] = (
        "conversations",
        "messages",
        "chosen",
        "rejected",
    )
    columns: ClassVar[tuple[str, ...]] = ("chosen", "rejected")
    mark_ending: ClassVar[str] = ""
    declares: ClassVar[str] = f"name it in {INFO}, columns: {{{{{{part}}: {{column}}}}}}"

    path: str = Field(description="the folder with dataset_info.json, or that file")
    dataset: str = Field(description="the name of the data set in dataset_info.json")
    media_dir: Path | None = Field(
        default=None, description="the folder of the images, below path, if there is no images; default: path itself"
    )

    @classmethod
    def recognizes(cls, columns: Collection[str], first: Mapping[str, Any], path: Path) -> bool:
        answers = [first.get(name) for name in ("chosen", "rejected")]
        has_messages = "conversations" in columns or "messages" in columns
        is_ranking = has_messages and all(isinstance(each, dict) for each in answers)
        return bool(data_sets_of(path)) or (is_ranking and (path.parent / INFO).is_file())

    @classmethod
    def options_for(cls, path: str) -> Sequence[Mapping[str, str]]:
        found = data_sets_of(Path(path)) or [(Path(path).parent, f"NAME (of the entry in {INFO})")]
        return [{"path": os.path.normpath(folder), "dataset": name} for folder, name in found]

    @classmethod
    def listed_in(cls, path: str) -> Sequence[tuple[str, Mapping[str, str]]]:
        location = Path(path)
        folder = location.parent if location.name == INFO else location
        return [(str(folder / file), {"path": str(folder), "dataset": name}) for file, name in ranking_sets(folder)]

    @property
    def folder(self) -> Path:
        """The folder with ``dataset_info.json``."""
        path = Path(self.path)
        return path.parent if path.name == INFO else path

    @cached_property
    def entry(self) -> Entry:
        """The data set's entry in ``dataset_info.json``. Raises `DataError`."""
        return read_entry(Path(self.path), self.dataset)

    def nested_columns(self) -> Collection[str]:
        parts = ("messages", "chosen", "rejected", "history") if self.entry.is_sharegpt else ("history",)
        return [self.entry.columns[part] for part in parts if part in self.entry.columns]

    def orders(self) -> Sequence[tuple[str, str]]:
        named = (self.entry.columns["chosen"], self.entry.columns["rejected"])
        return [*dict.fromkeys([*super().orders(), named])]

    def table_path(self) -> str:
        return str(self.folder / self.entry.file_name)

    def image_folder(self) -> Path:
        if self.images != Path():
            return self.images
        return self.folder if self.media_dir is None else self.folder / self.media_dir

    def missing_images(self) -> Iterator[Problem]:
        """The problem with the folder that is used, if there is one."""
        if self.images != Path():
            yield from super().missing_images()
            return
        try:
            if self.image_folder().is_dir():
                return
            fault = "this folder does not exist"
        except (OSError, ValueError) as error:  # such as too long a name, or a folder that may not be entered
            fault = f"cannot be read: {error}"
        yield Problem(self.source, "", f"data.media_dir: {shown(str(self.image_folder()))}: {fault}")

    def wanted(self) -> tuple[Sequence[str], Sequence[str]]:
        columns = dict(self.entry.columns)
        needed = [columns.pop(part) for part in (self.entry.asked, "chosen", "rejected")]
        return needed, list(columns.values())

    def pairs(self, row: Row) -> Iterable[Pair]:
        asked = row[self.entry.columns[self.entry.asked]]
        prompt: Prompt = self._of_messages(asked) if self.entry.is_sharegpt else self._of_alpaca(row)
        tools = self._cell(row, "tools")
        if tools.column not in self.unread:
            require_no_tools(tools)
        prompt = with_system(prompt, self._cell(row, "system"))
        chosen, rejected = (self._answer(self._cell(row, answer)) for answer in ("chosen", "rejected"))
        pictures, videos = self._cell(row, "images"), self._cell(row, "videos")
        yield Pair(prompt, chosen, rejected, pictures, videos=videos, asked=asked.column)

    def _cell(self, row: Row, part: str) -> Cell:
        """The cell that holds a part; of a part without a column, None."""
        column = self.entry.columns.get(part)
        return Cell(row.where, part, None) if column is None else row[column]

    def _of_alpaca(self, row: Row) -> tuple[Turn, ...]:
        cells = [self._cell(row, part) for part in ("prompt", "query")]
        parts = [text(cell) for cell in cells if is_filled(cell.value) and str(cell.value).strip()]
        if not parts:
            raise cells[0].wrong(f"is empty, and so is '{cells[1].column}'; a row needs a question")
        return (*earlier_turns(self._cell(row, "history")), Turn("user", "\n".join(parts)))

    def _of_messages(self, cell: Cell) -> tuple[Turn, ...]:
        messages = list_of_objects(cell.value)
        if not isinstance(messages, list):
            raise cell.must_be("a list of messages")
        turns = conversations.prompt(cell._replace(value=[self._message(each) for each in messages]))
        assert not isinstance(turns, str)
        return turns

    def _answer(self, cell: Cell) -> Prompt:
        return conversations.response(cell._replace(value=self._message(cell.value)))

    def _message(self, message: Any) -> Any:
        """A message with the tags of chat messages; what is none stays as it is, and is refused when it is read."""
        tags = self.entry.tags
        role, content = tags["role_tag"], tags["content_tag"]
        if not isinstance(message, dict) or role not in message or content not in message:
            return message
        roles = {tags["user_tag"]: "user", tags["assistant_tag"]: "assistant", tags["system_tag"]: "system"}
        found = message[role]
        return {"role": roles.get(found, found) if isinstance(found, str) else found, "content": message[content]}
