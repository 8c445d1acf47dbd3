"""How similar two words are: by a table, by spaCy's vectors, or not at all."""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from mdpo_benchmarks.json_files import read_json
from mdpo_core import DataError, Problem, RecipeError

SAVED_FROM = 0.7  # a table of all pairs of AMBER's words would have 3 MB


class Similarity(ABC):
    """How similar two words are: 1 for equal words."""

    @abstractmethod
    def of(self, word: str, other: str) -> float:
        """The similarity."""


class Exact(Similarity):
    """Only equal words are similar."""

    def of(self, word: str, other: str) -> float:
        return float(word == other)


class Table(Similarity):
    """The similarities of a file ``[[word, word, similarity], ...]``; a pair that is not there has 0."""

    def __init__(self, file: Path) -> None:
        self._of: dict[tuple[str, str], float] = {}
        for number, row in enumerate(read_json(file, list, "[word, word, similarity]"), 1):
            word, other, similarity = _table_row(file, number, row)
            if self._of.get((word, other), similarity) != similarity:
                raise DataError([Problem(f"{file.name} row {number}", "", f"{word}, {other} has another value above")])
            self._of[word, other] = self._of[other, word] = similarity

    def of(self, word: str, other: str) -> float:
        return 1.0 if word == other else self._of.get((word, other), 0.0)


class Spacy(Similarity):
    """The similarity of spaCy's documents of one word, which is the cosine of their vectors."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._documents: dict[str, Any] = {}
        self._of: dict[tuple[str, str], float] = {}

    def of(self, word: str, other: str) -> float:
        pair = (word, other)
        if pair not in self._of:
            self._of[pair] = 1.0 if word == other else self._measured(word, other)
        return self._of[pair]

    def _measured(self, word: str, other: str) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a word has no vector: its similarity is 0
            return float(self._document(word).similarity(self._document(other)))

    def save(self, file: Path, vocabulary: Collection[str], threshold: float) -> None:
        """Write a table of the pairs that may matter: from 0.7, or from the threshold if that is lower."""
        least = min(SAVED_FROM, threshold)
        pairs = ((word, other, self.of(word, other)) for word, other in combinations(sorted(vocabulary), 2))
        lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs if pair[2] >= least)
        file.write_text(f"[{lines}]\n", encoding="utf-8")

    def _document(self, word: str) -> Any:
        if word not in self._documents:
            self._documents[word] = self._pipeline(word)
        return self._documents[word]

    @cached_property
    def _pipeline(self) -> Any:
        require_spacy(self._model)
        import spacy

        loaded = spacy.load(self._model)
        if not len(loaded.vocab.vectors):
            raise RecipeError(
                f"--similarity: the model '{self._model}' of spaCy has no word vectors, so it knows no similar words; "
                "the official script uses en_core_web_lg"
            )
        return loaded


def require_spacy(model: str) -> None:
    """Raise `RecipeError` if spaCy or its model is missing."""
    instead = "or give --similarity table:FILE, or exact for equal words alone"
    if find_spec("spacy") is None:
        raise RecipeError(
            f'--similarity spacy:{model} needs spacy, which is not installed: pip install "mdpo[spacy]"; {instead}'
        )
    if not Path(model).is_dir() and _package_version(model) is None:
        raise RecipeError(
            f"--similarity spacy:{model}: this model is not there: python -m spacy download {model}; {instead}"
        )


def model_version(model: str) -> str:
    """The version of a model of spaCy; empty if it is not known."""
    meta = Path(model) / "meta.json"
    if meta.is_file():
        return str(json.loads(meta.read_text(encoding="utf-8")).get("version", ""))
    return _package_version(model) or ""


def _package_version(model: str) -> str | None:
    try:
        return version(model)
    except PackageNotFoundError:
        return None


def _table_row(file: Path, number: int, row: Any) -> tuple[str, str, float]:
    match row:
        case [str(word), str(other), float() | int() as similarity] if not isinstance(similarity, bool):
            return word, other, float(similarity)
    raise DataError([Problem(f"{file.name} row {number}", "", f"must be [word, word, similarity], found {row!r}")])
