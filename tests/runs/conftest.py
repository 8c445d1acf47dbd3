"""Data that several tests of whole runs train on."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import pytest

SIZES = [(90, 62), (40, 77), (64, 64), (30, 90), (120, 40), (50, 50), (77, 40), (62, 90)]


@pytest.fixture(scope="module")
def sizes(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Changes to eight pairs whose pictures all differ in size; every third row has none, one has two."""
    folder = tmp_path_factory.mktemp("sizes")
    picture = PIL.Image.open(sorted(photographs.iterdir())[0]).convert("RGB")
    rows = []
    for number, size in enumerate(SIZES):
        picture.resize(size).save(folder / f"{number}.png")
        images = [] if number % 3 == 2 else [f"{number}.png", "0.png"] if number == 4 else [f"{number}.png"]
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": "What is it?"}]
        messages = {"chosen": f"A temple, {number}.", "rejected": "A flower " * (1 + number % 3)}
        rows.append({"img_path": images, "prompt": [{"role": "user", "content": content}], **messages})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [f"data.path={folder / 'pairs.jsonl'}", f"data.images={folder}"]
