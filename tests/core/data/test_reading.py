"""A reader that raises any error is named, with the source and the row, wherever its rows are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mdpo_readers.pairs import Pairs
from support.paths import LLAVA_MDPO

from mdpo_core import Block, DataError, Example, LazyRows, RowStream, load_recipe, register
from mdpo_core.data.encoding import BuildBatch
from mdpo_core.data.reading import read_data
from mdpo_core.data.sampler import MicroBatch
from mdpo_core.errors import fault_of_plugin
from mdpo_core.processes.world import ALONE
from mdpo_core.training.feed import feed_of

ROW = 3  # of the rows, counted from 0, which cannot be read


class Fragile(LazyRows):
    """Rows of which one raises an error, from a certain reading on."""

    def __init__(self, rows: LazyRows, sound: int) -> None:
        self._rows, self._sound = rows, sound

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int) -> Example:
        if number == ROW:
            self._sound -= 1
            if self._sound < 0:
                raise KeyError("picture")
        return self._rows[number]

    def place(self, number: int) -> str:
        return self._rows.place(number)


class Breaking(Pairs):
    """``sound``: how often the row can be read."""

    sound: int = 0

    def open(self) -> LazyRows:
        if self.sound < 0:
            raise KeyError("file")
        return Fragile(super().open(), self.sound)


class Dry(RowStream):
    """A stream that breaks after its first block."""

    def __init__(self, stream: RowStream, ends: bool) -> None:
        self._stream, self._ends = stream, ends

    def blocks(self, state: Mapping[str, Any] | None = None) -> Iterator[Block]:
        for block in self._stream.blocks(state):
            if block.number == 0:
                yield block
            elif self._ends:
                return
            else:
                raise KeyError("shard")


class Streaming(Pairs):
    """A reader whose stream breaks."""

    ends: bool = False

    def stream(self) -> RowStream:
        return Dry(super().stream(), self.ends)


@pytest.fixture
def broken(pairs: Path, photographs: Path, own_registry: None) -> dict[str, Any]:
    register("breaking", Breaking)
    register("streaming", Streaming)
    return {"reader": "breaking", "path": str(pairs), "images": str(photographs)}


def fault(changes: list[str], **sections: Any) -> str:
    """What `read_data` says of a recipe with these sections, with files named without their folders."""
    words = [*changes, *(f"{name}={json.dumps(value)}" for name, value in sections.items())]
    with pytest.raises(KeyError) as caught:
        read_data(load_recipe(LLAVA_MDPO, words))
    return str(fault_of_plugin(caught.value))


def test_an_error_in_a_row_names_file_and_row(small: list[str], broken: dict[str, Any], pairs: Path) -> None:
    said = fault(small, data=broken)
    assert said.startswith(f"{pairs} row 4 raised KeyError: 'picture' (test_reading.py:")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.long)])
def test_an_error_in_a_row_of_a_mixture_names_its_source(
    workers: int, small: list[str], broken: dict[str, Any], pairs: Path
) -> None:
    sources = {"boats": {**broken, "reader": "pairs"}, "cats": broken}
    said = fault([*small, f"train.workers={workers}"], data={"reader": "mixture", "sources": sources})
    assert said.startswith(f"cats: {pairs} row 4 raised KeyError: 'picture' (")


def test_an_error_when_a_source_is_opened_names_it(small: list[str], broken: dict[str, Any]) -> None:
    said = fault(small, data={"reader": "mixture", "sources": {"cats": {**broken, "sound": -1}}})
    assert said.startswith("the reader 'breaking' of the source 'cats' raised KeyError: 'file' (test_reading.py:")


def test_equal_ids_are_named_with_both_rows_and_a_remedy(small: list[str], pairs: Path, tmp_path: Path) -> None:
    rows = [{**row, "key": "same"} for row in json.loads(pairs.read_text())[:2]]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    source = {"reader": "pairs", "path": str(tmp_path / "rows.json"), "images": "IMAGES", "id": "key"}
    source["images"] = next(change for change in small if change.startswith("data.images=")).partition("=")[2]
    words = [change for change in small if not change.startswith("data.")]
    words += [f"data={json.dumps({'reader': 'mixture', 'sources': {'a': source}})}"]
    with pytest.raises(DataError) as caught:
        read_data(load_recipe(LLAVA_MDPO, words))
    where = f"a: {tmp_path / 'rows.json'} row"
    assert str(caught.value) == (
        f"{where} 2: {where} 1 also has the id 'a/same'; ids must differ: give one of the two another id"
    )


@pytest.mark.parametrize(("sound", "said"), [(0, " row 4"), (-1, "the reader 'breaking'")])
def test_an_error_in_validation_says_so(
    sound: int, said: str, small: list[str], broken: dict[str, Any], pairs: Path
) -> None:
    where = f"validation: {pairs}{said}" if sound == 0 else f"validation: {said}"
    assert fault(small, validation={**broken, "sound": sound}).startswith(f"{where} raised KeyError: ")


@pytest.mark.parametrize("check", ["all", "none"])
def test_an_error_when_a_checked_row_is_read_again_names_it(
    check: str, small: list[str], broken: dict[str, Any], pairs: Path
) -> None:
    sound = 1 if check == "all" else 0
    words = [*small, f"data={json.dumps({**broken, 'sound': sound, 'check': check})}", "reference=auto"]
    checked, builder = read_data(load_recipe(LLAVA_MDPO, words))
    with pytest.raises(KeyError) as caught:
        BuildBatch(builder, checked.valid_examples())(MicroBatch([0, ROW], 0))
    assert str(fault_of_plugin(caught.value)).startswith(f"{pairs} row 4 raised KeyError: 'picture'")


@pytest.mark.parametrize("ends", [True, False])
def test_a_stream_that_breaks_names_its_reader(
    ends: bool, small: list[str], broken: dict[str, Any], pairs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in json.loads(pairs.read_text())))
    more = {"reader": "streaming", "path": str(file), "streaming": True, "shuffle_buffer": 6, "ends": ends}
    words = [*small, f"data={json.dumps({**broken, **more})}", "train.max_steps=9", "reference=auto"]
    recipe = load_recipe(LLAVA_MDPO, words)
    checked, builder = read_data(recipe)
    feed = feed_of(recipe, checked, builder, ALONE, tmp_path / "quarantine.jsonl")
    with feed.steps(0) as steps, pytest.raises(Exception) as caught:  # looked at below
        list(steps)
    said = str(fault_of_plugin(caught.value) or caught.value)
    assert said.startswith(
        "the stream of the reader 'streaming' has ended; after the last row it must give the first one"
        if ends
        else "the reader 'streaming', which streams rows, raised KeyError: 'shard' (test_reading.py:"
    )
