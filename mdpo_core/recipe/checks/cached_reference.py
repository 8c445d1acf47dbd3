"""Terms and evaluators that need more of a reference than a cached one keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mdpo_core.interfaces.evaluator import Evaluator
from mdpo_core.interfaces.term import Term
from mdpo_core.recipe.yaml_document import Keys


def not_in_cache(
    terms: Sequence[tuple[int, Term]], evaluators: Sequence[tuple[int, Evaluator]]
) -> Iterator[tuple[Keys, str]]:
    """A problem for each term and evaluator, by position, that does not work with ``reference: cached``."""
    for position, term in terms:
        if any(probe.reads == "reference" for probe in term.probes().values()):
            yield (
                ("objective", position),
                "reads every layer of the reference, which 'reference: cached' does not keep; use 'adapter_off' or "
                "'frozen_copy'",
            )
        if any(statistic.needs_reference for statistic in term.statistics().values()):
            yield (
                ("objective", position),
                "compares whole distributions with the reference's, which 'reference: cached' does not keep; use "
                "'adapter_off' or 'frozen_copy'",
            )
    for position, evaluator in evaluators:
        if evaluator.needs_reference and not evaluator.reads_held_out:
            yield (
                ("evaluators", position),
                "scores new examples, but 'reference: cached' holds only the examples of the recipe; use "
                "'adapter_off' or 'frozen_copy', or leave this evaluator out",
            )
