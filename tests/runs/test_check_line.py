"""The last line of `mdpo check --data` says what was not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import LLAVA_MDPO

from mdpo_core.cli import main


def line(changes: list[str], data: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    changes = [each for each in changes if not each.startswith("data.")] + [
        f"data={json.dumps({**data, 'hold_out': None})}"
    ]
    capsys.readouterr()
    assert main(["check", str(LLAVA_MDPO), "--data", *(word for each in changes for word in ("--set", each))]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_rows_that_are_left_for_later_are_told(
    small: list[str], pairs: Path, photographs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = json.loads(pairs.read_text())
    rows[7]["img_path"] = "gone.png"
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    data = {"reader": "pairs", "path": str(tmp_path / "rows.json"), "images": str(photographs), "check": "none"}
    words = "looked only at some of these rows; the others are checked when they are met, or here with --set data.check"
    assert line(small, data, capsys).endswith(f"0 in quarantine (data.check: none {words}=all)")
    assert f"(data.check: 0.2 {words}=all)" in line(small, {**data, "path": str(pairs), "check": 0.2}, capsys)
    assert line(small, {**data, "path": str(pairs), "check": "all"}, capsys).endswith("10 rows, 0 in quarantine")


@pytest.mark.parametrize("mixed", [False, True])
def test_stored_rows_without_a_pair_are_counted(
    mixed: bool, small: list[str], pairs: Path, photographs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = json.loads(pairs.read_text())[0]["img_path"]
    rows = [
        {
            "prompt": "What?",
            "img_path": picture,
            "completions": [
                {"response": f"{name} {number}", "annotations": {"Help": {"Rating": rating}}}
                for name, rating in (("A", "3"), ("B", other))
            ],
        }
        for number, other in enumerate(["1", "3", "5", "N/A"])
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"reader": "vlfeedback", "path": str(tmp_path / "rows.jsonl"), "images": str(photographs)}
    if mixed:
        data = {"reader": "mixture", "sources": {"a": {**data, "times": 2}}}  # type: ignore[dict-item]
    found = line([*small, "model.prompts=chat"], data, capsys)
    assert found.endswith(f"{4 if mixed else 2} rows, 0 in quarantine; 2 stored rows made no pair")
