"""What benchmarks on pictures of COCO have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from pydantic import PrivateAttr

from mdpo_benchmarks.coco.annotations import Annotations
from mdpo_benchmarks.coco.captions import image_ids, read_img_to_eval, read_questions
from mdpo_core import Answer, Benchmark, Question

_FOLDER = "the folder with COCO's annotations: instances_*.json and captions_*.json"


class CocoBenchmark(Benchmark):
    """Descriptions of pictures that COCO has annotated."""

    _asks_only: frozenset[str] | None = PrivateAttr(None)

    def read_questions(self) -> Sequence[Question]:
        file = self.required("questions", "rows with image_id and question, such as obj_halbench_300_with_image.jsonl")
        return [each for each in read_questions(file) if self._asks_only is None or each.id in self._asks_only]

    def of_questions(self, ids: Collection[str]) -> Self:
        part = self.model_copy()
        part._asks_only = frozenset(ids)
        return part

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        return read_img_to_eval(path, "caption")

    def images_of(self, answers: Sequence[Answer]) -> list[int]:
        """The picture of each answer, each once; of all questions if their file is given. Raises `DataError`."""
        if self.questions is None:
            return image_ids(answers)
        return image_ids(answers, [each.id for each in self.read_questions()], self.questions.name)

    def annotations(self) -> Annotations:
        """The annotations of the folder. Raises `RecipeError` if a file is missing."""
        return Annotations.within(self.required("data", _FOLDER))

    def own(self, name: str) -> Path | None:
        """A file of the folder; None if it has none of this name."""
        file = self.required("data", _FOLDER) / name
        return file if file.is_file() else None
