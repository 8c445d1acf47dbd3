"""Checks that a term's declaring methods return the types that `Term` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.term import Term
from mdpo_core.types.view import View

# For each method: the type that it returns, whether an entry of that is right, and a description of both.
_RETURNED: Mapping[str, tuple[type, Callable[[object], bool], str]] = {
    "views": (Sequence, lambda view: isinstance(view, View), "a tuple such as (View('chosen'),)"),
    "columns": (Sequence, lambda name: isinstance(name, str), "a tuple such as ('score',)"),
    "statistics": (Mapping, lambda entry: isinstance(entry, Statistic), "a mapping from names to Statistic"),
    "probes": (Mapping, lambda entry: isinstance(entry, Probe), "a mapping from names to Probe"),
    "running_means": (Mapping, callable, "a mapping from names to functions"),
    "step_means": (Mapping, callable, "a mapping from names to functions"),
}


def problems_of_declarations(term: Term) -> Iterator[str]:
    """One sentence for each method of a term that returns a wrong type."""
    for method, (expected_type, is_right, expected) in _RETURNED.items():
        returned = getattr(term, method)()
        entries = returned.values() if isinstance(returned, Mapping) else returned
        if not isinstance(returned, expected_type) or isinstance(returned, str) or not all(map(is_right, entries)):
            yield f"{method}() of {type(term).__name__} must return {expected}; it returned {returned!r}"
