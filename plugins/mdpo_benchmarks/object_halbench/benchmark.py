"""The benchmark `object_halbench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from mdpo_benchmarks.coco.benchmark import CocoBenchmark
from mdpo_benchmarks.coco.captions import Words, described
from mdpo_benchmarks.coco.normalizers import noun_lemmas
from mdpo_benchmarks.coco.vocabulary import SHIPPED_SYNONYMS, Mentions, Vocabulary
from mdpo_benchmarks.judging.judged import Judged
from mdpo_benchmarks.judging.saved import require_model
from mdpo_benchmarks.judging.template import JudgeTemplate
from mdpo_benchmarks.nltk_parts import require_nltk
from mdpo_benchmarks.object_halbench.metrics import metrics_of, score_of, with_judge
from mdpo_benchmarks.object_halbench.parsing import Parser, objects_named, spacy_parser, stored_parser
from mdpo_benchmarks.object_halbench.replies import Extracted, can_be_read, extracted, is_asked_about, read_replies
from mdpo_core import (
    Answer,
    AnswerNames,
    ChatReply,
    DataError,
    Problem,
    RecipeError,
    Score,
    read_rows,
)

_SPACY = "en_core_web_trf"
_WORDS = "synonyms_refine.txt"


class ObjectHalBench(CocoBenchmark, Judged):
    """Object HalBench (arXiv:2312.00849): objects in detailed descriptions of pictures that COCO has annotated.

    Equal to eval_gpt_obj_halbench.py of RLHF-V and RLAIF-V. Papers mostly report CHAIRs_refine, the share among the
    answers that name an object of COCO, and CHAIRi. A judge lists the objects of an answer, spaCy finds their words.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="text", id="image_id", prompt="prompt")
    official_judge: ClassVar[str] = "gpt-3.5-turbo-0613"
    judge_role: ClassVar[str] = "system"
    judge_parameters: ClassVar[Mapping[str, Any]] = {
        "temperature": 0.2,
        "top_p": 1,
        "max_tokens": 512,
        "presence_penalty": 0,
        "frequency_penalty": 0,
    }
    official_template: ClassVar[str] = "9d732f9b73a3cc965bee6eb163b8e5248e58bd9d382eb583e9ece59933e2b580"
    judge_replies: Path | None = Field(default=None, description="saved replies: a JSON list, per answer a list")
    judge_tries: int = Field(default=10, ge=1, le=100, description="times to ask until a reply is a JSON list")
    fenced_replies: bool = Field(default=False, description="also read replies in blocks of Markdown")
    objects: Path | None = Field(default=None, description="parsed objects as JSON, in place of spaCy's parse")
    spacy_model: str = Field(default=_SPACY, description="spaCy's model, which finds the words of an object")
    no_judge: bool = Field(default=False, description="take all words of an answer, by their lemmas in WordNet")

    def deviations(self) -> list[str]:
        """The official script has the way without a judge, too; its numbers are others."""
        if self.no_judge:
            return ["no judge"]
        changes = {
            "objects of a file": self.objects is not None,
            f"spacy_model={self.spacy_model}": self.objects is None and self.spacy_model != _SPACY,
            "fenced_replies": self.fenced_replies,
        }
        return [*super().deviations(), *(name for name, chosen in changes.items() if chosen)]

    def check(self) -> None:
        self._check_options()
        super().check()
        require_nltk("Object HalBench", "punkt_tab", "wordnet")
        if not self.no_judge:
            self._parser()

    def files(self) -> Sequence[Path]:
        saved = [path for path in (self.judge_replies, self.objects) if path is not None]
        return [*super().files(), *self.annotations().files, self.own(_WORDS) or SHIPPED_SYNONYMS, *saved]

    def read_answers(self, path: Path) -> Sequence[Answer] | None:
        """Answers of COCO's caption evaluation, and those that call the text answer."""
        found = super().read_answers(path)
        if found is not None or not path.is_file():
            return found
        rows = read_rows(path)
        if not all(
            row.values.keys() >= {"image_id", "question"} and isinstance(row.values.get("answer"), str) for row in rows
        ):
            return None
        return [
            Answer(row.where, str(row.values["image_id"]), row.values["question"], row.values["answer"], row.values)
            for row in rows
        ]

    def score(self, answers: Sequence[Answer]) -> Score:
        answers = [answer._replace(response=_text_of(answer)) for answer in answers]
        words = Words(Vocabulary.of_object_halbench(self.own(_WORDS)), noun_lemmas())
        images = self.images_of(answers)
        if self.no_judge:
            found = [words.mentions(answer.response) for answer in answers]
            return score_of(described(answers, images, found, self.annotations(), words))
        parse, judged = self._parser(), self._judged(answers)
        found = [_mentions(each, parse, words.vocabulary) for each in judged]
        score = score_of(described(answers, images, found, self.annotations(), words))
        return with_judge(score, judged, self.use_of([reply for each in judged for reply in each.replies]))

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return metrics_of(by_row)

    def _judged(self, answers: Sequence[Answer]) -> list[Extracted]:
        replies = self._saved(len(answers)) if self.judge is None else self._asked(answers)
        return [
            extracted(answer, said, self.fenced_replies) if is_asked_about(answer.response) else Extracted(())
            for answer, said in zip(answers, replies, strict=True)
        ]

    def _saved(self, num_answers: int) -> list[list[ChatReply]]:
        path = self.required("judge_replies", "what a judge replied, per answer a list")
        replies = read_replies(path)
        if len(replies) != num_answers:
            raise DataError(
                f"{path.name} has replies about {len(replies):,} answers, and there are {num_answers:,}; "
                "it needs a list for each, in their order, an empty one for an answer that was not judged"
            )
        require_model([each for some in replies for each in some], self.judge_model, self.judge_accept, path.name)
        return replies

    def _asked(self, answers: Sequence[Answer]) -> list[list[ChatReply]]:
        template = self.template()
        requests = [self.request(message(template, each)) for each in answers if is_asked_about(each.response)]
        judge, is_read = self.open_judge(), partial(can_be_read, fenced=self.fenced_replies)
        replies = iter(judge.ask_until(requests, is_read, self.judge_tries))
        return [next(replies) if is_asked_about(answer.response) else [] for answer in answers]

    def _check_options(self) -> None:
        judges = [name for name in ("judge", "judge_replies", "no_judge") if getattr(self, name)]
        if len(judges) != 1:
            raise RecipeError(
                "the benchmark 'object_halbench' needs one of --judge URL, --judge-replies FILE (what a judge replied "
                "about each answer) and --no-judge (all words of an answer, which gives other numbers); "
                f"found {', '.join(judges) or 'none'}"
            )
        if self.no_judge and self.objects is not None:
            raise RecipeError("--no-judge does not use --objects; leave one of them out")

    def _parser(self) -> Parser:
        return spacy_parser(self.spacy_model) if self.objects is None else stored_parser(self.objects)


def _text_of(answer: Answer) -> str:
    """An answer without the name of the speaker, which some models write."""
    return answer.response.replace("Assistant:", "").strip()


def _mentions(judged: Extracted, parse: Parser, vocabulary: Vocabulary) -> Mentions:
    """What a judge's objects name. Pairs were joined within each object."""
    names = objects_named(judged.objects, parse, vocabulary)
    return Mentions(names, vocabulary.found(names, range(len(names))))


def message(template: JudgeTemplate, answer: Answer) -> str:
    """What the judge reads about an answer. Raises `DataError` if the answer has no question."""
    if answer.prompt is None:
        raise DataError([Problem(answer.where, "", "has no prompt, the question that the judge reads with the answer")])
    missing = [place for place in ("{question}", "{answer}") if place not in template.text]
    if missing:
        raise RecipeError(f"{template.file}: the template has no place {missing[0]}")
    return template.text.replace("{question}", answer.prompt).replace("{answer}", answer.response)
