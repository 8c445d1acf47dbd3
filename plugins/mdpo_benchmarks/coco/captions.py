"""Answers that describe pictures of COCO, and what they name that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_benchmarks.coco.annotations import Annotations
from mdpo_benchmarks.coco.normalizers import Normalizer
from mdpo_benchmarks.coco.vocabulary import Mention, Mentions, Vocabulary
from mdpo_core import Answer, DataError, Problem, Question, RecipeError, StoredRow, answers_in_order, read_rows

_ID = re.compile(r"(?:.*/)?(?:COCO_[a-z]+\d+_)?(\d+)(?:\.\w+)?")
_PICTURE = "COCO_val2014_{:012d}.jpg"


class Words(NamedTuple):
    """How the words of a caption are found, and which of them name objects."""

    vocabulary: Vocabulary
    normalize: Normalizer

    def mentions(self, caption: str) -> Mentions:
        """The objects that a caption names."""
        return self.vocabulary.mentions(self.normalize(caption))

    def categories_in(self, caption: str) -> set[str]:
        """The categories of the objects that a caption names."""
        return {each.category for each in self.mentions(caption).found}


class Description(NamedTuple):
    """A description of a picture: its words, the objects that it names, and those that the picture shows."""

    image: int
    text: str
    words: Sequence[str]
    found: Sequence[Mention]
    shown: Collection[str]

    @property
    def hallucinated(self) -> list[Mention]:
        """The objects that it names and the picture does not show."""
        return [each for each in self.found if each.category not in self.shown]

    def row(self) -> dict[str, Any]:
        """What was found, in the names of the official scripts."""
        wrong = self.hallucinated
        return {
            "image_id": self.image,
            "caption": self.text,
            "hallucination_idxs": [each.place for each in wrong],
            "words": list(self.words),
            "CHAIRs": int(bool(wrong)),
            "CHAIRi": len(wrong) / len(self.found) if self.found else 0.0,
        }


def described(
    answers: Sequence[Answer], images: Sequence[int], found: Sequence[Mentions], annotations: Annotations, words: Words
) -> list[Description]:
    """The answers with what they name and what their pictures show. Raises `DataError`."""
    shown = annotations.objects(set(images), words.vocabulary.categories, words.categories_in)
    return [
        Description(image, answer.response, each.words, each.found, shown[image])
        for image, answer, each in zip(images, answers, found, strict=True)
    ]


def image_ids(answers: Sequence[Answer], asked: Sequence[str] | None = None, file: str = "") -> list[int]:
    """The picture of each answer. ``asked``: the pictures of the questions in ``file``; each then needs one answer.

    Raises `DataError` if an answer has no picture, or if two have the same one.
    """
    images = [_image_of(answer) for answer in answers]
    if asked is not None:
        by_image = [answer._replace(id=str(image)) for answer, image in zip(answers, images, strict=True)]
        answers_in_order(by_image, asked, file)
    first: dict[int, Answer] = {}
    for answer, image in zip(answers, images, strict=True):
        if image in first:
            raise DataError(
                [Problem(answer.where, "", f"the picture {image} was answered in {first[image].where}, too")]
            )
        first[image] = answer
    return images


def _image_of(answer: Answer) -> int:
    """COCO's number of a picture, from a number or from the name of its file."""
    given = answer.values.get("image_id", answer.id)
    found = None if isinstance(given, bool) else _ID.fullmatch(str(given))
    if found is None:
        message = f"must have an image_id, COCO's number of the picture, found {str(given)[:40]!r}"
        raise DataError([Problem(answer.where, "", message)])
    return int(found[1])


def read_questions(path: Path) -> list[Question]:
    """Questions on pictures of COCO: rows with image_id and question, and the name of the picture as image.

    A picture without a name, or one that lies in the row itself, is that of COCO's validation part in 2014. Raises
    `DataError`.
    """
    return [_question(row) for row in read_rows(path)]


def _question(row: StoredRow) -> Question:
    missing = {"image_id", "question"} - row.values.keys()
    if missing:
        raise DataError([Problem(row.where, "", f"is no question on a picture of COCO: it lacks {', '.join(missing)}")])
    image = int(row.values["image_id"])
    name = str(row.values.get("image", ""))
    return Question(str(image), (name if "." in name else _PICTURE.format(image),), str(row.values["question"]))


def read_img_to_eval(path: Path, response: str) -> list[Answer] | None:
    """The answers in a file of COCO's caption evaluation, an object with imgToEval; None for another file."""
    if path.suffix != ".json" or not path.is_file():
        return None
    content = path.read_bytes()
    if not content.lstrip().startswith(b"{") or b'"imgToEval"' not in content:
        return None
    try:
        rows = json.loads(content)["imgToEval"]
        answers = [_answer(path, str(name), row, response) for name, row in rows.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"imgToEval must hold image_id and {response} of each picture ({type(error).__name__}: {error})"
        raise DataError([Problem(path.name, "", message)]) from error
    if not answers:
        raise RecipeError(f"{path.name}: imgToEval has no answers")
    return answers


def _answer(path: Path, name: str, row: Mapping[str, Any], response: str) -> Answer:
    text = row[response]
    if not isinstance(text, str):
        raise TypeError(f"the {response} of {name} is no text")
    return Answer(f"{path.name} {name}", str(row["image_id"]), None, text, row)
