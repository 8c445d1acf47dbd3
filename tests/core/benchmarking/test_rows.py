"""The rows of answer files: spreadsheets like tables of text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdpo_core import DataError, read_rows

openpyxl = pytest.importorskip("openpyxl")
HEADER = ["index", "question", "answer", "prediction"]
ROWS = [[7, "Is there a cat?", "Yes", "Yes, it is."], [8.0, "How many?", 2, ""], [9, "And a dog?", "No", "=no\nand no"]]


def sheet(path: Path, rows: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            cell = book.active.cell(number, column, value or None)
            cell.data_type = "s" if isinstance(value, str) and value else cell.data_type  # text that begins with =
    book.save(path)
    return path


def test_a_spreadsheet_has_the_rows_of_a_table_of_text(tmp_path: Path) -> None:
    table = tmp_path / "answers.tsv"
    quoted = [
        ["\t".join(f'"{value:g}"' if isinstance(value, float) else f'"{value}"' for value in row)] for row in ROWS
    ]
    table.write_text("\n".join(["\t".join(HEADER), *(line for [line] in quoted)]))
    found = read_rows(sheet(tmp_path / "answers.xlsx", [HEADER, *ROWS, []]))
    assert [row.values for row in found] == [row.values for row in read_rows(table)]
    assert found[0].where == "answers.xlsx row 2"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("answers.xlsx", b"index\tquestion", "is not an .xlsx spreadsheet"),
        (
            "answers.xls",
            b"\xd0\xcf\x11\xe0",
            "spreadsheets of this old kind are not read; save it as .xlsx, or as .tsv",
        ),
        ("answers.xlsx", None, "the file '.*answers.xlsx' does not exist"),
    ],
)
def test_files_that_are_none_are_refused(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_rows(tmp_path / name)


def test_sheets_without_answers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file has no rows"):
        read_rows(sheet(tmp_path / "none.xlsx", [HEADER]))
    with pytest.raises(DataError, match="row 2: has a cell in a column without a name: 'more'"):
        read_rows(sheet(tmp_path / "more.xlsx", [["index", ""], [1, "more"]]))


def test_a_missing_library_is_said(tmp_path: Path) -> None:
    file = sheet(tmp_path / "answers.xlsx", [HEADER, *ROWS])
    program = (
        "import sys, importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'openpyxl' else find(name, *more)\n"
        "import mdpo_core.cli as cli\n"
        f"cli.main(['score', 'pope', '--questions', {str(file)!r}, '--answers', {str(file)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert (
        'needs openpyxl, which is not installed: pip install "mdpo[benchmarks]"; or save it as a table' in done.stderr
    )
