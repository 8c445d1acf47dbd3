"""Strengths that a term cannot have, or that a setting of the run would make wrong."""

from __future__ import annotations

from mdpo_core.interfaces.strengths.strength import Strength
from mdpo_core.interfaces.term import PairLoss, Term
from mdpo_core.recipe.sections import Found, Sections


def strengths(sections: Sections) -> Found:
    """Strengths that read what their terms do not have."""
    for position, term in sections.terms:
        for option, strength in term.strengths().items():
            text = _lacks_margins(term, strength)
            if text:
                yield ("objective", position, option), text


def noise_in_batch_means(sections: Sections) -> Found:
    """The whole batch is scored without noise, so its means would not be those of the scores that train."""
    if sections.train.neftune_noise_alpha is None:
        return
    for position, term in sections.terms:
        for option, strength in term.strengths().items():
            if any(mean.decay is None for mean in strength.means().values()):
                yield (
                    ("objective", position, option),
                    f"the strength '{strength.component_name()}' reads means of the whole batch, which are measured "
                    "without the noise of train.neftune_noise_alpha; leave one of the two out",
                )


def _lacks_margins(term: Term, strength: Strength) -> str:
    if not strength.reads_margins or (isinstance(term, PairLoss) and term.needs_reference):
        return ""
    return (
        f"the strength '{strength.component_name()}' reads margins of two views under policy and reference, which the "
        f"{term.kind} '{term.component_name()}' does not have; use a term such as dpo, or a column"
    )
