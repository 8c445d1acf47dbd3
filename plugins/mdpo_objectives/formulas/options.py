"""Options that have an effect beside some others only."""

from __future__ import annotations

from mdpo_core import Term


def require_default(term: Term, option: str, sentence: str) -> None:
    """Raise `ValueError` if an option without effect is set; saved recipes write out its default."""
    if getattr(term, option) != type(term).model_fields[option].default:
        raise ValueError(sentence)
