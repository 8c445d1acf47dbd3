"""What CHAIR costs with annotations of the size of COCO 2014 (about 550 MB, made here).

    taskset -c 0 python benchmarks/scoring_coco.py

Scores 5,000 captions by `mdpo score`, and prints processor seconds, seconds and memory, the command included. Needs
NLTK's data punkt_tab.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_SCORE = [sys.executable, "-m", "mdpo_core.cli", "score"]
_CATEGORIES = ("person", "bicycle", "car", "bus", "train", "bench", "bird", "cat", "dog", "horse")
_WORDS = ("the", "small", "wooden", "stands", "near", "of", "with", "and", "street", *_CATEGORIES)
_PICTURES = {"train2014": 82_783, "val2014": 40_504}
_OBJECTS_A_PICTURE = 7
_CAPTIONS = 5_000


def main() -> None:
    """Print the table."""
    print("| score | processor seconds | seconds | memory (MB) |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        options = _chair(Path(place))
        print(f"| CHAIR, {_CAPTIONS:,} captions of 50 words | {' | '.join(_measured(options))} |")


def _measured(options: Sequence[str]) -> list[str]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*_SCORE, *options], check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return [f"{spent:.1f}", f"{seconds:.1f}", f"{after.ru_maxrss / 1e3:,.0f}"]


def _chair(place: Path) -> list[str]:
    rng = random.Random(0)
    for part, pictures in _PICTURES.items():
        first = list(_PICTURES).index(part)
        ids = range(1 + first, 1 + first + 7 * pictures, 7)
        _write_instances(place / f"instances_{part}.json", ids, rng)
        texts = [{"image_id": id, "caption": _sentence(rng, 10)} for id in ids for _ in range(5)]
        images = [{"id": id, "file_name": f"COCO_{part}_{id:012d}.jpg"} for id in ids]
        (place / f"captions_{part}.json").write_text(json.dumps({"images": images, "annotations": texts}))
    text = [" ".join(_sentence(rng, 10) for _ in range(5)) for _ in range(_CAPTIONS)]
    answers = [{"image_id": 2 + 7 * index, "caption": each} for index, each in enumerate(text)]
    (place / "captions.json").write_text(json.dumps(answers))
    return ["chair", "--answers", str(place / "captions.json"), "--data", str(place)]


def _write_instances(path: Path, ids: Sequence[int], rng: random.Random) -> None:
    outline = ",".join(f"{rng.random() * 640:.2f}" for _ in range(60))
    names = [{"id": number, "name": name} for number, name in enumerate(_CATEGORIES, 1)]
    with path.open("w") as file:
        file.write(f'{{"images":{json.dumps([{"id": id} for id in ids])},"annotations":[')
        for number, id in enumerate(id for id in ids for _ in range(_OBJECTS_A_PICTURE)):
            category = rng.randint(1, len(_CATEGORIES))
            head = f'{"," if number else ""}{{"segmentation":[[{outline}]],"area":{rng.random():.5f},"iscrowd":0'
            file.write(f'{head},"image_id":{id},"bbox":[1.0,2.0,3.0,4.0],"category_id":{category},"id":{number}}}')
        file.write(f'],"categories":{json.dumps(names)}}}')


def _sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words)).capitalize() + "."


if __name__ == "__main__":
    main()
