"""The part of NLTK's data that the tests' words need, made here: NLTK's own is fetched by users, not shipped."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from support.paths import DATA

_WORDNET = DATA / "benchmarks" / "wordnet"
_EMPTY = "adj.exc adv.exc verb.exc cntlist.rev data.adj data.adv data.noun data.verb index.adj index.adv index.verb"
_TAGGER = "averaged_perceptron_tagger_eng"


@cache
def small_nltk() -> Path:
    """Write the data, and let NLTK in this process find it first. Gives its folder.

    The tokenizer knows the abbreviation u.s.; WordNet has nouns only; the tagger takes "sits" for a verb and all else
    for nouns.
    """
    import nltk.data

    root = Path(tempfile.mkdtemp(prefix="small-nltk-"))
    _write_tokenizer(root / "tokenizers" / "punkt_tab" / "english")
    _write_wordnet(root / "corpora" / "wordnet")
    _write_tagger(root / "taggers" / _TAGGER)
    nltk.data.path.insert(0, str(root))
    return root


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "abbrev_types.txt").write_text("u.s\n")
    for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
        (folder / name).touch()


def _write_wordnet(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in (*_EMPTY.split(), "index.sense", "lexnames"):
        (folder / name).touch()
    nouns = (_WORDNET / "nouns.txt").read_text().split()
    (folder / "index.noun").write_text("".join(f"{noun} n 1 0 1 0 00000000  \n" for noun in nouns))
    (folder / "noun.exc").write_text((_WORDNET / "exceptions.txt").read_text())


def _write_tagger(folder: Path) -> None:
    folder.mkdir(parents=True)
    parts = {"weights": {}, "tagdict": {"sits": "VBZ"}, "classes": ["NN"]}
    for name, content in parts.items():
        (folder / f"{_TAGGER}.{name}.json").write_text(json.dumps(content))
