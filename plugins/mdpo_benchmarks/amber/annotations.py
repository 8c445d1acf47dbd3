"""The files of AMBER: what the pictures show, which answers are right, and which words stand for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_benchmarks.json_files import read_json
from mdpo_core import DataError, Problem, StoredRow, read_rows

# The dimensions of the yes/no questions, as the counters of the official script call them.
EXISTENCE, STATE, NUMBER, ACTION, RELATION = "ha", "as", "an", "aa", "asso"
_DIMENSIONS = {
    "discriminative-hallucination": EXISTENCE,
    "discriminative-attribute-state": STATE,
    "discriminative-attribute-number": NUMBER,
    "discriminative-attribute-action": ACTION,
    "discriminative-relation": RELATION,
    "relation": RELATION,
}


class Picture(NamedTuple):
    """A picture to describe. ``objects``: what it shows; ``likely``: what models like to add."""

    objects: tuple[str, ...]
    likely: tuple[str, ...]


class YesNo(NamedTuple):
    """A yes/no question. ``truth``: ``yes`` or ``no``."""

    dimension: str
    truth: str


class Words(NamedTuple):
    """``related``: the words that stand for a word; ``vocabulary``: all of them; ``safe``: those that never count."""

    related: Mapping[str, Sequence[str]]
    vocabulary: frozenset[str]
    safe: frozenset[str]


def read_annotations(file: Path) -> dict[str, Picture | YesNo]:
    """What is to be found for each id. Raises `DataError`."""
    found: dict[str, Picture | YesNo] = {}
    for row in read_rows(file):
        id = str(row.values.get("id"))
        if id in found:
            raise DataError([Problem(row.where, "id", f"{id} is there twice")])
        found[id] = _annotation(row)
    return found


def _annotation(row: StoredRow) -> Picture | YesNo:
    kind, truth = row.values.get("type"), row.values.get("truth")
    if kind == "generative":
        return Picture(_words(row, "truth"), _words(row, "hallu"))
    if kind not in _DIMENSIONS:
        raise DataError([Problem(row.where, "type", f"must be generative, {', '.join(_DIMENSIONS)}, found {kind!r}")])
    if truth not in ("yes", "no"):
        raise DataError([Problem(row.where, "truth", f"must be yes or no, found {truth!r}")])
    return YesNo(_DIMENSIONS[kind], truth)


def _words(row: StoredRow, key: str) -> tuple[str, ...]:
    words = row.values.get(key)
    if not _are_words(words) or not words:
        raise DataError([Problem(row.where, key, f"must be a list of words, found {words!r}")])
    return tuple(words)


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def read_words(relations: Path, safe: Path) -> Words:
    """The words of relation.json and safe_words.txt. Raises `DataError`."""
    related = read_json(relations, dict)
    for word, others in related.items():
        if not _are_words(others):
            raise DataError([Problem(relations.name, word, f"must be a list of words, found {others!r}")])
    vocabulary = frozenset(related) | {word for others in related.values() for word in others}
    return Words(related, vocabulary, frozenset(safe.read_text(encoding="utf-8").split("\n")))


def require_known(pictures: Iterable[Picture], words: Words) -> None:
    """Raise `DataError` if relation.json lacks a word of a picture."""
    unknown = {word for picture in pictures for word in (*picture.objects, *picture.likely)} - words.related.keys()
    if unknown:
        raise DataError(f"relation.json lacks words of annotations.json: {', '.join(sorted(unknown)[:5])}")
