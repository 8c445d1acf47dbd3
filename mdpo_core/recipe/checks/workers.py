"""What worker processes can import."""

from __future__ import annotations

import sys

from mdpo_core.recipe.checks.needs import columns_of_term
from mdpo_core.recipe.sections import Found, Sections


def workers(sections: Sections) -> Found:
    """Worker processes can import modules and scripts, but not the classes of a notebook."""
    terms = [term for _, term in sections.terms if columns_of_term(term)]
    reading = [*terms, *(strength for term in terms for strength in term.strengths().values())]
    sent = [sections.data, sections.validation, *sections.corruptions.values(), *reading]
    for component in sent if sections.train.workers else ():
        if component is not None and _is_in_notebook(type(component)):
            yield (
                ("train", "workers"),
                f"worker processes (train.workers) cannot import the {component.kind} '{component.component_name()}' "
                "from a notebook; put the class into a module and import it, or set train.workers: 0",
            )


def _is_in_notebook(cls: type) -> bool:
    main = sys.modules["__main__"]
    return cls.__module__ == "__main__" and main.__spec__ is None and not hasattr(main, "__file__")
