"""Answers of the policy to some rows, for people to read: before, during and after the training."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pydantic import Field, PrivateAttr, field_validator

from mdpo_core import DataError, Evaluator, Example, Policy, Sample, Term


class Samples(Evaluator):
    """Let the policy answer the first held-out rows, or rows of the training if none are held out.

    Answers are greedy. The run keeps them in ``samples.jsonl``, beside the row's own responses, and shows some at its
    end, before and after. ``words``: the mean number of words of an answer. With a list, ``listed``: the mean number of
    its words in an answer, each counted once; ``listed_not_chosen``: of those that the chosen response does not have,
    such as things that are not in the picture.
    """

    rows: int = Field(default=4, gt=0, description="how many rows are answered")
    max_new_tokens: int = Field(default=64, gt=0, description="tokens of the longest answer")
    words: Path | None = Field(
        default=None,
        description="a text file with a word or phrase a line, such as names of things; they are marked in the answers "
        "and counted, as whole words in any case",
    )
    _listed: tuple[str, ...] = PrivateAttr(())
    _digest: str = PrivateAttr("")

    @field_validator("words")
    @classmethod
    def _words_are_listed(cls, words: Path | None) -> Path | None:
        if words is not None:
            _listed_in(words)
        return words

    def model_post_init(self, context: object) -> None:
        """Read the list once: a file that changes or vanishes meanwhile does not change the run."""
        if self.words is not None:
            self._listed, self._digest = _listed_in(self.words)

    def read_files(self) -> Mapping[str, str]:
        return {} if self.words is None else {str(self.words): self._digest}

    def measures(self, terms: Mapping[str, Term]) -> tuple[str, ...]:
        return ("words",) if self.words is None else ("words", "listed", "listed_not_chosen")

    def evaluate(self, policy: Policy, folder: Path, step: int) -> Mapping[str, float]:
        held_out = bool(policy.held_out)
        rows = list(islice(_readable(policy.held_out or policy.trained_on), self.rows))
        answers = policy.generate(rows, self.max_new_tokens)
        samples = [
            Sample(row, answer, found_words(answer, self._listed), held_out)
            for row, answer in zip(rows, answers, strict=True)
        ]
        policy.keep_samples(samples)
        return {"words": _mean([len(answer.split()) for answer in answers]), **self._of_list(samples)}

    def _of_list(self, samples: Sequence[Sample]) -> dict[str, float]:
        if self.words is None:
            return {}
        chosen = [sample.row.text("chosen") if "chosen" in sample.row.responses else "" for sample in samples]
        others = [
            {*sample.words} - {*found_words(text, self._listed)} for sample, text in zip(samples, chosen, strict=True)
        ]
        return {
            "listed": _mean([len(sample.words) for sample in samples]),
            "listed_not_chosen": _mean([len(each) for each in others]),
        }


def _listed_in(file: Path) -> tuple[tuple[str, ...], str]:
    """The words of a list, each once, and its SHA-256. Raises `ValueError` if it cannot be read or has none."""
    path = file.expanduser()
    if not path.is_file():
        raise ValueError(f"{file}: {'is not a file' if path.exists() else 'the file does not exist'}")
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: is not text in UTF-8") from error
    words = tuple(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not words:
        raise ValueError(f"{file}: has no word; write one word or phrase a line")
    return words, hashlib.sha256(content).hexdigest()


def found_words(text: str, listed: Sequence[str]) -> tuple[str, ...]:
    """Those of a list that a text contains as whole words, in any case, in the order of the list."""
    return tuple(word for word in listed if pattern_of(word).search(text))


def pattern_of(word: str) -> re.Pattern[str]:
    """A pattern that finds a word or phrase as whole words."""
    inner = r"\s+".join(map(re.escape, word.split()))
    return re.compile(rf"(?<!\w){inner}(?!\w)", re.IGNORECASE)


def _readable(rows: Sequence[Example]) -> Iterator[Example]:
    """The rows that can be read. A run that does not check its rows first meets the bad ones in training."""
    for number in range(len(rows)):
        with suppress(DataError):
            yield rows[number]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
