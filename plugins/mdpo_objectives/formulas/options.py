"""Check options that have an effect only together with another option."""

from __future__ import annotations

from mdpo_core import Term


def require_default(term: Term, option: str, message: str) -> None:
    """Raise `ValueError` unless ``option`` has its default. Saved recipes contain defaults, so those are allowed."""
    if getattr(term, option) != type(term).model_fields[option].default:
        raise ValueError(message)
