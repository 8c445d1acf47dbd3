"""Checks what a term declares: what its methods return must be of the types that `Term` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.term import Term
from mdpo_core.types.view import View

# Method: what it returns, whether a part of that is right, and the same in words.
_RETURNED: Mapping[str, tuple[type, Callable[[object], bool], str]] = {
    "views": (Sequence, lambda view: isinstance(view, View), "a tuple such as (View('chosen'),)"),
    "columns": (Sequence, lambda name: isinstance(name, str), "a tuple such as ('score',)"),
    "statistics": (Mapping, lambda each: isinstance(each, Statistic), "a mapping from names to Statistic"),
    "probes": (Mapping, lambda each: isinstance(each, Probe), "a mapping from names to Probe"),
    "running_means": (Mapping, callable, "a mapping from names to functions"),
    "step_means": (Mapping, callable, "a mapping from names to functions"),
}


def problems_of_declarations(term: Term) -> Iterator[str]:
    """One sentence for each method of a term that returns something else than it must."""
    for method, (wanted, is_right, words) in _RETURNED.items():
        found = getattr(term, method)()
        parts = found.values() if isinstance(found, Mapping) else found
        if not isinstance(found, wanted) or isinstance(found, str) or not all(map(is_right, parts)):
            yield f"{method}() of {type(term).__name__} must return {words}; it returned {found!r}"
