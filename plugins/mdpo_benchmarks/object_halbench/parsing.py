"""The words of the objects that a judge found, by spaCy or from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mdpo_benchmarks.coco.vocabulary import Vocabulary
from mdpo_benchmarks.json_files import read_json
from mdpo_core import DataError, Problem, RecipeError

_NOUNS = {"NN", "NNS", "NNP", "NNPS"}


class Token(NamedTuple):
    """A word, its lemma, and its tag in the Penn Treebank."""

    text: str
    lemma: str
    tag: str


Parser = Callable[[str], Sequence[Token]]


@cache
def spacy_parser(model: str) -> Parser:
    """The tokens of a text by a model of spaCy, which is run once for each text. Raises `RecipeError` without it."""
    if find_spec("spacy") is None:
        raise RecipeError(
            'Object HalBench\'s parse needs spacy, which is not installed: pip install "mdpo[spacy]"; or give the '
            "parsed objects with --objects FILE"
        )
    import spacy

    try:
        parse = spacy.load(model)
    except OSError as error:
        raise RecipeError(
            f"spaCy's model '{model}' is not installed: python -m spacy download {model}; or give the parsed objects "
            "with --objects FILE"
        ) from error
    return cache(lambda text: [Token(each.text, each.lemma_, each.tag_) for each in parse(text)])


def stored_parser(path: Path) -> Parser:
    """The tokens of a text as a file has them: ``{text: [[token, lemma, tag], ...]}``. Raises `DataError`.

    A text is what spaCy would be given: "a " and the object.
    """
    parsed = {text: _tokens(path, text, stored) for text, stored in read_json(path, dict).items()}

    def tokens(text: str) -> Sequence[Token]:
        if text not in parsed:
            raise DataError([Problem(path.name, "", f"has no tokens for {text!r}, which the judge's replies name")])
        return parsed[text]

    return tokens


def _tokens(path: Path, text: str, stored: Any) -> list[Token]:
    if isinstance(stored, list) and all(_is_token(row) for row in stored):
        return [Token(*row) for row in stored]
    message = f"must be a list of [token, lemma, tag], found {str(stored)[:60]!r}"
    raise DataError([Problem(path.name, repr(text), message)])


def _is_token(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 3 and all(isinstance(word, str) for word in row)


def objects_named(objects: Sequence[str], parse: Parser, vocabulary: Vocabulary) -> list[str]:
    """What may be words of COCO in a judge's objects, each once.

    The pairs of words in an object if it has any; otherwise its nouns, each run of them as one.
    """
    found: list[str] = []
    for name in objects:
        tokens = parse(f"a {name}")
        found += vocabulary.pairs_among([token.lemma for token in tokens]) or _noun_runs(tokens)
    return list(dict.fromkeys(found))


def _noun_runs(tokens: Sequence[Token]) -> list[str]:
    runs: list[list[str]] = [[]]
    for token in tokens:
        if token.tag in _NOUNS:
            runs[-1].append(token.lemma)
        else:
            runs.append([])
    return [" ".join(run).strip() for run in runs if run]
