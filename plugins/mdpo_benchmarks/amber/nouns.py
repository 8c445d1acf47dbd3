"""The nouns of descriptions: by NLTK, by AMBER's own list of words, or from a file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mdpo_benchmarks.json_files import read_json
from mdpo_benchmarks.nltk_parts import lemmatizer, require_nltk, tagger, tokenizer
from mdpo_core import Answer, DataError, Problem


def require_tagger() -> None:
    """Raise `RecipeError` if NLTK, or data of it that finds nouns, is missing."""
    require_nltk("AMBER", "punkt_tab", "averaged_perceptron_tagger_eng", "wordnet")


def by_nltk(answers: Sequence[Answer]) -> list[list[str]]:
    """The words of each answer that NLTK tags as nouns, in their basic form; capitals stay."""
    require_tagger()
    tokenize, tag, lemma = tokenizer(), tagger(), lemmatizer()
    return [
        [lemma(word, "n") for word, mark in tag(tokenize(answer.response)) if mark.startswith("NN")]
        for answer in answers
    ]


def by_vocabulary(answers: Sequence[Answer], vocabulary: Collection[str]) -> list[list[str]]:
    """The words of each answer that are in the vocabulary, exactly as they stand there: no plurals, no capitals."""
    return [[word for word in re.findall(r"\w+", answer.response) if word in vocabulary] for answer in answers]


def from_file(file: Path, answers: Sequence[Answer]) -> list[list[str]]:
    """The nouns of each answer in a file ``{id: [nouns]}``. Raises `DataError` if one has none of its own."""
    found = read_json(file, dict)
    problems = [
        Problem(f"{file.name} {id}", "", f"must be a list of words, found {nouns!r}")
        for id, nouns in found.items()
        if not (isinstance(nouns, list) and all(isinstance(each, str) for each in nouns))
    ]
    seen: set[str | None] = set()
    for answer in answers:
        if answer.id not in found:
            problems.append(Problem(answer.where, "", f"{file.name} has no nouns for the id {answer.id}"))
        elif answer.id in seen:
            problem = (
                f"{file.name} has the nouns of one answer with the id {answer.id}, this is another; leave --nouns out"
            )
            problems.append(Problem(answer.where, "", problem))
        seen.add(answer.id)
    if problems:
        raise DataError(problems[:10])
    return [found[str(answer.id)] for answer in answers]
