"""What scoring costs: ``python -m benchmarks.scoring``.

Makes answers to all of AMBER (15,220, their nouns given) and of POPE (9,000), and captions for CHAIR (5,000), and
scores each by `mdpo score` in a process of its own on one core. Prints wall seconds, the start of the command included,
beside the seconds that they may take. AMBER's annotations are those of the tests; CHAIR needs NLTK's punkt_tab.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_SHIPPED = Path(__file__).parents[1] / "tests" / "data" / "benchmarks" / "amber"
_NUM_POPE, _NUM_CAPTIONS, _REFERENCES = 9000, 5000, 5
_OBJECTS = ["person", "car", "dog", "chair", "bottle", "cup", "dining table", "bird", "boat", "traffic light"]


class Job(NamedTuple):
    """Answers to score. ``most``: the seconds that it may take."""

    name: str
    num_answers: int
    most: float
    words: list[str]


def main() -> None:
    print(f"{'benchmark':<10} {'answers':>8} {'seconds':>8} {'at most':>8}")
    for make in (_amber, _pope, _chair):
        with tempfile.TemporaryDirectory() as folder:
            job = make(Path(folder), random.Random(17))
            print(f"{job.name:<10} {job.num_answers:>8,} {_seconds(job):>8.2f} {job.most:>8.0f}")


def _seconds(job: Job) -> float:
    core = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), sys.executable, "-m", "mdpo_core.cli", "score", job.name, *job.words]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - begin


def _amber(folder: Path, draw: random.Random) -> Job:
    rows = json.loads(gzip.decompress((_SHIPPED / "annotations.json.gz").read_bytes()))
    related = json.loads((_SHIPPED / "relation.json").read_text())
    _write(folder, "annotations.json", rows)
    for name in ("relation.json", "safe_words.txt"):
        (folder / name).write_bytes((_SHIPPED / name).read_bytes())
    pictures = [row for row in rows if row["type"] == "generative"]
    nouns = {row["id"]: draw.choices([*related, "image", *row["truth"] * 20], k=25) for row in pictures}
    answers = [{"id": row["id"], "response": draw.choice(["Yes", "No"])} for row in rows]
    table = [[*draw.sample(list(related), 2), round(draw.random(), 3)] for _ in range(5000)]
    words = ["--data", str(folder), "--answers", _write(folder, "answers.json", answers)]
    words += ["--nouns", _write(folder, "nouns.json", nouns)]
    words += ["--similarity", f"table:{_write(folder, 'table.json', _once(table))}"]
    return Job("amber", len(answers), 5, words)


def _once(table: list[list[object]]) -> list[list[object]]:
    """One row for each pair of words."""
    return list({frozenset(row[:2]): row for row in table}.values())


def _pope(folder: Path, draw: random.Random) -> Job:
    texts = [f"Is there a {name} in the image?" for name in _OBJECTS]
    labels = ["yes", "no"]
    questions = [
        {"question_id": n, "image": f"{n}.jpg", "text": draw.choice(texts), "label": draw.choice(labels)}
        for n in range(1, _NUM_POPE + 1)
    ]
    says = ["Yes, there is one.", "No, there is not.", "yes", "no"]
    answers = [{"question": row["text"], "answer": draw.choice(says)} for row in questions]
    asked, answered = _write(folder, "questions.json", questions), _write(folder, "answers.json", answers)
    return Job("pope", _NUM_POPE, 2, ["--questions", asked, "--answers", answered])


def _chair(folder: Path, draw: random.Random) -> Job:
    images = [{"id": n} for n in range(1, _NUM_CAPTIONS + 1)]
    categories = [{"id": n, "name": name} for n, name in enumerate(_OBJECTS, 1)]
    shown = [{"image_id": n["id"], "category_id": draw.randint(1, len(_OBJECTS))} for n in images for _ in range(7)]
    references = [{"image_id": n["id"], "caption": _sentence(draw)} for n in images for _ in range(_REFERENCES)]
    _write(folder, "instances_val2014.json", {"images": images, "annotations": shown, "categories": categories})
    _write(folder, "captions_val2014.json", {"images": images, "annotations": references})
    captions = [{"image_id": n["id"], "caption": " ".join(_sentence(draw) for _ in range(6))} for n in images]
    return Job("chair", len(captions), 20, ["--data", str(folder), "--answers", _write(folder, "a.json", captions)])


def _sentence(draw: random.Random) -> str:
    first, second = draw.sample(_OBJECTS, 2)
    return f"There is a {first} beside two old {second}s, which stand near the edge of a wide street."


def _write(folder: Path, name: str, content: object) -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


if __name__ == "__main__":
    main()
