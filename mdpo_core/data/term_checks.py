"""The check of a row's columns: each term judges the values that it reads, before training."""

from __future__ import annotations

from mdpo_core.errors import PluginError, shown
from mdpo_core.interfaces.plugin_results import call_plugin
from mdpo_core.interfaces.term import Term
from mdpo_core.types.scores import Scores


def check_columns(term: Term, scores: Scores) -> None:
    """Call a term's `check_columns` with scores that contain only columns. It must return None."""
    source = f"check_columns() of {type(term).__name__}"
    answer: object = call_plugin(source, lambda: term.check_columns(scores))
    if answer is not None:
        raise PluginError(f"{source} must raise DataError or return nothing; it returned {shown(answer)}")
