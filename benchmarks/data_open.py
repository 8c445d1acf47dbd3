"""What opening each kind of file costs: ``python -m benchmarks.data_open --rows 1000000``.

Makes rows of text and opens them, each kind in a process of its own: first without a cache, then again. ``jsonl``,
``csv`` and ``parquet`` have one pair a row; the rows of the other kinds are counted, since a row makes none, one or
several. Prints CPU seconds (user and system) and the most memory that the process held.

Measured with 1,000,000 rows on 2 cores while other programs took more than both (a load of 5 to 7), at first opening:
``vlfeedback`` (1.3 GB, 4.8 million pairs) 10.1 s CPU, 0.25 GB; ``arena`` 4.5 s, 0.49 GB; ``bpo`` 4.2 s, 0.22 GB;
``distilabel`` 3.3 s, 0.36 GB; ``argilla`` 2.4 s, 0.19 GB; ``ha_dpo`` 2.1 s, 0.21 GB; ``align_anything`` 1.7 s, 0.34 GB.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.data_check import _in_process

ASKED, GOOD, BAD = "What is on the water near pier {}?", "A small red boat with number {}.", "A grey whale."
_PART = 10_000  # rows of a Parquet file that are made together
ASPECTS = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
# Of each kind: the ending of its file, its reader, and that one's options.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jsonl": ("jsonl", "pairs", {"image": None}),
    "csv": ("csv", "pairs", {"image": None}),
    "parquet": ("parquet", "pairs", {"image": None}),
    "align_anything": ("parquet", "align_anything", {}),
    "arena": ("parquet", "arena", {}),
    "argilla": ("jsonl", "argilla", {}),
    "bpo": ("jsonl", "bpo", {}),
    "distilabel": ("parquet", "distilabel", {}),
    "ha_dpo": ("jsonl", "ha_dpo", {}),
    "vlfeedback": ("jsonl", "vlfeedback", {}),
}


def main(kinds: Iterable[str], num_rows: int, folder: Path, other_ending: str | None) -> None:
    os.environ["HF_HOME"] = str(folder / "hub")
    for kind in kinds:
        ending = other_ending or KINDS[kind][0]
        file = folder / f"{kind}.{ending}"
        if not file.exists():
            _in_process(_make, kind, file, num_rows)
        for time in ("first", "again"):
            cost = _in_process(_open, kind, file)
            name = f"{kind} {ending}"
            print(
                f"{name:<22} {time:<6} {cost.cpu:6.1f} s CPU, {cost.wall:6.1f} s, {cost.memory / 1e9:.2f} GB",
                flush=True,
            )


def _open(kind: str, file: Path) -> None:
    from mdpo_core import component

    _, reader, options = KINDS[kind]
    component("reader", reader, path=str(file), **options).open()  # type: ignore[attr-defined]


def _make(kind: str, file: Path, num_rows: int) -> None:
    rows = map(ROWS.get(kind, _plain), range(num_rows))
    if file.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        first = pyarrow.Table.from_pylist(list(itertools.islice(rows, _PART)))
        with parquet.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            while part := list(itertools.islice(rows, _PART)):
                writer.write_table(pyarrow.Table.from_pylist(part, first.schema))
        return
    with file.open("w", newline="") as text:
        if file.suffix == ".csv":
            first_row = next(rows)
            writer = csv.DictWriter(text, list(first_row))
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in (first_row, *rows))
        elif file.suffix == ".json":
            text.write("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
        else:
            text.writelines(json.dumps(row) + "\n" for row in rows)


def _cell(value: Any) -> Any:
    """A value as CSV has it."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _plain(number: int) -> dict[str, Any]:
    return {"prompt": ASKED.format(number), "chosen": GOOD.format(number), "rejected": BAD}


def _align_anything(number: int) -> dict[str, Any]:
    asked, good = ASKED.format(number), GOOD.format(number)
    return {"question": asked, "response_1": good, "response_2": BAD, "overall_response": number % 3}


def _arena(number: int) -> dict[str, Any]:
    """Every third row is a tie, and every fifth one has two questions, whose first answers differ."""
    asked, winner = ASKED.format(number), ("model_a", "model_b", "tie")[number % 3]
    row: dict[str, Any] = {"winner": winner}
    for model, answer in (("a", GOOD.format(number)), ("b", BAD)):
        turns = [("user", asked), ("assistant", answer)]
        row[f"conversation_{model}"] = [
            [{"role": role, "content": text}] for role, text in (turns * 2 if number % 5 == 0 else turns)
        ]
    return row


def _argilla(number: int) -> dict[str, Any]:
    """Every sixth row has as many votes for each answer."""
    votes = ["response_1"] * (number % 2 + 1) + ["response_2"] * (number % 3)
    row = {"prompt": ASKED.format(number), "response_1": GOOD.format(number), "response_2": BAD}
    return row | {"preference.responses": votes, "preference.responses.status": ["submitted"] * len(votes)}


def _bpo(number: int) -> dict[str, Any]:
    asked = {"from": "human", "value": f"<image>\n{ASKED.format(number)}"}
    answers = [(GOOD.format(number), 1.0, "gt"), (BAD, 0.0, "image_corrupt"), ("A red whale.", 0.0, "llm_corrupt")]
    named = [dict(zip(("response", "score", "type"), answer, strict=True)) for answer in answers]
    return {"image": f"coco/{number}.jpg", "conversations": [asked], "completions": named}


def _distilabel(number: int) -> dict[str, Any]:
    """Every fifth row makes no pair: its answers are rated alike."""
    ratings = [1.0, 1.0 if number % 5 == 0 else 5.0, None]
    return {
        "instruction": ASKED.format(number),
        "generations": [BAD, GOOD.format(number), "A boat."],
        "ratings": ratings,
    }


def _ha_dpo(number: int) -> dict[str, Any]:
    return {"image_id": number, "chosen": [GOOD.format(number), "A boat."], "rejected": [BAD, "Two whales."]}


def _vlfeedback(number: int) -> dict[str, Any]:
    answers = [_rated(number * place, GOOD.format(place)) for place in range(1, 5)]
    return {"prompt": ASKED.format(number), "img_path": None, "completions": answers}


def _rated(number: int, answer: str) -> dict[str, Any]:
    ratings = {
        aspect: {"Rating": str((number + place) % 5 + 1), "Rationale": "It names what is seen."}
        for place, aspect in enumerate(ASPECTS)
    }
    return {"model": "a", "response": answer, "annotations": ratings}


# The rows of a kind by their numbers; `_plain` for the others.
ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "align_anything": _align_anything,
    "arena": _arena,
    "argilla": _argilla,
    "bpo": _bpo,
    "distilabel": _distilabel,
    "ha_dpo": _ha_dpo,
    "vlfeedback": _vlfeedback,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the rows here, to use them again")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--ending", choices=("json", "jsonl", "csv", "parquet"), help="of all files, in place of theirs"
    )
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        main(options.kinds, options.rows, options.folder, options.ending)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.kinds, options.rows, Path(temporary), options.ending)
