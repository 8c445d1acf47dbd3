"""What opening each kind of file costs: ``python -m benchmarks.data_open --rows 1000000``.

Makes rows of text and opens them, each kind in a process of its own: first without a cache, then again. ``jsonl``,
``csv`` and ``parquet`` have one pair a row; the rows of ``align_anything`` (Parquet) and ``vlfeedback`` (JSON lines,
four answers, 1.5 KB) are counted, since a row makes none, one or several. Prints CPU seconds (user and system) and the
most memory that the process held.

Measured with 1,000,000 rows of ``vlfeedback`` (1.3 GB, 4.8 million pairs) on 2 cores: 8.7 s CPU, 0.31 GB, and up to
13.6 s CPU while other programs took all cores. Before pairs were counted many rows at once: 43.9 s CPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.data_check import _in_process

ASKED, GOOD, BAD = "What is on the water near pier {}?", "A small red boat with number {}.", "A grey whale."
ASPECTS = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
# Of each kind: the ending of its file, its reader, and that one's options.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jsonl": ("jsonl", "pairs", {"image": None}),
    "csv": ("csv", "pairs", {"image": None}),
    "parquet": ("parquet", "pairs", {"image": None}),
    "align_anything": ("parquet", "align_anything", {}),
    "vlfeedback": ("jsonl", "vlfeedback", {}),
}


def main(num_rows: int, folder: Path) -> None:
    os.environ["HF_HOME"] = str(folder / "hub")
    for kind, (ending, _, _) in KINDS.items():
        file = folder / f"{kind}.{ending}"
        if not file.exists():
            _in_process(_make, kind, file, num_rows)
        for time in ("first", "again"):
            cost = _in_process(_open, kind, file)
            print(f"{kind:<15} {time:<6} {cost.cpu:6.1f} s CPU, {cost.wall:6.1f} s, {cost.memory / 1e9:.2f} GB")


def _open(kind: str, file: Path) -> None:
    from mdpo_core import component

    _, reader, options = KINDS[kind]
    component("reader", reader, path=str(file), **options).open()  # type: ignore[attr-defined]


def _make(kind: str, file: Path, num_rows: int) -> None:
    rows = _rows(kind, num_rows)
    if file.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)
        return
    with file.open("w", newline="") as text:
        if file.suffix == ".csv":
            writer = csv.DictWriter(text, ("prompt", "chosen", "rejected"))
            writer.writeheader()
            writer.writerows(rows)
        else:
            text.writelines(json.dumps(row) + "\n" for row in rows)


def _rows(kind: str, num_rows: int) -> Iterator[dict[str, Any]]:
    for number in range(num_rows):
        asked, good = ASKED.format(number), GOOD.format(number)
        if kind == "align_anything":
            yield {"question": asked, "response_1": good, "response_2": BAD, "overall_response": number % 3}
        elif kind == "vlfeedback":
            answers = [_rated(number * place, GOOD.format(place)) for place in range(1, 5)]
            yield {"prompt": asked, "img_path": None, "completions": answers}
        else:
            yield {"prompt": asked, "chosen": good, "rejected": BAD}


def _rated(number: int, answer: str) -> dict[str, Any]:
    ratings = {
        aspect: {"Rating": str((number + place) % 5 + 1), "Rationale": "It names what is seen."}
        for place, aspect in enumerate(ASPECTS)
    }
    return {"model": "a", "response": answer, "annotations": ratings}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the rows here, to use them again")
    options = parser.parse_args()
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        main(options.rows, options.folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(options.rows, Path(temporary))
