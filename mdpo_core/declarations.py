"""What a term says that it reads must be of the types that `Term` says, as plugins are free to make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mdpo_core.probes import Probe
from mdpo_core.scores import Statistic
from mdpo_core.terms import Term
from mdpo_core.view import View

_PARTS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "views": (lambda view: isinstance(view, View), "a tuple such as (View('chosen'),)"),
    "columns": (lambda name: isinstance(name, str), "a tuple such as ('score',)"),
    "statistics": (lambda each: isinstance(each, Statistic), "a mapping from names to Statistic"),
    "probes": (lambda each: isinstance(each, Probe), "a mapping from names to Probe"),
    "running_means": (callable, "a mapping from names to functions"),
    "step_means": (callable, "a mapping from names to functions"),
}


def wrong_declarations(term: Term) -> Iterator[str]:
    """One sentence for each method of a term that returns something else than it must."""
    for method, (is_known, words) in _PARTS.items():
        found = getattr(term, method)()
        parts = found.values() if isinstance(found, Mapping) else found
        wanted = Mapping if "mapping" in words else Sequence
        if not isinstance(found, wanted) or isinstance(found, str) or not all(map(is_known, parts)):
            yield f"{method}() of {type(term).__name__} must return {words}; it returned {found!r}"
