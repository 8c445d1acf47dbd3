"""The benchmark `object_halbench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mdpo_benchmarks.coco.benchmark import CocoBenchmark
from mdpo_benchmarks.coco.captions import Words, described
from mdpo_benchmarks.coco.normalizers import noun_lemmas
from mdpo_benchmarks.coco.vocabulary import SHIPPED_SYNONYMS, Mentions, Vocabulary
from mdpo_benchmarks.nltk_parts import require_nltk
from mdpo_benchmarks.object_halbench.metrics import metrics_of, score_of, with_judge
from mdpo_benchmarks.object_halbench.parsing import Parser, objects_named, spacy_parser, stored_parser
from mdpo_benchmarks.object_halbench.replies import Extracted, extracted, is_asked_about, read_replies
from mdpo_core import (
    Answer,
    AnswerNames,
    DataError,
    RecipeError,
    Score,
    read_rows,
)

_SPACY = "en_core_web_trf"
_WORDS = "synonyms_refine.txt"


class ObjectHalBench(CocoBenchmark):
    """Object HalBench (arXiv:2312.00849): objects in detailed descriptions of pictures that COCO has annotated.

    Equal to eval_gpt_obj_halbench.py of RLHF-V and RLAIF-V. Papers mostly report CHAIRs_refine, the share among the
    answers that name an object of COCO, and CHAIRi. A judge lists the objects of an answer, spaCy finds their words.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="text", id="image_id", prompt="prompt")
    judge_replies: Path | None = Field(default=None, description="saved replies: a JSON list, per answer a list")
    fenced_replies: bool = Field(default=False, description="also read replies in blocks of Markdown")
    objects: Path | None = Field(default=None, description="parsed objects as JSON, in place of spaCy's parse")
    spacy_model: str = Field(default=_SPACY, description="spaCy's model, which finds the words of an object")
    no_judge: bool = Field(default=False, description="take all words of an answer, by their lemmas in WordNet")

    @property
    def variant(self) -> str:
        """The official script's way, or the options by which this one differs; it has the one without a judge, too."""
        if self.no_judge:
            return "no judge"
        changes = {
            "objects of a file": self.objects is not None,
            f"spacy_model: {self.spacy_model}": self.objects is None and self.spacy_model != _SPACY,
            "fenced replies": self.fenced_replies,
        }
        return ", ".join(name for name, chosen in changes.items() if chosen) or "official"

    def check(self) -> None:
        self._check_options()
        super().check()
        require_nltk("Object HalBench", "punkt_tab", "wordnet")
        if not self.no_judge:
            self._parser()

    def files(self) -> Sequence[Path]:
        saved = [path for path in (self.judge_replies, self.objects) if path is not None]
        return [*self.annotations().files, self.own(_WORDS) or SHIPPED_SYNONYMS, *saved]

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        """Answers of COCO's caption evaluation, and those that call the text answer."""
        found = super().read_answers(path)
        if found is not None or not path.is_file():
            return found
        rows = read_rows(path)
        if not all(row.values.keys() >= {"image_id", "question", "answer"} for row in rows):
            return None
        return [
            Answer(row.where, str(row.values["image_id"]), row.values["question"], row.values["answer"], row.values)
            for row in rows
        ]

    def score(self, answers: Sequence[Answer]) -> Score:
        answers = [answer._replace(response=_text_of(answer)) for answer in answers]
        words = Words(Vocabulary.of_object_halbench(self.own(_WORDS)), noun_lemmas())
        images = self.images_of(answers)
        judged = [] if self.no_judge else self._judged(answers)
        if self.no_judge:
            found = [words.mentions(answer.response) for answer in answers]
        else:
            found = [self._mentions(each, words.vocabulary) for each in judged]
        score = score_of(described(answers, images, found, self.annotations(), words))
        return score if self.no_judge else with_judge(score, judged)

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return metrics_of(by_row)

    def _mentions(self, judged: Extracted, vocabulary: Vocabulary) -> Mentions:
        """What a judge's objects name. Pairs were joined within each object."""
        names = objects_named(judged.objects, self._parser(), vocabulary)
        return Mentions(names, vocabulary.found(names, range(len(names))))

    def _judged(self, answers: Sequence[Answer]) -> list[Extracted]:
        path = self.required("judge_replies", "what a judge replied, per answer a list")
        replies = read_replies(path)
        if len(replies) != len(answers):
            raise DataError(
                f"{path.name} has replies about {len(replies):,} answers, and there are {len(answers):,}; "
                "it needs a list for each, in their order, an empty one for an answer that was not judged"
            )
        return [
            extracted(answer, said, self.fenced_replies) if is_asked_about(answer.response) else Extracted(())
            for answer, said in zip(answers, replies, strict=True)
        ]

    def _check_options(self) -> None:
        if self.no_judge:
            given = [name for name in ("judge_replies", "objects") if getattr(self, name) is not None]
            if given:
                raise RecipeError(f"--no-judge does not use --{given[0].replace('_', '-')}; leave one of them out")
        elif self.judge_replies is None:
            raise RecipeError(
                "the benchmark 'object_halbench' needs --judge-replies FILE, what a judge replied about each answer, "
                "or --no-judge, which takes all words of an answer and gives other numbers"
            )

    def _parser(self) -> Parser:
        """Both are made once: by `functools.cache`."""
        return spacy_parser(self.spacy_model) if self.objects is None else stored_parser(self.objects)


def _text_of(answer: Answer) -> str:
    """An answer without the name of the speaker, which some models write."""
    return answer.response.replace("Assistant:", "").strip()
