"""Options that only have an effect together with others."""

from __future__ import annotations

from mdpo_core import Term


def require_default(term: Term, option: str, sentence: str) -> None:
    """Raise `ValueError` if an option without effect is changed; its default is allowed, as saved recipes hold it."""
    if getattr(term, option) != type(term).model_fields[option].default:
        raise ValueError(sentence)
