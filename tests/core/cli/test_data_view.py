"""`mdpo data`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import DATA

from mdpo_core import load_recipe
from mdpo_core.cli import main

FORMATS = DATA / "formats"


def test_a_known_format_is_named_with_its_line_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    path = FORMATS / "rlaif_v" / "part-000.parquet"
    assert main(["data", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"data: {{reader: rlaif_v, path: {path}}}"
    assert lines[1].startswith("  2 rows with the columns ds_name, image, question")
    assert "    question: What is on the water?" in lines
    assert max(map(len, lines[2:])) <= 100


def test_columns_of_no_known_format_are_to_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"q": "A?", "good": "B", "rejected": "C"}))
    assert main(["data", str(file)]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    fields = "prompt: COLUMN, image: COLUMN, responses: {chosen: COLUMN}"
    assert line == f"data: {{reader: pairs, path: {file}, {fields}}}"


def test_a_recipe_is_written_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, recipe = FORMATS / "vlfeedback" / "vlfeedback.jsonl", tmp_path / "mine.yaml"
    assert main(["data", str(path), "--recipe", str(recipe)]) == 0
    assert f"{recipe}: a recipe with this line" in capsys.readouterr().out
    loaded = load_recipe(recipe)
    assert loaded.data.component_name() == "vlfeedback"
    assert main(["data", str(path), "--recipe", str(recipe)]) == 2
    assert "exists already; name a new file" in capsys.readouterr().err


def test_the_line_is_yaml_for_every_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a, b: {c} #d.jsonl"
    file.write_text(json.dumps({"img_path": None, "prompt": "A?", "chosen": "B", "rejected": "C"}))
    assert main(["data", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"data: {{reader: pairs, path: {json.dumps(str(file))}}}"


@pytest.mark.parametrize("name", ["absent.jsonl", "*.jsonl", ""])
def test_data_that_is_not_there_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(tmp_path / name) if name else ""]) == 2
    assert capsys.readouterr().err.count("\n") == 1
