"""COCO's files of annotations and answers about its pictures, as the official scripts read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mdpo_core.cli import main
from support.paths import DATA
from support.small_nltk import small_nltk

CHAIR: dict[str, Any] = json.loads((DATA / "benchmarks" / "chair.json").read_text())
OBJECT_HALBENCH: dict[str, Any] = json.loads((DATA / "benchmarks" / "objhal.json").read_text())


def official(folder: Path) -> Path:
    """The folder of annotations of the official cases."""
    for name, content in CHAIR["annotations"].items():
        written(folder, f"{name}.json", content)
    return folder


def tiny(folder: Path, captions: dict[int, str], instances: dict[int, list[int]]) -> Path:
    """Annotations of a few pictures: a caption and the categories of each, 1 for a person and 2 for a bus."""
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "bus"}]
    objects = [{"image_id": image, "category_id": each} for image, found in instances.items() for each in found]
    images = [{"id": image} for image in captions]
    texts = [{"image_id": image, "caption": text} for image, text in captions.items()]
    written(folder, "instances_val2014.json", {"images": images, "annotations": objects, "categories": categories})
    written(folder, "captions_val2014.json", {"images": images, "annotations": texts})
    return folder


def written(folder: Path, name: str, content: object) -> Path:
    """The content in a file of JSON, or of JSON lines."""
    folder.mkdir(exist_ok=True)
    lines = content if name.endswith(".jsonl") and isinstance(content, list) else [content]
    (folder / name).write_text("\n".join(map(json.dumps, lines)))
    return folder / name


def scored(place: Path, benchmark: str, *words: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of `mdpo score`, and what it found by row."""
    small_nltk()
    out, rows = place / "result.json", place / "rows.jsonl"
    assert main(["score", benchmark, *map(str, words), "--out", str(out), "--by-row", str(rows)]) == 0
    return json.loads(out.read_text()), [json.loads(line) for line in rows.read_text().splitlines()]
