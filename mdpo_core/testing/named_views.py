"""The contract of options that name views: a term must read the views that its options name."""

from __future__ import annotations

from hypothesis import given

from mdpo_core.interfaces.term import Term
from mdpo_core.testing import score_cases
from mdpo_core.testing.sentences import PROPERTY, name_of, require
from mdpo_core.testing.strategies import Columns, scores
from mdpo_core.testing.term_calls import check_declarations, values_of
from mdpo_core.types.scores import Scores
from mdpo_core.types.view import View


def check_named_views(term: Term, columns: Columns) -> None:
    """Check that a term reads the views that its options name, and that the names change nothing else.

    The term is created again with new names in these options, and gets the same numbers under the new names.
    For example, DPO with ``prefer=chosen, over=rejected`` becomes ``prefer=view0@condition, over=view1@condition``.
    The log-probs of ``chosen`` become those of ``view0@condition``, and the values must stay the same. A term that
    always reads ``chosen``, whatever ``prefer`` says, breaks the contract.
    """
    options = [name for name, value in term if isinstance(value, View)]
    new = {name: View(f"view{index}", "condition") for index, name in enumerate(options)}
    if len({getattr(term, name) for name in options}) < len(options):
        return
    renamed = term.model_copy(update=new)
    check_declarations(renamed)
    require(
        set(new.values()) <= {*renamed.views(), *_unread(term, new)},
        f"{name_of(term)} declares the views {', '.join(map(str, renamed.views()))}, but its options name others",
    )
    before, after = len(term.views()), len(renamed.views())
    require(before == after, f"{name_of(term)} has {before} views, but {after} after its options name other views")
    # A term may derive more views from the named ones (``prompt+chosen``), so old and new names are matched by index.
    new_names = dict(zip(term.views(), renamed.views(), strict=True))

    @PROPERTY
    @given(scores(term.views(), columns))
    def reads_what_it_names(drawn: Scores) -> None:
        require(
            score_cases.nearly_equal(values_of(term, drawn), values_of(renamed, score_cases.renamed(drawn, new_names))),
            f"{name_of(term)} changes when only the names of its views change, at {score_cases.case(drawn)}",
        )

    reads_what_it_names()


def _unread(term: Term, options: dict[str, View]) -> set[View]:
    """New names for views that a term does not read with its current options."""
    return {view for name, view in options.items() if getattr(term, name) not in term.views()}
