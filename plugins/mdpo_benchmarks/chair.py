"""CHAIR: which objects does a caption name that are not in the picture?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from mdpo_benchmarks.coco.benchmark import CocoBenchmark
from mdpo_benchmarks.coco.captions import Description, Words, described
from mdpo_benchmarks.coco.normalizers import SINGULAR_FORMS, Normalizer, pattern_words, plain_words, tagged_lemmas
from mdpo_benchmarks.coco.vocabulary import SHIPPED_SYNONYMS, Vocabulary
from mdpo_benchmarks.nltk_parts import require_nltk
from mdpo_benchmarks.shares import share
from mdpo_core import Answer, AnswerNames, Score

_NORMALIZERS: dict[str, Callable[[], Normalizer]] = {
    "pattern": pattern_words,
    "wordnet": tagged_lemmas,
    "plain": plain_words,
}


class Chair(CocoBenchmark):
    """CHAIR on COCO (arXiv:1809.02156): the share of captions, and of mentions, with an object that is not there.

    Equal to chair.py of LisaAnne/Hallucination. Every mention counts, and the metrics lie between 0 and 1. ``words``:
    pattern makes words singular as the official script does; wordnet gives the numbers of those that use WordNet with
    parts of speech, as lmms-eval and OPERA do; plain is pattern without NLTK, for a machine that lacks its data.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="caption", id="image_id")
    words: Literal["pattern", "wordnet", "plain"] = Field(
        default="pattern", description="how words are found and made singular"
    )

    @property
    def variant(self) -> str:
        return f"word_normalizer: {self.words}"

    def check(self) -> None:
        super().check()
        if self.words != "plain":
            tags = ["averaged_perceptron_tagger_eng", "wordnet"] if self.words == "wordnet" else []
            require_nltk("CHAIR", "punkt_tab", *tags)

    def files(self) -> Sequence[Path]:
        table = [] if self.words == "wordnet" else [SINGULAR_FORMS]
        return [*self.annotations().files, self._synonyms(), *table]

    def score(self, answers: Sequence[Answer]) -> Score:
        words = Words(Vocabulary.of_chair(self._synonyms()), self._normalizer())
        found = [words.mentions(answer.response) for answer in answers]
        rows = [_row(each) for each in described(answers, self.images_of(answers), found, self.annotations(), words)]
        counts, metrics = _counts(rows), self.metrics_of(rows)
        none = "CHAIRi is 0: no caption names an object, so that it is 0 divided by 0"
        printed = "\t".join(f"{value * 100:.1f}" for value in metrics.values())
        return Score(metrics, counts, by_row=rows, warnings=[] if counts["mentions"] else [none], printed=printed)

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        counts = _counts(by_row)
        return {
            "CHAIRs": share(counts["hallucinated_captions"], counts["captions"]),
            "CHAIRi": share(counts["hallucinated_mentions"], counts["mentions"]),
        }

    def _synonyms(self) -> Path:
        return self.own("synonyms.txt") or SHIPPED_SYNONYMS

    def _normalizer(self) -> Normalizer:
        return _NORMALIZERS[self.words]()


def _counts(by_row: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "captions": len(by_row),
        "hallucinated_captions": sum(row["CHAIRs"] for row in by_row),
        "mentions": sum(len(row["generated"]) for row in by_row),
        "hallucinated_mentions": sum(len(row["hallucinated"]) for row in by_row),
    }


def _row(caption: Description) -> dict[str, Any]:
    return {
        **caption.row(),
        "gt_objects": sorted(caption.shown),
        "generated": [each.category for each in caption.found],
        "hallucinated": [[each.word, each.category] for each in caption.hallucinated],
    }
