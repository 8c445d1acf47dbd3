"""Checks that a term's declaring methods return the types that `Term` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mdpo_core.interfaces.component import Component
from mdpo_core.interfaces.measurements import Probe, Statistic
from mdpo_core.interfaces.strengths.strength import BatchMean, Strength
from mdpo_core.interfaces.term import Term
from mdpo_core.types.view import View

# The type that a method returns, whether an entry of that is right, and a description of both.
Returned = tuple[type, Callable[[object], bool], str]
_MEANS: Returned = (Mapping, lambda mean: isinstance(mean, BatchMean), "a mapping from names to BatchMean")
_RETURNED: Mapping[str, Returned] = {
    "views": (Sequence, lambda view: isinstance(view, View), "a tuple such as (View('chosen'),)"),
    "columns": (Sequence, lambda name: isinstance(name, str), "a tuple such as ('score',)"),
    "statistics": (Mapping, lambda entry: isinstance(entry, Statistic), "a mapping from names to Statistic"),
    "probes": (Mapping, lambda entry: isinstance(entry, Probe), "a mapping from names to Probe"),
    "running_means": (Mapping, callable, "a mapping from names to functions"),
    "step_means": (Mapping, callable, "a mapping from names to functions"),
}


def problems_of_declarations(term: Term) -> Iterator[str]:
    """One sentence for each method of a term, or of a strength of it, that returns a wrong type."""
    yield from _wrong(term, _RETURNED)
    for strength in term.strengths().values():
        yield from problems_of_strength(strength)


def problems_of_strength(strength: Strength) -> Iterator[str]:
    """One sentence for each method of a strength that returns a wrong type."""
    yield from _wrong(strength, {"columns": _RETURNED["columns"], "means": _MEANS})


def _wrong(component: Component, methods: Mapping[str, Returned]) -> Iterator[str]:
    for method, (expected_type, is_right, expected) in methods.items():
        returned = getattr(component, method)()
        entries = returned.values() if isinstance(returned, Mapping) else returned
        if not isinstance(returned, expected_type) or isinstance(returned, str) or not all(map(is_right, entries)):
            yield f"{method}() of {type(component).__name__} must return {expected}; it returned {returned!r}"
