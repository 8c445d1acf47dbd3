"""AMBER as a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator

from mdpo_benchmarks.amber import descriptions, yes_no
from mdpo_benchmarks.amber.annotations import Picture, Words, YesNo, read_annotations, read_words, require_known
from mdpo_benchmarks.amber.descriptions import above, read_description
from mdpo_benchmarks.amber.figures import asks, figures
from mdpo_benchmarks.amber.matching import Pairs, matched, notes
from mdpo_benchmarks.amber.nouns import by_nltk, by_vocabulary, from_file, require_tagger
from mdpo_benchmarks.amber.similarity import SAVED_FROM, Exact, Similarity, Spacy, Table, model_version, require_spacy
from mdpo_core import (
    Answer,
    AnswerNames,
    Benchmark,
    DataError,
    Problem,
    Question,
    RecipeError,
    Score,
    StoredRow,
    read_rows,
    require_file,
)

_MODEL, _THRESHOLD = "en_core_web_lg", 0.8  # of the official script
_QUERIES = ("query/query_all.json", "query_all.json")


class Amber(Benchmark):
    """AMBER (arXiv:2311.07397): objects in descriptions, and yes/no questions, of which no is the positive answer.

    Equal to inference.py of junyangwang0410/AMBER. Like that, it scores the answers that are there; notes say how many
    are missing.
    """

    answer_names: ClassVar[AnswerNames] = AnswerNames(response="response", id="id", prompt="prompt")
    task: Literal["a", "g", "d", "de", "da", "dr"] = Field(
        default="a",
        description="a: all; g: descriptions; d: yes/no questions; de, da, dr: on existence, attributes, relations",
    )
    similarity: str = Field(
        default=f"spacy:{_MODEL}",
        description="what says how similar two words are: spacy:MODEL, table:FILE, or exact (only equal words are)",
    )
    threshold: float = Field(default=_THRESHOLD, ge=0, le=1, description="words are similar above this similarity")
    nouns: Path | None = Field(default=None, description="a file {id: [nouns]}, in place of the nouns that NLTK finds")
    nouns_by: Literal["nltk", "vocabulary"] = Field(
        default="nltk",
        description="what finds nouns: nltk; vocabulary: a word of relation.json is one, as it stands there, and no "
        "other is (needs no data of NLTK)",
    )
    save_similarity: Path | None = Field(
        default=None, description="a file to write: the similarities of spaCy, for table:FILE"
    )
    answer_parser: Literal["strict", "first_word", "contains"] = Field(
        default="strict", description="Yes and No: the answer equals them, begins with them, or contains yes"
    )

    _asks_only: frozenset[str] | None = PrivateAttr(None)

    @field_validator("similarity")
    @classmethod
    def _is_known(cls, value: str) -> str:
        kind, _, of = value.partition(":")
        if value != "exact" and not (kind in ("spacy", "table") and of):
            raise ValueError("must be spacy:MODEL, table:FILE or exact")
        return value

    @property
    def variant(self) -> str:
        differs = self._differences()
        if self._describes and not differs:
            # The official script does not say with which version of its model.
            return f"official, {self._similarity_name}"
        return ", ".join(differs) or "official"

    def _differences(self) -> list[str]:
        """The options with which this differs from the official script."""
        found = []
        if self._describes:
            found += [] if self._source == ("spacy", _MODEL) else [self._similarity_name]
            found += [] if self.threshold == _THRESHOLD else [f"threshold {self.threshold:g}"]
            found += [] if self.nouns is None else [f"nouns {self.nouns.name}"]
            found += [] if self.nouns_by == "nltk" else [f"nouns_by {self.nouns_by}"]
        if self.task != "g" and self.answer_parser != "strict":
            found.append(f"answer_parser {self.answer_parser}")
        return found

    @property
    def _similarity_name(self) -> str:
        kind, of = self._source
        if kind == "spacy":
            return f"similarity spacy:{Path(of).name} {model_version(of)}".strip()
        return f"similarity {kind}{f':{Path(of).name}' if of else ''}"

    def check(self) -> None:
        super().check()
        if self.save_similarity is not None and self._source[0] != "spacy":
            raise RecipeError("--save-similarity writes what spaCy finds: it needs --similarity spacy:MODEL")
        if self.nouns is not None and self.nouns_by != "nltk":
            raise RecipeError(f"--nouns FILE already says which words are nouns: leave --nouns-by {self.nouns_by} out")

    def require_for(self, ids: Collection[str]) -> None:
        annotations = self._annotations()
        if self._describes and any(isinstance(annotations.get(id), Picture) for id in ids):
            if self.nouns is None and self.nouns_by == "nltk":
                require_tagger()
            kind, of = self._source
            if kind == "spacy":
                require_spacy(of)

    def files(self) -> Sequence[Path]:
        own = [self._in_data("annotations.json")]
        if self._describes:
            own += [self._in_data("relation.json"), self._in_data("safe_words.txt")]
            own += [] if self.nouns is None else [self.nouns]
            kind, of = self._source
            own += [Path(of)] if kind == "table" else []
        return own

    def question_files(self) -> Sequence[Path]:
        file = self._query_file()
        return [] if file is None else [file]

    def read_questions(self) -> Sequence[Question]:
        annotations, file = self._annotations(), self._query_file()
        if file is None:
            raise RecipeError("the benchmark 'amber' needs --questions FILE, such as query/query_all.json")
        asked = [_question(row) for row in read_rows(file)]
        return [each for each in asked if each.id in annotations and self._in_task(annotations[each.id])]

    def score(self, answers: Sequence[Answer]) -> Score:
        annotations = self._annotations()
        pairs = matched(answers, annotations, self._query_file())
        described = self._described(pairs)
        rows = [
            {"id": answer.id} | (self._said(item, answer) if isinstance(item, YesNo) else described.get(place, {}))
            for place, (answer, item) in enumerate(pairs)
        ]
        return Score(
            self.metrics_of(rows),
            (descriptions.count(rows) if self._describes else {}) | yes_no.count(rows),
            unparsed=sum(not row.get("parsed", True) and asks(self.task, row["dimension"]) for row in rows),
            by_row=rows,
            warnings=[*notes(pairs, annotations, self._in_task), *self._of_table()],
        )

    def _of_table(self) -> list[str]:
        """A note if a table of ours may lack similarities that the threshold asks for."""
        if not self._describes or self._source[0] != "table" or self.threshold >= SAVED_FROM:
            return []
        return [
            f"a table that --save-similarity wrote has no similarity below {SAVED_FROM}: such words count as unlike"
        ]

    def metrics_of(self, by_row: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return figures(self.task, descriptions.count(by_row), yes_no.count(by_row))

    def of_questions(self, ids: Collection[str]) -> Amber:
        part = self.model_copy()
        part._asks_only = frozenset(ids)
        return part

    def _described(self, pairs: Pairs) -> dict[int, dict[str, Any]]:
        """What is found in the descriptions, by their places among the answers; empty if the task has none."""
        pictures = {i: item for i, (_, item) in enumerate(pairs) if self._describes and isinstance(item, Picture)}
        if not pictures:
            return {}
        answers = [pairs[i][0] for i in pictures]
        words = read_words(self._in_data("relation.json"), self._in_data("safe_words.txt"))
        require_known(pictures.values(), words)
        are_similar = above(self.threshold, self._similarity(words).of)
        return {
            i: read_description(picture, said, words, are_similar).as_row()
            for (i, picture), said in zip(pictures.items(), self._nouns(answers, words), strict=True)
        }

    def _nouns(self, answers: Sequence[Answer], words: Words) -> list[list[str]]:
        if self.nouns is not None:
            return from_file(self.nouns, answers)
        return by_nltk(answers) if self.nouns_by == "nltk" else by_vocabulary(answers, words.vocabulary)

    def _said(self, question: YesNo, answer: Answer) -> dict[str, Any]:
        return yes_no.row(question, answer.response, self.answer_parser)

    def _similarity(self, words: Words) -> Similarity:
        kind, of = self._source
        if kind == "exact":
            return Exact()
        if kind == "table":
            return Table(Path(of))
        similarity = Spacy(of)
        if self.save_similarity is not None:
            similarity.save(self.save_similarity, words.vocabulary, self.threshold)
        return similarity

    @property
    def _source(self) -> tuple[str, str]:
        """The kind of similarity, and its model or file."""
        kind, _, of = self.similarity.partition(":")
        return kind, of

    @property
    def _describes(self) -> bool:
        return self.task in ("a", "g")

    def _in_task(self, item: Picture | YesNo) -> bool:
        if isinstance(item, Picture):
            return self._describes
        return asks(self.task, item.dimension)

    def _annotations(self) -> dict[str, Picture | YesNo]:
        found = read_annotations(self._in_data("annotations.json"))
        return {id: each for id, each in found.items() if self._asks_only is None or id in self._asks_only}

    def _in_data(self, name: str) -> Path:
        return self.required("data", "the folder with annotations.json, relation.json and safe_words.txt") / name

    def _query_file(self) -> Path | None:
        """The file of the questions; None if no option names one and the folder has none in its usual places."""
        if self.questions is not None:
            require_file(self.questions)
            return self.questions
        return next((file for name in _QUERIES if (file := self._in_data(name)).is_file()), None)


def _question(row: StoredRow) -> Question:
    missing = {"id", "image", "query"} - row.values.keys()
    if missing:
        raise DataError([Problem(row.where, "", f"is no question of AMBER: it lacks {', '.join(sorted(missing))}")])
    return Question(str(row.values["id"]), (row.values["image"],), row.values["query"])
