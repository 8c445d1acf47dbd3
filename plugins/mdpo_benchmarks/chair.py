"""CHAIR: which objects does a caption name that are not in the picture?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mdpo_benchmarks.coco.annotations import Annotations
from mdpo_benchmarks.coco.captions import Description, Words, described, image_ids, read_img_to_eval, read_questions
from mdpo_benchmarks.coco.normalizers import SINGULAR_FORMS, Normalizer, pattern_words, tagged_lemmas
from mdpo_benchmarks.coco.vocabulary import SHIPPED_SYNONYMS, Vocabulary
from mdpo_benchmarks.nltk_parts import require_nltk
from mdpo_benchmarks.shares import share
from mdpo_core import Answer, AnswerNames, Benchmark, Question, Score


class Chair(Benchmark):
    """CHAIR on COCO (arXiv:1809.02156): the share of captions, and of mentions, with an object that is not there.

    Equal to chair.py of LisaAnne/Hallucination. Every mention counts, and the metrics lie between 0 and 1. ``words``:
    pattern makes words singular as the official script does; wordnet gives the numbers of those that use WordNet with
    parts of speech, as lmms-eval and OPERA do.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="caption", id="image_id")
    words: Literal["pattern", "wordnet"] = Field(default="pattern", description="how words are made singular")

    @property
    def variant(self) -> str:
        return f"word_normalizer: {self.words}"

    def check(self) -> None:
        super().check()
        tags = ["averaged_perceptron_tagger_eng", "wordnet"] if self.words == "wordnet" else []
        require_nltk("CHAIR", "punkt_tab", *tags)

    def files(self) -> Sequence[Path]:
        table = [SINGULAR_FORMS] if self.words == "pattern" else []
        return [*self._annotations().files, self._synonyms(), *table]

    def read_questions(self) -> Sequence[Question]:
        return read_questions(self.required("questions", "rows with image_id, question and image"))

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        return read_img_to_eval(path, "caption")

    def score(self, answers: Sequence[Answer]) -> Score:
        words = Words(Vocabulary.of_chair(self._synonyms()), self._normalizer())
        images = image_ids(answers, self.questions)
        found = [words.mentions(answer.response) for answer in answers]
        return score_of(described(answers, images, found, self._annotations(), words))

    def _annotations(self) -> Annotations:
        return Annotations.within(self.required("data", "the folder with COCO's annotations"))

    def _synonyms(self) -> Path:
        own = self.required("data", "the folder with COCO's annotations") / "synonyms.txt"
        return own if own.is_file() else SHIPPED_SYNONYMS

    def _normalizer(self) -> Normalizer:
        return pattern_words() if self.words == "pattern" else tagged_lemmas()


def score_of(captions: Sequence[Description]) -> Score:
    """CHAIR of captions: both of its shares, and what was found in each caption."""
    wrong = [each.hallucinated for each in captions]
    counts = {
        "captions": len(captions),
        "hallucinated_captions": sum(map(bool, wrong)),
        "mentions": sum(len(each.found) for each in captions),
        "hallucinated_mentions": sum(map(len, wrong)),
    }
    metrics = {
        "CHAIRs": share(counts["hallucinated_captions"], counts["captions"]),
        "CHAIRi": share(counts["hallucinated_mentions"], counts["mentions"]),
    }
    warnings = [] if counts["mentions"] else ["CHAIRi is 0: no caption names an object, so that it is 0 divided by 0"]
    printed = "\t".join(f"{value * 100:.1f}" for value in metrics.values())
    rows = [_row(each) for each in captions]
    return Score(metrics, counts, by_row=rows, warnings=warnings, printed=printed)


def _row(caption: Description) -> dict[str, object]:
    return {
        **caption.row(),
        "gt_objects": sorted(caption.shown),
        "generated": [each.category for each in caption.found],
        "hallucinated": [[each.word, each.category] for each in caption.hallucinated],
    }
