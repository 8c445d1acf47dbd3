"""AMBER's files and the official cases for the tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mdpo_benchmarks.amber.benchmark import Amber

from mdpo_core import Answer, Score
from mdpo_core.cli import main
from support.paths import DATA

SHIPPED = DATA / "benchmarks" / "amber"
GENERATIVE: dict[str, Any] = json.loads((DATA / "benchmarks" / "amber_generative.json").read_text())
DISCRIMINATIVE: list[dict[str, Any]] = json.loads((DATA / "benchmarks" / "amber_discriminative.json").read_text())[
    "cases"
]


@cache
def annotations() -> list[dict[str, Any]]:
    """All 15,220 rows."""
    rows: list[dict[str, Any]] = json.loads(gzip.decompress((SHIPPED / "annotations.json.gz").read_bytes()))
    return rows


def folder(place: Path) -> Path:
    """A folder with AMBER's files in the official layout."""
    return small_folder(place, {row["id"] for row in annotations()})


def small_folder(place: Path, ids: Collection[int]) -> Path:
    """A folder with AMBER's files, of whose annotations there are only some."""
    place.mkdir()
    written(place, "annotations.json", [row for row in annotations() if row["id"] in ids])
    for name in ("relation.json", "safe_words.txt"):
        (place / name).write_bytes((SHIPPED / name).read_bytes())
    return place


def scored_at_once(place: Path, answers: Sequence[Mapping[str, Any]], **options: object) -> Score:
    """The score of answers with the files in a folder, without the command."""
    given = [Answer(f"row {row}", str(each["id"]), None, each["response"], each) for row, each in enumerate(answers, 1)]
    return Amber.model_validate({"data": place, **options}).score(given)


def scored(place: Path, data: Path, answers: object, **options: object) -> dict[str, Any]:
    """The result of `mdpo score amber`; an option that is neither text nor number is written to a file of its name."""
    words = ["score", "amber", "--data", str(data), "--out", str(place / "result.json")]
    words += ["--by-row", str(place / "rows.jsonl"), "--answers", str(written(place, "answers.json", answers))]
    for name, value in options.items():
        if name == "table":
            words += ["--similarity", f"table:{written(place, 'table.json', value)}"]
        else:
            word = str(value) if isinstance(value, (str, float, Path)) else str(written(place, f"{name}.json", value))
            words += [f"--{name.replace('_', '-')}", word]
    assert main(words) == 0
    result: dict[str, Any] = json.loads((place / "result.json").read_text())
    return result


def written(place: Path, name: str, content: object) -> Path:
    """The content as JSON in a file."""
    (place / name).write_text(json.dumps(content))
    return place / name
