"""NLTK and its data: a sentence with the command that brings what is missing."""

from __future__ import annotations

from importlib.util import find_spec

from mdpo_core import RecipeError

_PLACES = {
    "punkt_tab": "tokenizers/punkt_tab/english/",
    "averaged_perceptron_tagger_eng": "taggers/averaged_perceptron_tagger_eng/",
    "wordnet": "corpora/wordnet",
}


def require_nltk(user: str, *data: str) -> None:
    """Raise `RecipeError` if NLTK, or data of it such as ``wordnet``, is missing. ``user``: what needs it."""
    if find_spec("nltk") is None:
        raise RecipeError(f'{user} needs nltk, which is not installed: pip install "mdpo[benchmarks]"')
    missing = [name for name in data if not _is_there(_PLACES[name])]
    if missing:
        names = " ".join(missing)
        raise RecipeError(
            f"{user} needs data of NLTK that is not there: python -m nltk.downloader {names}  (on a machine without a "
            "network: copy the folder nltk_data of another one, and set NLTK_DATA to it)"
        )


def _is_there(place: str) -> bool:
    import nltk.data

    try:
        nltk.data.find(place)
    except LookupError:
        return False
    return True
