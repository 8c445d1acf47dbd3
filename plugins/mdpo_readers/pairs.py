"""The `pairs` reader: its options, and finding the source."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from mdpo_core import DataError, Problem, Reader

if TYPE_CHECKING:
    from datasets import Dataset

    from mdpo_readers.rows import PairRows

_FORMATS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}


class Pairs(Reader):
    """Preference pairs from JSON, JSONL or Parquet, a folder saved by `datasets`, or a hub name.

    The column names are those of the paper's published data: ``{img_path, prompt, chosen, rejected}``.
    """

    path: str = Field(description="a .json, .jsonl or .parquet file, a folder of `datasets`, or a name on the hub")
    split: str = Field(default="train", description="the split, where the source has several")
    images: Path = Field(default=Path(), description="the folder that image paths start from, and may not leave")
    prompt: str = Field(default="prompt", description="the column of prompts")
    image: str | None = Field(
        default="img_path", description="the column of images: paths or embedded, one or a list; null: text only"
    )
    responses: dict[str, str] = Field(
        default={"chosen": "chosen", "rejected": "rejected"}, description="responses by name, and their columns"
    )
    columns: tuple[str, ...] = Field(default=(), description="numeric columns that terms ask for")
    id: str | None = Field(default=None, description="the column of row names; default: the row's number, from 1")

    def open(self) -> PairRows:
        from mdpo_readers.rows import PairRows

        table = self._table()
        if len(table) == 0:
            raise self._wrong("there are no rows")
        self._require_columns(table.column_names)
        return PairRows(self, table)

    def _require_columns(self, there: list[str]) -> None:
        named = [self.prompt, self.image, *self.responses.values(), *self.columns, self.id]
        missing = [column for column in named if column is not None and column not in there]
        found = []
        for column in missing:
            near = difflib.get_close_matches(column, there, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            found.append(Problem(self.path, "", f"there is no column '{column}'{hint}  (columns: {', '.join(there)})"))
        if found:
            raise DataError(found)

    def _table(self) -> Dataset:
        path = Path(self.path)
        if path.is_file():
            return self._from_file(path)
        if path.is_dir():
            return self._from_folder(path)
        if self.path.count("/") == 1 and not path.suffix and not path.parent.is_dir():
            return self._from_hub()
        there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, there, n=1)
        raise self._wrong("no such file" + (f"; did you mean '{path.parent / near[0]}'?" if near else ""))

    def _from_file(self, path: Path) -> Dataset:
        from datasets import load_dataset
        from datasets.exceptions import DatasetGenerationError

        if path.suffix not in _FORMATS:
            raise self._wrong(f"'{path.suffix}' is no format of pairs; {', '.join(_FORMATS)} are")
        if path.stat().st_size == 0:
            raise self._wrong("the file is empty")
        _without_bars()
        try:
            return load_dataset(_FORMATS[path.suffix], data_files=str(path), split="train")
        except DatasetGenerationError as error:
            raise self._wrong(f"cannot be read as {path.suffix[1:]}: {error.__cause__ or error}") from error
        except ValueError as error:
            # What `datasets` says of an empty list: no data in the only split.
            raise self._wrong(f"there are no rows ({error})") from error

    def _from_folder(self, path: Path) -> Dataset:
        from datasets import DatasetDict, load_from_disk

        try:
            table = load_from_disk(str(path))
        except FileNotFoundError as error:
            raise self._wrong("is a folder, but none that `datasets` saved with save_to_disk") from error
        if not isinstance(table, DatasetDict):
            return table
        if self.split not in table:
            raise self._wrong(f"there is no split '{self.split}'  (splits: {', '.join(table)})")
        return table[self.split]

    def _from_hub(self) -> Dataset:
        from datasets import load_dataset

        _without_bars()
        try:
            return load_dataset(self.path, split=self.split)
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise self._wrong(f"no such file, and not to be had from the hub ({reason}); give a local path") from error

    def _wrong(self, message: str) -> DataError:
        return DataError([Problem(self.path, "", message)])


def _without_bars() -> None:
    from datasets import disable_progress_bars

    # They would be drawn into the run's own.
    disable_progress_bars()
