"""POPE, against the numbers of its official script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import DATA

from mdpo_core.cli import main

OFFICIAL = json.loads((DATA / "benchmarks" / "pope.json").read_text())["cases"]


def written(folder: Path, case: dict[str, Any]) -> list[str]:
    """The questions and the answers of a case in the official layout, as words of the command line."""
    questions, answers = folder / "questions.json", folder / "answers.json"
    keys = ("question_id", "image", "text", "label")
    questions.write_text("\n".join(json.dumps({key: row[key] for key in keys}) for row in case["items"]))
    rows = [{"question": row["text"], "answer": row["answer"]} for row in case["items"]]
    answers.write_text("\n".join(map(json.dumps, rows)))
    return ["score", "pope", "--answers", str(answers), "--questions", str(questions)]


@pytest.mark.parametrize("case", OFFICIAL, ids=lambda case: case["name"])
def test_numbers_are_those_of_the_official_script(case: dict[str, Any], tmp_path: Path) -> None:
    out, rows = tmp_path / "result.json", tmp_path / "rows.jsonl"
    assert main([*written(tmp_path, case), "--out", str(out), "--by-row", str(rows)]) == 0
    result, expected = json.loads(out.read_text()), case["expected"]
    for name in ("accuracy", "precision", "recall", "f1", "yes_ratio"):
        assert result["metrics"][name] == pytest.approx(expected.get(name, 0), abs=1e-9)
    said = [json.loads(line)["said"] for line in rows.read_text().splitlines()]
    assert said == ["yes" if guess else "no" for guess in expected["preds"]]
