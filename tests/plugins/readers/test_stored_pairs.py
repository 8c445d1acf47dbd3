"""Columns that the reader does not use: `relabel` writes them again as they are stored."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from support.data_commands import lines, recipe_of
from support.pairs import PROMPT

from mdpo_core import DataError
from mdpo_core.make_data.job import NewPairs
from mdpo_core.make_data.relabel import Relabeling, relabel

STRUCT = pyarrow.struct([("tag", pyarrow.string()), ("score", pyarrow.float32())])
DATES = pyarrow.struct([("day", pyarrow.date32()), ("at", pyarrow.time32("s")), ("when", pyarrow.timestamp("ms"))])
NESTED: dict[str, tuple[pyarrow.DataType, list[Any]]] = {
    "struct": (STRUCT, [{"tag": "é", "score": 0.5}, {"tag": None, "score": None}, None]),
    "list of struct": (pyarrow.list_(STRUCT), [[{"tag": "x", "score": 1.0}, {"tag": "y", "score": None}], [], None]),
    "large list of struct": (pyarrow.large_list(STRUCT), [[{"tag": "x", "score": 1.0}], [], None]),
    "struct of list of struct": (
        pyarrow.struct([("turns", pyarrow.list_(STRUCT)), ("of", STRUCT)]),
        [{"turns": [{"tag": "x", "score": 2.0}], "of": {"tag": "z", "score": 0.25}}, {"turns": None, "of": None}, None],
    ),
    "list of list": (pyarrow.list_(pyarrow.list_(pyarrow.int64())), [[[1, 2], []], [[3]], []]),
}


def relabeled(changes: list[str], folder: Path, kind: pyarrow.DataType, values: list[Any]) -> NewPairs:
    """The rows of a Parquet file with these values in the column ``meta``, relabeled to ``out.jsonl``."""
    number = len(values)
    columns = {
        "name": [f"row-{row}" for row in range(number)],
        "prompt": [PROMPT] * number,
        "img_path": ["00.jpg"] * number,
        "answers": [["worse", "better"]] * number,
        "points": [[1.0, 2.0]] * number,
        "meta": pyarrow.array(values, kind),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "source.parquet")
    recipe = recipe_of(changes, folder / "source.parquet", "data.responses={}")
    made = relabel(recipe, folder / "out.jsonl", Relabeling("answers", "points"))
    assert made is not None
    return made


@pytest.mark.parametrize("name", NESTED)
def test_relabel_keeps_nested_columns_of_parquet(name: str, changes: list[str], tmp_path: Path) -> None:
    made = relabeled(changes, tmp_path, *NESTED[name])
    assert [row["meta"] for row in lines(tmp_path / "out.jsonl")] == NESTED[name][1]
    assert [example.responses for example in made.reader.open()] == [{"chosen": "better", "rejected": "worse"}] * 3


def test_relabel_writes_nested_dates_as_text(changes: list[str], tmp_path: Path) -> None:
    stored = {"day": date(2024, 2, 29), "at": time(1, 2, 3), "when": datetime(2024, 2, 29, 1, 2, 3)}
    relabeled(changes, tmp_path, pyarrow.list_(DATES), [[stored]])
    [row] = lines(tmp_path / "out.jsonl")
    assert row["meta"] == [{"day": "2024-02-29", "at": "01:02:03", "when": "2024-02-29T01:02:03"}]


def test_relabel_writes_a_nested_nan_as_null(changes: list[str], tmp_path: Path) -> None:
    relabeled(changes, tmp_path, pyarrow.list_(STRUCT), [[{"tag": "x", "score": float("nan")}]])
    assert '"meta": [{"tag": "x", "score": null}]' in (tmp_path / "out.jsonl").read_text()


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (pyarrow.binary(), b"\x89PNG", "contains a value of type bytes, which JSON does not have; drop the column"),
        (pyarrow.decimal128(5, 2), Decimal("1.25"), "contains a value of type Decimal, which JSON"),
        (pyarrow.float64(), float("inf"), "must be a finite number, since JSON has no other, found inf"),
    ],
)
def test_a_nested_value_that_json_lacks_is_named(
    kind: pyarrow.DataType, value: Any, said: str, changes: list[str], tmp_path: Path
) -> None:
    column = pyarrow.list_(pyarrow.struct([("deep", kind)]))
    with pytest.raises(DataError) as caught:
        relabeled(changes, tmp_path, column, [[], [{"deep": value}]])
    assert str(caught.value).startswith(f"{tmp_path / 'source.parquet'} row 2: meta: ")
    assert said in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()
