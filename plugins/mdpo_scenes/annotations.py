"""Write held-out scenes as benchmarks do: ``python -m mdpo_scenes.annotations --out FOLDER``.

The folder gets ``images``; COCO's instances and captions with the questions for CHAIR; three files of questions in
POPE's format; and AMBER's own files in ``amber``. Repeated, it gives the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mdpo_scenes.pictures import Drawn, draw_picture
from mdpo_scenes.scenes import COLORS, KINDS, Scene, draw_scene
from mdpo_scenes.texts import DESCRIBE, Question, caption, color, existence, single_colors

NUM_SCENES, SEED = 200, 0
POPE_KINDS = ("random", "popular", "adversarial")
_HALLUCINATIONS = 3  # likely ones of each picture that AMBER looks for
# The files of AMBER that do not depend on the pictures.
_COUNTERS = ("chair", "safe_cover", "hallu_cover", "non_hallu", "qa_correct", "qa_no", "qa_ans_no")
_DIMENSIONS = ("as_", "an_", "aa_", "asso_", "ha_")

Rows = list[dict[str, Any]]


def held_out_scenes(number: int = NUM_SCENES, seed: int = SEED) -> list[Scene]:
    """Scenes that no pair shows: their seeds are others."""
    return [draw_scene(random.Random(f"benchmarks|{seed}|{index}")) for index in range(number)]


def write_annotations(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write pictures, annotations and questions."""
    drawn = [draw_picture(scene) for scene in scenes]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number, each in enumerate(drawn, 1):
        each.image.save(folder / "images" / image_name(number), optimize=True)
    _write_json(folder / "instances_scenes.json", _instances(scenes, drawn))
    _write_json(folder / "captions_scenes.json", _captions(scenes))
    _write_lines(folder / "chair_questions.json", _chair_questions(scenes))
    for kind in POPE_KINDS:
        _write_lines(folder / f"scenes_pope_{kind}.json", list(_pope(scenes, kind)))
    _write_amber(folder / "amber", scenes)


def image_name(number: int) -> str:
    """The file of a picture. ``number``: from 1."""
    return f"scene_{number:06d}.png"


def _images(scenes: Sequence[Scene]) -> Rows:
    return [{"id": number, "file_name": image_name(number)} for number in range(1, len(scenes) + 1)]


def _instances(scenes: Sequence[Scene], drawn: Sequence[Drawn]) -> dict[str, Any]:
    objects: Rows = []
    for number, (scene, picture) in enumerate(zip(scenes, drawn, strict=True), 1):
        for thing, (left, top, size) in zip(scene.things, picture.squares, strict=True):
            box = [round(value, 2) for value in (left, top, size, size)]
            category = KINDS.index(thing.kind) + 1
            objects.append(
                {"id": len(objects) + 1, "image_id": number, "category_id": category, "bbox": box, "iscrowd": 0}
            )
    categories = [{"id": number, "name": kind} for number, kind in enumerate(KINDS, 1)]
    return {"images": _images(scenes), "annotations": objects, "categories": categories}


def _captions(scenes: Sequence[Scene]) -> dict[str, Any]:
    texts = [
        {"id": number, "image_id": number, "caption": caption(scene.room, scene.kinds, 0)}
        for number, scene in enumerate(scenes, 1)
    ]
    return {"images": _images(scenes), "annotations": texts}


def _chair_questions(scenes: Sequence[Scene]) -> Rows:
    return [
        {"image_id": number, "image": image_name(number), "question": DESCRIBE} for number in range(1, len(scenes) + 1)
    ]


def _pope(scenes: Sequence[Scene], kind: str) -> Iterator[dict[str, Any]]:
    """Two questions on each picture: on a kind that is there, and on one that is not."""
    rng = random.Random(f"pope|{kind}")
    counts = {each: sum(each in scene.kinds for scene in scenes) for each in KINDS}
    row = 0
    for number, scene in enumerate(scenes, 1):
        for asked in (rng.choice(scene.kinds), _absent(scene, kind, counts, rng)):
            row += 1
            question = existence(scene, asked)
            label = "yes" if question.truth else "no"
            yield {"question_id": row, "image": image_name(number), "text": question.text, "label": label}


def _absent(scene: Scene, kind: str, counts: Mapping[str, int], rng: random.Random) -> str:
    """An absent kind: any; one of the five that are seen most; or one whose companion is there, if there is one."""
    absent = [each for each in KINDS if each not in scene.kinds]
    if kind == "popular":
        absent = sorted(absent, key=lambda each: -counts[each])[:5]
    elif kind == "adversarial":
        absent = list(scene.likely or scene.others)
    return rng.choice(absent)


def _write_amber(folder: Path, scenes: Sequence[Scene]) -> None:
    annotations, queries = Rows(), Rows()
    asked: list[tuple[int, str, dict[str, Any]]] = [
        (number, DESCRIBE, {"type": "generative", "truth": list(scene.kinds), "hallu": _hallucinations(scene)})
        for number, scene in enumerate(scenes, 1)
    ]
    for number, scene in enumerate(scenes, 1):
        for question in _amber_questions(scene, random.Random(f"amber|{number}")):
            kind = {"existence": "hallucination", "state": "attribute-state"}[question.dimension]
            truth = {"type": f"discriminative-{kind}", "truth": "yes" if question.truth else "no"}
            asked.append((number, question.text, truth))
    for id, (number, text, truth) in enumerate(asked, 1):
        annotations.append({"id": id, **truth})
        queries.append({"id": id, "image": image_name(number), "query": text})
    (folder / "query").mkdir(parents=True, exist_ok=True)
    _write_json(folder / "annotations.json", annotations)
    _write_json(folder / "query" / "query_all.json", queries)
    _write_json(folder / "relation.json", {kind: [] for kind in KINDS})
    (folder / "safe_words.txt").write_text("")
    names = [f"{before}{name}_{part}" for before, name, part in _counters()]
    starts = [f"{name}={0.001 if name.endswith('num') else 0}" for name in names]
    (folder / "metrics.txt").write_text("\n".join(starts) + "\n")


def _counters() -> Iterator[tuple[str, str, str]]:
    for before in ("", *_DIMENSIONS):
        for name in _COUNTERS if not before else _COUNTERS[4:]:
            yield from ((before, name, part) for part in ("score", "num"))


def _hallucinations(scene: Scene) -> list[str]:
    return list(dict.fromkeys((*scene.likely, *scene.others)))[:_HALLUCINATIONS]


def _amber_questions(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """On existence about two absent kinds, as all of AMBER's are; on the colour of one that is there, twice."""
    for kind in _hallucinations(scene)[:2]:
        yield existence(scene, kind)
    colored = single_colors(scene)
    if colored:
        kind = rng.choice(list(colored))
        for asked in (colored[kind], rng.choice([each for each in COLORS if each != colored[kind]])):
            yield color(scene, kind, asked)


def _write_json(file: Path, content: object) -> None:
    file.write_text(f"{json.dumps(content)}\n")


def _write_lines(file: Path, rows: Rows) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def main() -> None:
    """Write the files into ``--out``."""
    parser = argparse.ArgumentParser(description="Write held-out scenes as COCO, POPE and AMBER do.")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    write_annotations(parser.parse_args().out, held_out_scenes())


if __name__ == "__main__":
    main()
