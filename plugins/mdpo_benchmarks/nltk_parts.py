"""NLTK's tokenizer, tagger and lemmatizer, and a sentence for what is missing.

They are imported and read when they are first used. NLTK's data is not installed with it: each user fetches it once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

from mdpo_core import RecipeError

Tokenizer = Callable[[str], list[str]]
Tagger = Callable[[Sequence[str]], list[tuple[str, str]]]
Lemmatizer = Callable[[str, str], str]


@cache
def tokenizer() -> Tokenizer:
    """NLTK's ``word_tokenize`` for English."""
    from nltk.tokenize import word_tokenize

    word_tokenize("a word")
    tokenize: Tokenizer = word_tokenize
    return tokenize


@cache
def tagger() -> Tagger:
    """NLTK's ``pos_tag`` for English, which gives the tags of the Penn Treebank."""
    from nltk.tag import PerceptronTagger

    # nltk.pos_tag reads the weights from the disk at every call.
    tag: Tagger = PerceptronTagger().tag
    return tag


@cache
def lemmatizer() -> Lemmatizer:
    """WordNet's lemma of a word as a part of speech: n, v, a or r. Each is looked up once."""
    from nltk.stem import WordNetLemmatizer

    lemmatize: Lemmatizer = WordNetLemmatizer().lemmatize
    lemmatize("word", "n")
    return cache(lemmatize)


_NEED = {"punkt_tab": tokenizer, "averaged_perceptron_tagger_eng": tagger, "wordnet": lemmatizer}


def require_nltk(user: str, *data: str) -> None:
    """Raise `RecipeError` if NLTK, or data of it such as ``wordnet``, is missing. ``user``: what needs it."""
    if find_spec("nltk") is None:
        raise RecipeError(f'{user} needs nltk, which is not installed: pip install "mdpo[benchmarks]"')
    missing = [name for name in data if not _is_there(name)]
    if missing:
        names = " ".join(missing)
        raise RecipeError(
            f"{user} needs data of NLTK that is not there: python -m nltk.downloader {names}  (on a machine without a "
            "network: copy the folder nltk_data of another one, and set NLTK_DATA to it)"
        )


def _is_there(data: str) -> bool:
    """Whether it can be read: packed or not, which NLTK's own search does not tell."""
    try:
        _NEED[data]()
    except LookupError:  # all that NLTK says about data that is not there
        return False
    return True
